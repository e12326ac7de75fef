"""Euler-Maruyama on the reverse SDE, IMDer's sampler."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.noise import standard_normal
from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, nodes


@dataclass(frozen=True)
class EulerMaruyama:
    r"""Steps of the reverse SDE; the last one adds no noise.

    $$ x_{t-h} = x_t - h \left( f(t) x_t - g(t)^2 s(x_t, t) \right) + \sqrt{h} g(t) z, \quad
       s = (\alpha_t D(x_t, t) - x_t) / \sigma_t^2 $$

    N steps start at the N times from t_max to t_min, both included; the last is as long as the one before. On IMDer's
    process with 100 steps this is IMDer's sampler.

    References:
        Song et al., 2021, arXiv:2011.13456, section 4.1; Wang et al., 2023 (IMDer).
    """

    spacing: str = "uniform"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        steps = _steps(sde, num_steps, self.spacing)
        x = x_T
        for t, c_x, c_0, noise in steps[:-1]:
            x = c_x * x + c_0 * denoiser(x, t) + noise * standard_normal(x.shape, generator, x.device, x.dtype)
        t, c_x, c_0, _ = steps[-1]
        return c_x * x + c_0 * denoiser(x, t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps


@functools.lru_cache(maxsize=256)
def _steps(sde: SDE, num_steps: int, spacing: str) -> list[tuple[float, float, float, float]]:
    """Each step's time, its factors of x_t and of D(x_t, t), and its noise's standard deviation."""
    grid = nodes(sde, max(num_steps - 1, 1), spacing)
    lengths = [t.t - s.t for t, s in zip(grid[:-1], grid[1:], strict=True)]
    times = torch.tensor([node.t for node in grid], dtype=torch.float64)
    drift, square = sde.drift_coefficient(times).tolist(), sde.diffusion(times).square().tolist()
    steps = []
    for node, h, f, g2 in zip(grid, [*lengths, lengths[-1]], drift, square, strict=True):
        c_0 = h * g2 * node.alpha / node.sigma**2
        steps.append((node.t, 1 - h * f - h * g2 / node.sigma**2, c_0, math.sqrt(h * g2)))
    return steps[:num_steps]
