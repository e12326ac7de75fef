"""Variance-preserving process with a linear or a cosine schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from imer_ray.diffusion.sde import check_t_min


@dataclass(frozen=True)
class VP:
    r"""dx = -beta(t)/2 x dt + sqrt(beta(t)) dw, so that alpha_t^2 + sigma_t^2 = 1.

    ``linear``: beta(t) = beta_min + t (beta_max - beta_min), ln alpha_t = -t^2 (beta_max - beta_min)/4 - t beta_min/2.

    ``cosine``: alpha_t = cos(theta_t), sigma_t = sin(theta_t) with an angle linear in t,
    $$ \theta_t = \theta_0 + t (\theta_1 - \theta_0), \quad \theta_0 = \frac{\pi}{2} \frac{s}{1 + s}, \quad
       \theta_1 = \arctan(noise\_to\_signal\_max), \quad \beta(t) = 2 (\theta_1 - \theta_0) \tan \theta_t $$
    Ending before pi/2 keeps alpha_1 away from zero and beta finite, where the published schedule clips beta at 0.999.

    References:
        Song et al., 2021, arXiv:2011.13456, equations 32 and 33 (linear).
        Nichol and Dhariwal, 2021, Improved Denoising Diffusion Probabilistic Models, arXiv:2102.09672, eq. 17 (cosine).

    Attributes:
        schedule: ``linear`` or ``cosine``.
        beta_min, beta_max: of the linear schedule.
        cosine_offset: s of the cosine schedule; keeps the noise near t = 0 from becoming vanishingly small.
        noise_to_signal_max: sigma_1 / alpha_1 of the cosine schedule.
        t_min: where training and sampling end.
    """

    t_max: ClassVar[float] = 1.0
    prior_std: ClassVar[float] = 1.0

    schedule: str = "cosine"
    beta_min: float = 0.1
    beta_max: float = 20.0
    cosine_offset: float = 0.008
    noise_to_signal_max: float = 100.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        if self.schedule not in ("linear", "cosine"):
            raise ValueError(f"schedule must be linear or cosine, not {self.schedule}")
        if not 0 < self.beta_min < self.beta_max < math.inf:
            raise ValueError(f"need 0 < beta_min < beta_max, not {self.beta_min} and {self.beta_max}")
        if not 0 <= self.cosine_offset < 0.5:
            raise ValueError(f"cosine_offset must be in [0, 0.5), not {self.cosine_offset}")
        if not 1 < self.noise_to_signal_max < math.inf:
            raise ValueError(f"noise_to_signal_max must be greater than 1, not {self.noise_to_signal_max}")
        check_t_min(self.t_min)

    def marginal_prob(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if self.schedule == "cosine":
            theta_t = self._theta(t)
            return theta_t.cos(), theta_t.sin()
        log_alpha_t = -t * (t * (self.beta_max - self.beta_min) / 4 + self.beta_min / 2)
        return log_alpha_t.exp(), (-(2 * log_alpha_t).expm1()).sqrt()  # expm1: 1 - alpha^2 cancels at small t

    def drift_coefficient(self, t: Tensor) -> Tensor:
        return -self._beta(t) / 2

    def diffusion(self, t: Tensor) -> Tensor:
        return self._beta(t).sqrt()

    def _beta(self, t: Tensor) -> Tensor:
        if self.schedule == "cosine":
            theta_0, theta_1 = self._ends
            return 2 * (theta_1 - theta_0) * self._theta(t).tan()
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def _theta(self, t: Tensor) -> Tensor:
        theta_0, theta_1 = self._ends
        return theta_0 + t * (theta_1 - theta_0)

    @property
    def _ends(self) -> tuple[float, float]:
        return math.pi / 2 * self.cosine_offset / (1 + self.cosine_offset), math.atan(self.noise_to_signal_max)
