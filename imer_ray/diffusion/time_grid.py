"""The times that a sampler walks through."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from imer_ray.diffusion.sde import SDE

RHO = 7  # Karras et al., 2022, arXiv:2206.00364, section 3
SPACINGS = ("uniform", "log_snr", "karras", "angle")


class Node(NamedTuple):
    """A time of the grid and the process's marginals there, as plain numbers."""

    t: float
    alpha: float
    sigma: float

    @property
    def ratio(self) -> float:
        """sigma_t / alpha_t, the noise level of x_t / alpha_t."""
        return self.sigma / self.alpha

    @property
    def half_log_snr(self) -> float:
        """lambda_t = ln(alpha_t / sigma_t), which rises as the noise falls."""
        return math.log(self.alpha) - math.log(self.sigma)

    @property
    def angle(self) -> float:
        """theta_t = arctan(sigma_t / alpha_t)."""
        return math.atan2(self.sigma, self.alpha)

    @property
    def norm(self) -> float:
        """sqrt(alpha_t^2 + sigma_t^2), the standard deviation of x_t for data of unit variance."""
        return math.hypot(self.alpha, self.sigma)


class Walk(NamedTuple):
    """A sampler's way: the steps t -> s one after another, then the node at which it lands on the estimate of x_0."""

    steps: tuple[tuple[Node, Node], ...]
    last: Node

    @property
    def first(self) -> Node:
        """Where the way starts: at t_max."""
        return self.steps[0][0] if self.steps else self.last


def check_spacing(spacing: str) -> None:
    """Refuse a name that is not one of `SPACINGS`."""
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, not {spacing}")


def time_grid(sde: SDE, num_steps: int, spacing: str) -> Tensor:
    """Times from t_max to t_min [num_steps + 1] (float64), equally spaced in a coordinate u(t).

    With r = sigma_t / alpha_t: ``uniform`` u = t; ``log_snr`` u = ln r (Lu et al., 2022, arXiv:2206.00927, section
    3.4); ``karras`` u = r^(1/7) (Karras et al., 2022, arXiv:2206.00364, equation 5); ``angle`` u = arctan r, which
    lays steps where data of unit variance and noise are equally strong.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, not {num_steps}")
    if spacing == "uniform":
        return torch.linspace(sde.t_max, sde.t_min, num_steps + 1, dtype=torch.float64)
    ends = torch.tensor([sde.t_max, sde.t_min], dtype=torch.float64)
    u_max, u_min = _coordinate(sde, ends, spacing).tolist()
    grid = _time_of(sde, torch.linspace(u_max, u_min, num_steps + 1, dtype=torch.float64), spacing)
    grid[0], grid[-1] = ends
    return grid


@functools.lru_cache(maxsize=1024)
def nodes(sde: SDE, num_steps: int, spacing: str) -> tuple[Node, ...]:
    """The time grid with its marginals, num_steps + 1 of them, worked out once for all samples."""
    grid = time_grid(sde, num_steps, spacing)
    alpha, sigma = sde.marginal_prob(grid)
    return tuple(map(Node, grid.tolist(), alpha.tolist(), sigma.tolist()))


@functools.lru_cache(maxsize=1024)
def walk(sde: SDE, num_steps: int, spacing: str) -> Walk:
    """The num_steps - 1 steps between the grid's times, and the last time but one, where the step onto x_0 starts."""
    grid = nodes(sde, num_steps, spacing)
    return Walk(tuple(zip(grid[:-2], grid[1:-1], strict=True)), grid[-2])


@functools.lru_cache(maxsize=256)
def nodes_at(sde: SDE, ratios: tuple[float, ...]) -> tuple[Node, ...]:
    """The nodes at which sigma_t / alpha_t has these values, or those nearest to them between t_min and t_max."""
    t = _time_of(sde, torch.tensor(ratios, dtype=torch.float64).log(), "log_snr")
    alpha, sigma = sde.marginal_prob(t)
    return tuple(map(Node, t.tolist(), alpha.tolist(), sigma.tolist()))


def _time_of(sde: SDE, u: Tensor, spacing: str) -> Tensor:
    """The times at which the coordinate is u, by bisection to double precision: the coordinate grows with t."""
    low, high = torch.full_like(u, sde.t_min), torch.full_like(u, sde.t_max)
    for _ in range(60):
        middle = (low + high) / 2
        above = _coordinate(sde, middle, spacing) > u
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def _coordinate(sde: SDE, t: Tensor, spacing: str) -> Tensor:
    check_spacing(spacing)
    alpha_t, sigma_t = sde.marginal_prob(t)
    if spacing == "angle":
        return torch.atan2(sigma_t, alpha_t)
    log_ratio = sigma_t.log() - alpha_t.log()
    return log_ratio if spacing == "log_snr" else (log_ratio / RHO).exp()
