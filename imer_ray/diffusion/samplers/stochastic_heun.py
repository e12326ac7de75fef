"""Karras et al.'s stochastic sampler: Heun's method with noise churned in before each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.noise import standard_normal
from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import Node, check_spacing, node_at, walk


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
        s_tmin, s_tmax: between which r it is.
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
        way = walk(sde, num_steps, self.spacing)
        y = x_T / way.first.alpha
        for node, s in way.steps:
            y, t = self._churn(y, node, sde, num_steps, generator)
            d_t = (y - denoiser(t.alpha * y, t.t)) / t.ratio
            y_s = y + (s.ratio - t.ratio) * d_t
            d_s = (y_s - denoiser(s.alpha * y_s, s.t)) / s.ratio
            y = y + (s.ratio - t.ratio) / 2 * (d_t + d_s)
        y, last = self._churn(y, way.last, sde, num_steps, generator)
        return denoiser(last.alpha * y, last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return 2 * num_steps - 1

    def _churn(self, y: Tensor, t: Node, sde: SDE, num_steps: int, generator: torch.Generator) -> tuple[Tensor, Node]:
        """y with noise added, and the node whose noise it then has."""
        if self.s_churn == 0 or not self.s_tmin <= t.ratio <= self.s_tmax:
            return y, t
        raised = node_at(sde, t.ratio * (1 + min(self.s_churn / num_steps, math.sqrt(2) - 1)))
        if raised.t <= t.t:
            return y, t
        std = self.s_noise * math.sqrt(raised.ratio**2 - t.ratio**2)
        return y + std * standard_normal(y.shape, generator, y.device, y.dtype), raised
