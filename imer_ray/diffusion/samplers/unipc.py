"""UniPC: a multistep predictor whose next evaluation corrects it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class UniPC:
    r"""Steps t -> s of the probability-flow ODE, predicted with p estimates of x_0 and corrected with p + 1.

    With h = lambda_s - lambda_t, lambda = ln(alpha/sigma), and D_k at r_k = (lambda_k - lambda_t)/h, k = 1 ... p - 1
    before t and r_p = 1 at s:
    $$ \hat x_s = \frac{\sigma_s}{\sigma_t} x_t + \alpha_s (1 - e^{-h}) D_t
                  - \alpha_s B \sum_{k < p} \frac{\rho_k}{r_k} (D_k - D_t) $$
    and x_s the same with the sum, and other rho, up to k = p, where D_p = D(\hat x_s, s). That estimate serves the next
    step as well, so a step takes one evaluation. rho solves sum_k rho_k r_k^(n-1) = n! phi_(n+1)/B for n = 1, 2, ...,
    phi_(n+1) = phi_n/(-h) - 1/n!, phi_1 = (e^-h - 1)/(-h); one rho alone is 1/2. B is -h or e^-h - 1. The first steps
    have lower p; the last lands on D. Order p + 1 with steps equal in lambda (``log_snr``), as far as the start allows.

    References:
        Zhao et al., 2023, UniPC, arXiv:2302.04867, algorithms 5 to 8 (data prediction), section 3.

    Attributes:
        order: p, 1 to 3.
        variant: ``bh1`` for B = -h, ``bh2`` for B = e^-h - 1.
    """

    order: int = 2
    variant: str = "bh2"
    spacing: str = "angle"

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 3):
            raise ValueError(f"order must be 1, 2 or 3, not {self.order}")
        if self.variant not in ("bh1", "bh2"):
            raise ValueError(f"variant must be bh1 or bh2, not {self.variant}")
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        way = walk(sde, num_steps, self.spacing)
        x, D = x_T, denoiser(x_T, way.first.t)
        before: list[Tensor] = []
        for (_, s), weights in zip(way.steps, _weights(self, sde, num_steps), strict=True):
            held = weights.x * x + weights.D * D
            differences = [D_k - D for D_k in before[: self.order - 1]]
            D_s = denoiser(_plus(held, weights.predictor, differences), s.t)
            x = _plus(held, weights.corrector, [*differences, D_s - D])
            before, D = [D, *before], D_s
        return D

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps


class _Weights(NamedTuple):
    """A step's factors of x_t and D_t, and of the differences D_k - D_t in prediction and correction."""

    x: float
    D: float
    predictor: list[float]
    corrector: list[float]


def _plus(x: Tensor, weights: Sequence[float], terms: Sequence[Tensor]) -> Tensor:
    return sum((weight * term for weight, term in zip(weights, terms, strict=True)), start=x)


@functools.lru_cache(maxsize=256)
def _weights(sampler: UniPC, sde: SDE, num_steps: int) -> list[_Weights]:
    steps = walk(sde, num_steps, sampler.spacing).steps
    weights = []
    for i, (t, s) in enumerate(steps):
        h = s.half_log_snr - t.half_log_snr
        before = [node for node, _ in steps[max(i + 1 - sampler.order, 0) : i]][::-1]
        r = np.array([(node.half_log_snr - t.half_log_snr) / h for node in before] + [1.0])
        B = -h if sampler.variant == "bh1" else math.expm1(-h)
        predictor, corrector = (-s.alpha * B * _rho(h, B, r_k) / r_k for r_k in (r[:-1], r))
        weights.append(_Weights(s.sigma / t.sigma, -s.alpha * math.expm1(-h), predictor.tolist(), corrector.tolist()))
    return weights


def _rho(h: float, B: float, r: np.ndarray) -> np.ndarray:
    """rho for the differences at r, [len(r)]."""
    if len(r) < 2:
        return np.full(len(r), 0.5)
    phi, right = -math.expm1(-h) / h - 1, []
    for n in range(1, len(r) + 1):
        right.append(math.factorial(n) * phi / B)
        phi = -phi / h - 1 / math.factorial(n + 1)
    return np.linalg.solve([r ** (n - 1) for n in range(1, len(r) + 1)], right)
