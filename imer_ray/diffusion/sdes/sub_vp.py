"""Sub-variance-preserving process with a linear schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from imer_ray.diffusion.sde import check_t_min
from imer_ray.diffusion.sdes.vp import check_linear, linear_beta, linear_log_alpha


@dataclass(frozen=True)
class SubVP:
    r"""VP's signal with less noise: the variance of unit data never exceeds 1.

    $$ dx = -\tfrac{1}{2} \beta(t) x \, dt + \sqrt{\beta(t) (1 - \alpha_t^4)} \, dw, \quad
       \ln \alpha_t = -\tfrac{1}{2} \int_0^t \beta, \quad \sigma_t = 1 - \alpha_t^2 $$

    sigma_t is the square of VP's at the same time: 1 - alpha_t^2 is the standard deviation here, there the variance.

    References:
        Song et al., 2021, Score-Based Generative Modeling through SDEs, arXiv:2011.13456, equation 29 and appendix B.

    Attributes:
        beta_min: where the linear beta(t) begins.
        beta_max: where it ends.
        t_min: where training and sampling end.
    """

    t_max: ClassVar[float] = 1.0

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        check_linear(self.beta_min, self.beta_max)
        check_t_min(self.t_min)

    @property
    def prior_std(self) -> float:
        alpha_squared = math.exp(-(self.beta_min + self.beta_max) / 2)
        return math.sqrt(alpha_squared + (1 - alpha_squared) ** 2)

    def marginal_prob(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_alpha_t = linear_log_alpha(t, self.beta_min, self.beta_max)
        return log_alpha_t.exp(), -(2 * log_alpha_t).expm1()  # expm1: 1 - alpha^2 cancels at small t

    def drift_coefficient(self, t: Tensor) -> Tensor:
        return -linear_beta(t, self.beta_min, self.beta_max) / 2

    def diffusion(self, t: Tensor) -> Tensor:
        log_alpha_t = linear_log_alpha(t, self.beta_min, self.beta_max)
        return (-linear_beta(t, self.beta_min, self.beta_max) * (4 * log_alpha_t).expm1()).sqrt()
