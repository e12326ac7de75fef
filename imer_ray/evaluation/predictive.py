"""How good a predictive distribution of a label is: a mixture of Gaussians about the draws of a clip.

Recovering a clip S times gives S predictions ŷ_1 ... ŷ_S, whose spread is what the missing modalities leave open; what
the head leaves open, had it seen them, is noise of one scale sigma beside it:

    p(y) = 1/S sum_s N(y; ŷ_s, sigma^2)

Without draws (S = 1) this is a Gaussian about the prediction. Shapes: N clips, S draws. All in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST, LARGEST = 0.01, 6.0  # scales: of labels in [-3, 3], none known better than their steps, none worse than range


def predictive_metrics(labels: Tensor, draws: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Of each clip [N], from labels [N], draws [N, S] and scales sigma [N]; their means over clips are the metrics.

    - CRPS: see `crps`. Of a distribution that is one point it is the absolute error.
    - NLL: -ln p(y), in nats.
    - PICP_50, PICP_90: whether y lies in the central 50 or 90 % interval (the prediction interval's coverage
      probability, once it is averaged).
    """
    beyond = (probability_below(labels, draws, scale) - 0.5).abs()
    covered = {f"PICP_{level}": (beyond <= level / 200).double() for level in (50, 90)}
    return {"CRPS": crps(labels, draws, scale), "NLL": -log_density(labels, draws, scale), **covered}


def crps(labels: Tensor, draws: Tensor, scale: Tensor) -> Tensor:
    """Continuous ranked probability score [N], the integral of (F(x) - [x >= y])^2 over x, in closed form:

        1/S sum_s A(y - ŷ_s, sigma) - 1/(2 S^2) sum_st A(ŷ_s - ŷ_t, sqrt(2) sigma),
        A(m, s) = E|N(m, s^2)| = 2 s phi(m / s) + m (2 Phi(m / s) - 1)

    Grimit, Gneiting, Berrocal and Johnson, The continuous ranked probability score for circular variables and its
    application to mesoscale forecast ensemble verification, QJRMS 132 (2006), equation 5.
    """
    sigma = scale[:, None]
    between = torch.zeros_like(labels)
    for own in draws.T:  # one draw against all: not S times the numbers at once
        between += _mean_absolute(draws - own[:, None], math.sqrt(2) * sigma).mean(1) / draws.shape[1]
    return _mean_absolute(labels[:, None] - draws, sigma).mean(1) - between / 2


def log_density(labels: Tensor, draws: Tensor, scale: Tensor) -> Tensor:
    """ln p(y) [N]."""
    z = (labels[:, None] - draws) / scale[:, None]
    logs = -0.5 * z.square() - scale.log()[:, None] - 0.5 * math.log(2 * math.pi)
    return logs.logsumexp(1) - math.log(draws.shape[1])


def probability_below(labels: Tensor, draws: Tensor, scale: Tensor) -> Tensor:
    """P(y' <= y) [N] of y' from the distribution (the probability integral transform)."""
    return torch.special.ndtr((labels[:, None] - draws) / scale[:, None]).mean(1)


def likeliest_scale(labels: Tensor, draws: Tensor) -> float:
    """The sigma, the same for N >= 1 clips, that makes their labels likeliest; within what labels in [-3, 3] allow."""
    from scipy.optimize import minimize_scalar  # most processes that import this module never ask

    def loss(log_sigma: float) -> float:
        return -float(log_density(labels, draws, torch.full_like(labels, math.exp(log_sigma))).mean())

    found = minimize_scalar(loss, bounds=(math.log(SMALLEST), math.log(LARGEST)), method="bounded")
    return math.exp(found.x)


def _mean_absolute(mean: Tensor, std: Tensor) -> Tensor:
    z = mean / std
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return 2 * std * density + mean * (2 * torch.special.ndtr(z) - 1)
