r"""How much an error at time t counts in training.

Each weighting is a weight w(t) on the squared error of x_0; as D - x_0 = c_out (F - F*), the network's own output gets
w_F = w c_out^2. With SNR = alpha_t^2/sigma_t^2 and d = sigma_data:

| weighting  | w(t)                                   | equals ``uniform`` for the parametrization |
|------------|----------------------------------------|--------------------------------------------|
| uniform    | 1/c_out^2                              |                                            |
| x0         | 1                                      | x0                                         |
| snr        | SNR                                    | eps, score                                 |
| min_snr    | min(SNR, gamma)                        |                                            |
| edm        | SNR + 1/d^2                            | edm; v where d = 1                         |
| likelihood | g_t^2 alpha_t^2/sigma_t^4 = -d SNR/dt  |                                            |

What an error at a noise level counts in the end is w(t) times the density of the times drawn (Kingma and Gao, 2023,
arXiv:2303.00848, section 3), so ``x0`` with many times of a kind is another weighting of few: see
`imer_ray.diffusion.time_sampling`. No weighting is scaled to a mean of its own; ``likelihood`` grows without bound as
t falls, so a batch's gradient is mostly that of its smallest time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from imer_ray.diffusion.sde import SDE


class Weighting(Protocol):
    """A weight on the squared error of the network's output."""

    def output_weight(self, sde: SDE, t: Tensor, c_out: Tensor | float, sigma_data: float) -> Tensor | float:
        """w_F at the times t [B], at which x_0 = c_skip x_t + c_out F: [B], or one number for all."""
        ...


@dataclass(frozen=True)
class Uniform:
    """w_F = 1: every parametrization's own simple loss (Ho et al., 2020, arXiv:2006.11239, equation 14, for eps)."""

    def output_weight(self, sde: SDE, t: Tensor, c_out: Tensor | float, sigma_data: float) -> float:
        return 1.0


@dataclass(frozen=True)
class X0:
    """w = 1: the error of x_0, whatever the network predicts."""

    def output_weight(self, sde: SDE, t: Tensor, c_out: Tensor | float, sigma_data: float) -> Tensor | float:
        return c_out**2


@dataclass(frozen=True)
class SNR:
    """w = SNR: the error of eps, whatever the network predicts (Salimans and Ho, 2022, arXiv:2202.00512, section 4)."""

    def output_weight(self, sde: SDE, t: Tensor, c_out: Tensor | float, sigma_data: float) -> Tensor:
        return c_out**2 * _snr(sde, t)


@dataclass(frozen=True)
class MinSNR:
    """w = min(SNR, gamma): the error of eps, but where noise is weak that of x_0.

    References:
        Hang et al., 2023, Efficient Diffusion Training via Min-SNR Weighting Strategy, arXiv:2303.09556, section 3.4.

    Attributes:
        gamma: SNR beyond which an error counts no more than one of x_0 does.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"gamma must be positive, not {self.gamma}")

    def output_weight(self, sde: SDE, t: Tensor, c_out: Tensor | float, sigma_data: float) -> Tensor:
        return c_out**2 * _snr(sde, t).clamp(max=self.gamma)


@dataclass(frozen=True)
class EDM:
    """w = SNR + 1/sigma_data^2: as large as the error of a network that knows nothing is small.

    References:
        Karras et al., 2022, arXiv:2206.00364, table 1: (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 with sigma =
        sigma_t/alpha_t.
    """

    def output_weight(self, sde: SDE, t: Tensor, c_out: Tensor | float, sigma_data: float) -> Tensor:
        return c_out**2 * (_snr(sde, t) + sigma_data**-2)


@dataclass(frozen=True)
class Likelihood:
    """w = g_t^2 alpha_t^2/sigma_t^4: g_t^2 on the error of the score, a bound on the likelihood with uniform times.

    References:
        Song et al., 2021, Maximum Likelihood Training of Score-Based Diffusion Models, arXiv:2101.09258, theorem 1.
        Kingma et al., 2021, Variational Diffusion Models, arXiv:2107.00630, section 5 (-d SNR/dt on the error of x_0).
    """

    def output_weight(self, sde: SDE, t: Tensor, c_out: Tensor | float, sigma_data: float) -> Tensor:
        _, sigma_t = sde.marginal_prob(t)
        return c_out**2 * _snr(sde, t) * (sde.diffusion(t) / sigma_t) ** 2


def _snr(sde: SDE, t: Tensor) -> Tensor:
    alpha_t, sigma_t = sde.marginal_prob(t)
    return (alpha_t / sigma_t) ** 2
