"""DPM-Solver++(2S): second order, two network evaluations a step and no memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class DPMpp2S:
    r"""Steps t -> s of the probability-flow ODE by way of a time u between them, no step knowing of the one before.

    $$ x_u = \frac{\sigma_u}{\sigma_t} x_t + \alpha_u (1 - e^{-r h}) D_t, \quad
       x_s = \frac{\sigma_s}{\sigma_t} x_t
             + \alpha_s (1 - e^{-h}) \left( D_t + \frac{1}{2 r} (D(x_u, u) - D_t) \right) $$

    with h = lambda_s - lambda_t, lambda = ln(alpha/sigma), r = (lambda_u - lambda_t)/h. Second order. u is a time of
    the same grid, which has twice as many; spaced by ``log_snr`` that makes r = 1/2, the published choice, where x_s
    needs D(x_u, u) alone. The last step lands on D: N steps take 2N - 1 evaluations.

    "2S" counts the order and says single step; the single-step method of order 1 is `DDIM` without noise.

    References:
        Lu et al., 2022, DPM-Solver++, arXiv:2211.01095, algorithm 1.
    """

    spacing: str = "angle"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        halves, last = walk(sde, 2 * num_steps - 1, self.spacing)
        x = x_T
        for (t, u), (_, s) in zip(halves[::2], halves[1::2], strict=True):
            h_u, h = u.half_log_snr - t.half_log_snr, s.half_log_snr - t.half_log_snr
            D = denoiser(x, t.t)
            x_u = u.sigma / t.sigma * x - u.alpha * math.expm1(-h_u) * D
            D = D + h / (2 * h_u) * (denoiser(x_u, u.t) - D)
            x = s.sigma / t.sigma * x - s.alpha * math.expm1(-h) * D
        return denoiser(x, last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return 2 * num_steps - 1
