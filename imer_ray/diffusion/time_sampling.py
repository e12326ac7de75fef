r"""Which times t a batch is trained on.

Each way is a distribution of t on [t_min, t_max]; the n times of a batch are its quantiles at evenly spread
probabilities u with one random shift, one in each of n parts of equal probability: a loss of lower variance than
independent times give (Kingma et al., 2021, arXiv:2107.00630, appendix I.1).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from imer_ray.diffusion.sde import SDE, marginal_at
from imer_ray.diffusion.time_grid import time_grid

TABLE_STEPS = 4096  # of ln(sigma_t/alpha_t); linear in between, off by less than single precision is
MIN_MASS = 0.01


class TimeSampling(Protocol):
    """A distribution of training times."""

    def sample(self, sde: SDE, n: int, generator: torch.Generator) -> Tensor:
        """Times [n] in [t_min, t_max], where the generator lives."""
        ...


@dataclass(frozen=True)
class Uniform:
    """t is uniform (Song et al., 2021, arXiv:2011.13456, equation 7)."""

    def sample(self, sde: SDE, n: int, generator: torch.Generator) -> Tensor:
        return sde.t_min + (sde.t_max - sde.t_min) * spread(n, generator)


@dataclass(frozen=True)
class LogSNR:
    """ln(sigma_t/alpha_t) is uniform, so that the process's own pace does not matter.

    References:
        Kingma and Gao, 2023, Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation,
        arXiv:2303.00848, section 3.
    """

    def sample(self, sde: SDE, n: int, generator: torch.Generator) -> Tensor:
        low, high = log_noise_range(sde)
        return at_log_noise(sde, low + (high - low) * spread(n, generator))


@dataclass(frozen=True)
class LogNormal:
    """ln(sigma_t/alpha_t) is normal, cut off at the process's ends.

    References:
        Karras et al., 2022, arXiv:2206.00364, table 1 (P_mean and P_std), for images of standard deviation 0.5.

    Attributes:
        mean: of ln(sigma_t/alpha_t).
        std: its standard deviation.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def sample(self, sde: SDE, n: int, generator: torch.Generator) -> Tensor:
        return at_log_noise(sde, _truncated_normal(self, log_noise_range(sde), spread(n, generator)))


@dataclass(frozen=True)
class LogitNormal:
    """ln(t/(1 - t)) is normal, cut off at the process's ends: times in the middle. On ``flow`` the same as `LogNormal`.

    References:
        Esser et al., 2024, Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, arXiv:2403.03206,
        section 3.1.

    Attributes:
        mean: of ln(t/(1 - t)).
        std: its standard deviation.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _check_normal(self.mean, self.std)

    def sample(self, sde: SDE, n: int, generator: torch.Generator) -> Tensor:
        ends = (_logit(sde.t_min), _logit(sde.t_max))
        return _truncated_normal(self, ends, spread(n, generator)).sigmoid().float()


def spread(n: int, generator: torch.Generator) -> Tensor:
    """u [n] in [0, 1), each uniform, together one in each of n equal parts."""
    shift = torch.rand(1, generator=generator, device=generator.device)
    return (shift + torch.arange(n, device=generator.device) / n) % 1


def log_noise_range(sde: SDE) -> tuple[float, float]:
    """ln(sigma_t/alpha_t) at t_min and t_max."""
    (alpha_low, sigma_low), (alpha_high, sigma_high) = (marginal_at(sde, t) for t in (sde.t_min, sde.t_max))
    return math.log(sigma_low / alpha_low), math.log(sigma_high / alpha_high)


def at_log_noise(sde: SDE, y: Tensor) -> Tensor:
    """The times at which ln(sigma_t/alpha_t) is y [n]."""
    low, high = log_noise_range(sde)
    times = _table(sde, y.device)
    place = ((y.double() - low) * (TABLE_STEPS / (high - low))).clamp(0, TABLE_STEPS)
    i = place.long().clamp(max=TABLE_STEPS - 1)
    return torch.lerp(times[i], times[i + 1], place - i).float()


@functools.lru_cache(maxsize=16)
def _table(sde: SDE, device: torch.device) -> Tensor:
    """Times equally spaced in ln(sigma_t/alpha_t), from t_min to t_max."""
    return time_grid(sde, TABLE_STEPS, "log_snr").flip(0).to(device)


def _truncated_normal(law: LogNormal | LogitNormal, ends: tuple[float, float], u: Tensor) -> Tensor:
    """Quantiles at u of N(mean, std^2) within the ends.

    Raises:
        ValueError: next to nothing of the normal distribution is within them.
    """
    low, high = (0.5 * math.erfc((law.mean - end) / (law.std * math.sqrt(2))) for end in ends)
    if high - low < MIN_MASS:
        raise ValueError(
            f"diffusion.time_sampling: a normal distribution of mean {law.mean:g} and standard deviation {law.std:g} "
            f"has next to nothing between {ends[0]:.3g} and {ends[1]:.3g}, where the process begins and ends; choose a "
            "mean between them"
        )
    return (law.mean + law.std * torch.special.ndtri(low + (high - low) * u.double())).clamp(*ends)


def _logit(p: float) -> float:
    return math.log(p / (1 - p)) if p < 1 else math.inf


def _check_normal(mean: float, std: float) -> None:
    if not math.isfinite(mean):
        raise ValueError(f"mean must be finite, not {mean}")
    if not 0 < std < math.inf:
        raise ValueError(f"std must be positive, not {std}")
