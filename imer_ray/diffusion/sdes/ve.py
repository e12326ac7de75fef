"""Variance-exploding process with geometric noise levels (score_sde's VESDE)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from imer_ray.diffusion.sde import check_t_min


@dataclass(frozen=True)
class VE:
    r"""Noise that grows by the same factor in equal times.

    $$ \alpha_t = 1, \quad \sigma_t = \sigma_{min} \left( \frac{\sigma_{max}}{\sigma_{min}} \right)^t, \quad
       g(t) = \sigma_t \sqrt{2 \ln \frac{\sigma_{max}}{\sigma_{min}}} $$

    Data at t = 0 carry noise sigma_min already; the process adds to it.

    References:
        Song et al., 2021, Score-Based Generative Modeling through SDEs, arXiv:2011.13456, equations 30 and 31.
    """

    t_max: ClassVar[float] = 1.0

    sigma_min: float = 0.01
    sigma_max: float = 20.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(f"need 0 < sigma_min < sigma_max, not {self.sigma_min} and {self.sigma_max}")
        check_t_min(self.t_min)

    @property
    def prior_std(self) -> float:
        return self.sigma_max

    def marginal_prob(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t.new_ones(t.shape), self.sigma_min * (self._log_growth * t).exp()

    def drift_coefficient(self, t: Tensor) -> Tensor:
        return t.new_zeros(t.shape)

    def diffusion(self, t: Tensor) -> Tensor:
        return self.sigma_min * math.sqrt(2 * self._log_growth) * (self._log_growth * t).exp()

    @property
    def _log_growth(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)
