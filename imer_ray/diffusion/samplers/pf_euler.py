"""Euler's method on the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class ProbabilityFlowEuler:
    r"""Steps of the probability-flow ODE along its slope by the angle theta = arctan(sigma/alpha): `Heun` halved.

    $$ y_s = y_t + (\theta_s - \theta_t) v, \quad v = \frac{\alpha y_t - n D(n y_t)}{\sigma}, \quad
       y = x/n, \quad n = \sqrt{\alpha^2 + \sigma^2} $$

    First order, as `DDIM` without noise, but another method: with D held fixed y turns, and DDIM follows the turn,
    y_s = cos(Delta) y_t + sin(Delta) v, where this one goes straight on. So DDIM lets a coarse grid's spread shrink and
    this one lets it grow. Along t itself, the coordinate of the ODE as published, Euler's method overshoots on
    variance-exploding processes, whose sigma falls by more than a factor e in one step of a small grid.

    References:
        Song et al., 2021, arXiv:2011.13456, section 4.3 (the ODE).
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
            v = (t.alpha * y - t.norm * denoiser(t.norm * y, t.t)) / t.sigma
            y = y + (s.angle - t.angle) * v
        return denoiser(way.last.norm * y, way.last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps
