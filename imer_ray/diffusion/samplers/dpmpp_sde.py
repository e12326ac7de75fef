"""SDE-DPM-Solver++(2M): DPM-Solver++(2M) for the reverse SDE."""

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
class SDEDPMpp2M:
    r"""Steps t -> s of the reverse SDE with the last two estimates of x_0 extrapolated.

    $$ x_s = \frac{\sigma_s}{\sigma_t} e^{-h} x_t
             + \alpha_s (1 - e^{-2h}) \left( D_t + \frac{h}{2 h'} (D_t - D_{t'}) \right)
             + \sigma_s \sqrt{1 - e^{-2h}} z $$

    with h = lambda_s - lambda_t, lambda = ln(alpha/sigma), and h' the step before, from t' to t. The first step is
    ancestral sampling (`DDIM` with eta = 1), the last lands on D.

    References:
        Lu et al., 2022, DPM-Solver++, arXiv:2211.01095, SDE-DPM-Solver++(2M).
    """

    spacing: str = "angle"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        steps, last = walk(sde, num_steps, self.spacing)
        x, h_before, D_before = x_T, 0.0, x_T
        for t, s in steps:
            h = s.half_log_snr - t.half_log_snr
            share = -math.expm1(-2 * h)  # of the variance at s that is fresh noise
            D = denoiser(x, t.t)
            ahead = D + h / (2 * h_before) * (D - D_before) if h_before else D
            x = s.sigma / t.sigma * math.exp(-h) * x + s.alpha * share * ahead
            x = x + s.sigma * math.sqrt(share) * standard_normal(x.shape, generator, x.device, x.dtype)
            h_before, D_before = h, D
        return denoiser(x, last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps
