"""DDIM for any alpha_t and sigma_t."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.noise import standard_normal
from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class DDIM:
    r"""Steps t -> s that keep the marginals, with a share of fresh noise.

    $$ x_s = \alpha_s D + \sqrt{\sigma_s^2 - \kappa^2} \frac{x_t - \alpha_t D}{\sigma_t} + \kappa z, \quad
       \kappa = \eta \sigma_s \sqrt{1 - \frac{\alpha_t^2 \sigma_s^2}{\alpha_s^2 \sigma_t^2}} $$

    eta = 0 is the exponential Euler step of the probability-flow ODE (first order), eta = 1 ancestral sampling (DDPM).
    DPM-Solver++ of order 1, single step or multistep, is eta = 0 (Lu et al., 2022, arXiv:2211.01095, section 4), its
    SDE form of order 1 is eta = 1, and Euler's method on Karras et al.'s ODE (arXiv:2206.00364) is eta = 0 again.

    References:
        Song et al., 2021, Denoising Diffusion Implicit Models, arXiv:2010.02502, equations 12 and 16, written for any
        alpha_t and sigma_t: kappa^2/eta^2 is the variance of q(x_s | x_t, x_0).

    Attributes:
        eta: share of fresh noise, in [0, 1].
        spacing: of the time grid.
    """

    eta: float = 0.0
    spacing: str = "angle"

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be in [0, 1], not {self.eta}")
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        steps, last = walk(sde, num_steps, self.spacing)
        x = x_T
        for t, s in steps:
            kappa = self.eta * s.sigma * math.sqrt(1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2)
            c_x = math.sqrt(s.sigma**2 - kappa**2) / t.sigma
            x = c_x * x + (s.alpha - c_x * t.alpha) * denoiser(x, t.t)
            if kappa > 0:
                x = x + kappa * standard_normal(x.shape, generator, x.device, x.dtype)
        return denoiser(x, last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps
