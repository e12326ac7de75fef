"""Variance-exploding process whose noise levels lie as Karras's sampling steps do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from imer_ray.diffusion.sde import check_t_min


@dataclass(frozen=True)
class EDM:
    r"""alpha_t = 1 and a sigma_t whose rho-th root grows evenly.

    $$ \sigma_t = \left( \sigma_{min}^{1/\rho} + t (\sigma_{max}^{1/\rho} - \sigma_{min}^{1/\rho}) \right)^\rho,
       \quad g(t)^2 = \frac{d \sigma_t^2}{dt} $$

    EDM itself lets t be sigma; mapped to [0, 1] like this, equal steps of t are its sampling steps, and what it trains
    on is set by ``time_sampling`` (``log_normal``), ``parametrization`` and ``weighting`` (``edm`` both).

    References:
        Karras et al., 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv:2206.00364,
        equation 5 and table 1.

    Attributes:
        sigma_min: noise level at t = 0.
        sigma_max: noise level at t = 1.
        rho: 1 is even in sigma, large values come near VE's even ln sigma.
        t_min: where training and sampling end.
    """

    t_max: ClassVar[float] = 1.0

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(f"need 0 < sigma_min < sigma_max, not {self.sigma_min} and {self.sigma_max}")
        if not 1 <= self.rho <= 100:
            raise ValueError(f"rho must be in [1, 100], not {self.rho}")
        check_t_min(self.t_min)

    @property
    def prior_std(self) -> float:
        return self.sigma_max

    def marginal_prob(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t.new_ones(t.shape), self._root(t) ** self.rho

    def drift_coefficient(self, t: Tensor) -> Tensor:
        return t.new_zeros(t.shape)

    def diffusion(self, t: Tensor) -> Tensor:
        root, (low, high) = self._root(t), self._ends
        return root**self.rho * (2 * self.rho * (high - low) / root).sqrt()

    def _root(self, t: Tensor) -> Tensor:
        low, high = self._ends
        return low + t * (high - low)

    @property
    def _ends(self) -> tuple[float, float]:
        return self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
