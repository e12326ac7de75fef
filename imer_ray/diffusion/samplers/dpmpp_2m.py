"""DPM-Solver++(2M): second order at one network evaluation a step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class DPMpp2M:
    r"""Steps t -> s of the probability-flow ODE with the last two estimates of x_0 extrapolated.

    $$ x_s = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s (1 - e^{-h}) \left( D_t + \frac{h}{2 h'} (D_t - D_{t'}) \right) $$

    with h = lambda_s - lambda_t, lambda = ln(alpha/sigma), and h' the step before, from t' to t. The first step and the
    last, onto x_0, are of first order. The whole is of second order with steps equal in lambda (``log_snr``); with
    ``angle`` the error falls as N^-2 ln N, and is smaller where N is.

    References:
        Lu et al., 2022, DPM-Solver++, arXiv:2211.01095, algorithm 2.
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
            c_x, c_0 = s.sigma / t.sigma, -s.alpha * math.expm1(-h)
            D = denoiser(x, t.t)
            c_before = c_0 * h / (2 * h_before) if h_before else 0.0
            x = c_x * x + (c_0 + c_before) * D
            if c_before:
                x = x - c_before * D_before
            h_before, D_before = h, D
        return denoiser(x, last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps
