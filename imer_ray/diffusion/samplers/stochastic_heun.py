"""Karras et al.'s stochastic sampler: Heun's method with noise churned in before each step."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.noise import standard_normal
from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import Node, check_spacing, nodes_at, walk


@dataclass(frozen=True)
class StochasticHeun:
    r"""Before each step noise is added, so that it starts from a noisier time; then Heun's method on y = x/alpha.

    With r = sigma/alpha, and gamma = min(S_churn/N, sqrt(2) - 1) where S_tmin <= r_t <= S_tmax, else 0:
    $$ \hat r = (1 + \gamma) r_t, \quad \hat y = y_t + S_{noise} \sqrt{\hat r^2 - r_t^2} z, \quad
       d = \frac{\hat y - D(\hat y)}{\hat r}, \quad y' = \hat y + (r_s - \hat r) d, \quad
       y_s = \hat y + \frac{r_s - \hat r}{2} \left( d + \frac{y' - D(y')}{r_s} \right) $$

    No step starts beyond t_max, for which no network is trained: at t_max nothing is added. The step onto x_0 lands on
    D: N steps take 2N - 1 evaluations. s_churn = 0 is the paper's deterministic sampler, which steps along r where
    `Heun` steps along arctan r.

    References:
        Karras et al., 2022, arXiv:2206.00364, algorithm 2 and equation 5 (spacing).

    Attributes:
        s_churn: how much noise is put back over all steps.
        s_tmin: the lowest r at which it is.
        s_tmax: the highest.
        s_noise: inflates it; the authors make up for a network's tendency to remove too much by up to 1.007.
    """

    s_churn: float = 10.0
    s_tmin: float = 0.05
    s_tmax: float = 50.0
    s_noise: float = 1.0
    spacing: str = "karras"

    def __post_init__(self) -> None:
        if not 0 <= self.s_churn < math.inf:
            raise ValueError(f"s_churn must not be negative, not {self.s_churn}")
        if not 0 <= self.s_tmin <= self.s_tmax:
            raise ValueError(f"need 0 <= s_tmin <= s_tmax, not {self.s_tmin} and {self.s_tmax}")
        if not 0 < self.s_noise < 2:
            raise ValueError(f"s_noise must be between 0 and 2, not {self.s_noise}")
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        way, starts = walk(sde, num_steps, self.spacing), _starts(self, sde, num_steps)
        y = x_T / way.first.alpha
        for (node, s), t in zip(way.steps, starts, strict=False):
            y = self._churn(y, node, t, generator)
            d_t = (y - denoiser(t.alpha * y, t.t)) / t.ratio
            y_s = y + (s.ratio - t.ratio) * d_t
            d_s = (y_s - denoiser(s.alpha * y_s, s.t)) / s.ratio
            y = y + (s.ratio - t.ratio) / 2 * (d_t + d_s)
        y = self._churn(y, way.last, starts[-1], generator)
        return denoiser(starts[-1].alpha * y, starts[-1].t)

    def num_evaluations(self, num_steps: int) -> int:
        return 2 * num_steps - 1

    def _churn(self, y: Tensor, node: Node, start: Node, generator: torch.Generator) -> Tensor:
        """y of the node with the noise that it has at the start."""
        if start is node:
            return y
        std = self.s_noise * math.sqrt(start.ratio**2 - node.ratio**2)
        return y + std * standard_normal(y.shape, generator, y.device, y.dtype)


@functools.lru_cache(maxsize=256)
def _starts(sampler: StochasticHeun, sde: SDE, num_steps: int) -> tuple[Node, ...]:
    """Where each step starts: its node, or one of more noise."""
    way = walk(sde, num_steps, sampler.spacing)
    grid = (*(t for t, _ in way.steps), way.last)
    gamma = min(sampler.s_churn / num_steps, math.sqrt(2) - 1)
    raised = nodes_at(sde, tuple(node.ratio * (1 + gamma) for node in grid))
    return tuple(
        up if sampler.s_tmin <= node.ratio <= sampler.s_tmax and gamma > 0 and up.t > node.t else node
        for node, up in zip(grid, raised, strict=True)
    )
