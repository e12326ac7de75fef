"""Euler's method on the probability-flow ODE."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class ProbabilityFlowEuler:
    r"""Steps t -> s of the probability-flow ODE, straight along its slope in the process's own time.

    $$ x_s = x_t + (s - t) \left( f(t) x_t - \frac{g(t)^2}{2} s(x_t, t) \right), \quad
       s = (\alpha_t D(x_t, t) - x_t) / \sigma_t^2 $$

    First order, as `DDIM` without noise, but another method: DDIM solves the ODE's linear part exactly and sees of the
    process only sigma/alpha at the grid's times, while this one depends on how the process runs between them. The two
    meet where x is linear in t at fixed D: on a process with sigma_t = t and alpha_t = 1 or 1 - t. On others this one
    overshoots where x shrinks by more than a factor e in one step, so it needs many.

    References:
        Song et al., 2021, arXiv:2011.13456, equation 13 (the ODE; section 4.3).
    """

    spacing: str = "uniform"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        x = x_T
        for t, c_x, c_0 in _steps(sde, num_steps, self.spacing):
            x = c_x * x + c_0 * denoiser(x, t)
        return denoiser(x, walk(sde, num_steps, self.spacing).last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps


@functools.lru_cache(maxsize=256)
def _steps(sde: SDE, num_steps: int, spacing: str) -> list[tuple[float, float, float]]:
    """Each step's time, and its factors of x_t and of D(x_t, t)."""
    pairs = walk(sde, num_steps, spacing).steps
    times = torch.tensor([t.t for t, _ in pairs], dtype=torch.float64)
    drift, square = sde.drift_coefficient(times).tolist(), sde.diffusion(times).square().tolist()
    steps = []
    for (t, s), f, g2 in zip(pairs, drift, square, strict=True):
        h, c = t.t - s.t, g2 / (2 * t.sigma**2)
        steps.append((t.t, 1 - h * (f + c), h * c * t.alpha))
    return steps
