"""Heun's method on the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class Heun:
    r"""Trapezoidal steps of the probability-flow ODE along the angle theta = arctan(sigma/alpha).

    With n = sqrt(alpha^2 + sigma^2), y = x/n turns from noise into data as theta falls, at a velocity of its own size:
    $$ \frac{dy}{d\theta} = v(y, \theta) = \frac{\alpha y - n D(n y)}{\sigma}, \quad
       y' = y_t + \Delta v_t, \quad y_s = y_t + \frac{\Delta}{2} \left( v_t + v(y', \theta_s) \right) $$

    The last step lands on D, without a second evaluation: N steps take 2N - 1. Karras et al. step along sigma/alpha
    instead, where few steps of a variance-preserving process, whose sigma/alpha starts beyond 100, overshoot wildly.

    References:
        Karras et al., 2022, arXiv:2206.00364, algorithm 1.
        Salimans and Ho, 2022, arXiv:2202.00512, appendix D (the angle).
    """

    spacing: str = "angle"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        way = walk(sde, num_steps, self.spacing)
        y = x_T / way.first.norm
        for t, s in way.steps:
            step = s.angle - t.angle
            v_t = (t.alpha * y - t.norm * denoiser(t.norm * y, t.t)) / t.sigma
            y_s = y + step * v_t
            v_s = (s.alpha * y_s - s.norm * denoiser(s.norm * y_s, s.t)) / s.sigma
            y = y + step / 2 * (v_t + v_s)
        return denoiser(way.last.norm * y, way.last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return 2 * num_steps - 1
