"""Heun's method on the probability-flow ODE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, nodes


@dataclass(frozen=True)
class Heun:
    r"""Steps t -> s of dy/dr = eps, y = x/alpha, r = sigma/alpha: an Euler (DDIM) step, then the mean of both slopes.

    $$ x' = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s \left( 1 - \frac{r_s}{r_t} \right) D_t, \quad
       x_s = x' + \frac{\alpha_s}{2} \left( \frac{r_t}{r_s} - 1 \right) (D(x', s) - D_t) $$

    The second term is alpha_s (r_s - r_t) (eps_s - eps_t)/2 written by D, which does not cancel at large r. The last
    step, onto x_0, is the Euler step alone, so N steps take 2N - 1 evaluations.

    References:
        Karras et al., 2022, arXiv:2206.00364, algorithm 1 (with its equation 4 for any alpha_t).
    """

    spacing: str = "karras"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        grid = nodes(sde, num_steps, self.spacing)
        x = x_T
        for (t, alpha_t, sigma_t), (s, alpha_s, sigma_s) in zip(grid[:-2], grid[1:-1], strict=True):
            shrink = alpha_t * sigma_s / (alpha_s * sigma_t)
            D_t = denoiser(x, t)
            x = sigma_s / sigma_t * x + alpha_s * (1 - shrink) * D_t
            x = x + alpha_s / 2 * (1 / shrink - 1) * (denoiser(x, s) - D_t)
        return denoiser(x, grid[-2].t)

    def num_evaluations(self, num_steps: int) -> int:
        return 2 * num_steps - 1
