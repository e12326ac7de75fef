"""DDIM for any alpha_t and sigma_t."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.noise import standard_normal
from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, nodes


@dataclass(frozen=True)
class DDIM:
    r"""Steps t -> s that keep the marginals, with a share of fresh noise.

    $$ x_s = \alpha_s D + \sqrt{\sigma_s^2 - \kappa^2} \frac{x_t - \alpha_t D}{\sigma_t} + \kappa z, \quad
       \kappa = \eta \sigma_s \sqrt{1 - \frac{\alpha_t^2 \sigma_s^2}{\alpha_s^2 \sigma_t^2}} $$

    eta = 0 is the exponential Euler step of the probability-flow ODE (first order), eta = 1 ancestral sampling (DDPM).

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
        grid = nodes(sde, num_steps, self.spacing)
        x = x_T
        for (t, alpha_t, sigma_t), (_, alpha_s, sigma_s) in zip(grid[:-2], grid[1:-1], strict=True):
            kappa = self.eta * sigma_s * math.sqrt(1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)
            c_x = math.sqrt(sigma_s**2 - kappa**2) / sigma_t
            x = c_x * x + (alpha_s - c_x * alpha_t) * denoiser(x, t)
            if kappa > 0:
                x = x + kappa * standard_normal(x.shape, generator, x.device, x.dtype)
        return denoiser(x, grid[-2].t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps
