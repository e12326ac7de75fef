"""What a forward process offers, and its marginals at one time as plain numbers.

A process diffuses data x_0 over t in [0, 1] by dx = f(t) x dt + g(t) dw, so that
p(x_t | x_0) = N(alpha_t x_0, sigma_t^2 I) (Song et al., 2021, arXiv:2011.13456, section 3.4 and appendix B).
"""

from __future__ import annotations

import functools
from typing import Protocol

import torch
from torch import Tensor


class SDE(Protocol):
    """A forward process; times are tensors of any shape, and so is what comes back. It must be hashable."""

    @property
    def t_min(self) -> float:
        """Where training and sampling end: below it noise is too small to matter."""
        ...

    @property
    def t_max(self) -> float:
        """Where sampling starts."""
        ...

    @property
    def prior_std(self) -> float:
        """Standard deviation of x at ``t_max``, from which sampling starts."""
        ...

    def __hash__(self) -> int: ...

    def marginal_prob(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha_t and sigma_t of p(x_t | x_0)."""
        ...

    def drift_coefficient(self, t: Tensor) -> Tensor:
        """f(t) of the drift f(t) x."""
        ...

    def diffusion(self, t: Tensor) -> Tensor:
        """g(t)."""
        ...


@functools.lru_cache(maxsize=4096)
def marginal_at(sde: SDE, t: float) -> tuple[float, float]:
    """alpha_t and sigma_t in double precision, remembered: a sampler meets the same few times again and again."""
    alpha_t, sigma_t = sde.marginal_prob(torch.tensor(t, dtype=torch.float64))
    return alpha_t.item(), sigma_t.item()


def check_t_min(t_min: float) -> None:
    """Refuse an end of the process outside (0, 1)."""
    if not 0 < t_min < 1:
        raise ValueError(f"t_min must be between 0 and 1, not {t_min}")
