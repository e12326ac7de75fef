"""IMDer's variance-exploding process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from imer_ray.diffusion.sde import check_t_min


@dataclass(frozen=True)
class ImderVE:
    r"""dx = sigma^t dw, which is not score_sde's VESDE although both are called "VE".

    $$ \alpha_t = 1, \quad \sigma_t^2 = \frac{\sigma^{2t} - 1}{2 \ln \sigma} $$

    References:
        Wang et al., 2023, Incomplete Multimodality-Diffused Emotion Recognition (NeurIPS); Song et al., 2021,
        arXiv:2011.13456, section 3.1, for processes of this kind.

    Attributes:
        sigma: growth of the noise; sigma_1 is 9.845 at 25.
        t_min: last time of IMDer's sampler. (Its training goes on down to 1e-5, which no sampler visits.)
    """

    t_max: ClassVar[float] = 1.0

    sigma: float = 25.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        if not 1 < self.sigma < math.inf:
            raise ValueError(f"sigma must be greater than 1, not {self.sigma}")
        check_t_min(self.t_min)

    @property
    def prior_std(self) -> float:
        log_sigma = math.log(self.sigma)
        return math.sqrt(math.expm1(2 * log_sigma) / (2 * log_sigma))

    def marginal_prob(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_sigma = math.log(self.sigma)
        sigma_t = ((2 * log_sigma * t).expm1() / (2 * log_sigma)).sqrt()  # expm1: sigma^(2t) - 1 cancels at small t
        return t.new_ones(t.shape), sigma_t

    def drift_coefficient(self, t: Tensor) -> Tensor:
        return t.new_zeros(t.shape)

    def diffusion(self, t: Tensor) -> Tensor:
        return (math.log(self.sigma) * t).exp()
