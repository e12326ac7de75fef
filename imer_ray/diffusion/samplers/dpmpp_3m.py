"""DPM-Solver++(3M): third order at one network evaluation a step."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class DPMpp3M:
    r"""Steps t -> s of the probability-flow ODE with a parabola through the last three estimates of x_0.

    $$ x_s = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s \left( \phi_1 D + \phi_2 D' + \phi_3 D'' \right), \quad
       \phi_k = \int_0^h e^{\tau - h} \frac{\tau^{k - 1}}{(k - 1)!} d\tau $$

    with h = lambda_s - lambda_t, lambda = ln(alpha/sigma); D, D' and D'' are the parabola and its derivatives by lambda
    at t, so phi_1 = 1 - e^-h, phi_2 = h - phi_1, phi_3 = h^2/2 - phi_2. (The authors' code, and what follows it, takes
    half of D'', which leaves an error of second order.) The first step holds D, the second runs along a line; these
    errors too are of second order, but small, as D hardly moves where noise drowns the data. The last step lands on D.
    Third order with steps equal in lambda (``log_snr``).

    References:
        Lu et al., 2022, DPM-Solver++, arXiv:2211.01095, section 4, its Taylor expansion taken to third order.
    """

    spacing: str = "angle"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        steps, last = walk(sde, num_steps, self.spacing)
        x, weights = x_T, _weights(sde, num_steps, self.spacing)
        history: list[Tensor] = []
        for (t, s), weights_of_step in zip(steps, weights, strict=True):
            history = [denoiser(x, t.t), *history[:2]]
            x = s.sigma / t.sigma * x
            for weight, D in zip(weights_of_step, history, strict=True):
                x = x + weight * D
        return denoiser(x, last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps


@functools.lru_cache(maxsize=256)
def _weights(sde: SDE, num_steps: int, spacing: str) -> list[list[float]]:
    """For each step the factors of the estimates of x_0, the newest first."""
    steps = walk(sde, num_steps, spacing).steps
    weights = []
    for i, (t, s) in enumerate(steps):
        tau = np.array([node.half_log_snr - t.half_log_snr for node, _ in steps[max(i - 2, 0) : i + 1]][::-1])
        h = s.half_log_snr - t.half_log_snr
        phi_1 = -math.expm1(-h)
        phi = [phi_1, h - phi_1, h**2 / 2 - (h - phi_1)][: len(tau)]
        powers = [tau**k / math.factorial(k) for k in range(len(tau))]  # the rows: D, D', D'' at t make D(tau)
        weights.append((s.alpha * np.linalg.solve(powers, phi)).tolist())
    return weights
