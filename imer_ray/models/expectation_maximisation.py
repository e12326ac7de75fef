"""Gaussian mixtures by expectation maximisation, from clips that need not be complete.

Ghahramani and Jordan, Supervised learning from incomplete data via an EM approach, NIPS 1993.
Legend: N clips, K components, F numbers of a clip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.models.gaussian_mixture import Mixture, inverse_of, patterns

NUM_ITERATIONS = 80


@dataclass(frozen=True)
class Effort:
    """EM finds a local optimum: the best of ``num_starts`` is kept, each climbed until a step gains less than
    ``tolerance`` of a clip's log-posterior."""

    num_starts: int = 4
    tolerance: float = 1e-4


FULL = Effort()
ROUGH = Effort(num_starts=1, tolerance=1e-3)  # tells sizes of mixtures apart


@dataclass(frozen=True)
class InverseWishart:
    """p(C) ~ |C|^(-n/2) exp(-tr(scale C^-1) / 2) of every covariance: its mode joins ``num_clips`` n clips, whose
    scatter is ``scale`` I, to those of a component.

    Of Wishart's degrees of freedom nu there are n - F - 1.
    """

    num_clips: float
    scale: float

    @classmethod
    def weak(cls, size: int, num_components: int) -> InverseWishart:
        """F + 2 degrees of freedom, and a scale that gives every component its share K^(-2/F) of the whole variance, 1.

        Fraley and Raftery, Bayesian Regularization for Normal Mixture Estimation and Model-Based Clustering, Journal of
        Classification 24 (2007), section 3.2.
        """
        return cls(2 * size + 3, share(size, num_components))

    @classmethod
    def of_clips(cls, num_clips: float, size: int, num_components: int) -> InverseWishart:
        """As much as ``num_clips`` clips say, of independent numbers with a component's share of the variance."""
        return cls(num_clips, num_clips * share(size, num_components))

    def log_density(self, covariances: Tensor) -> Tensor:
        """ln p(C) [K] of covariances [K, F, F], up to a constant."""
        factor = torch.linalg.cholesky(covariances)
        log_determinant = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        trace = inverse_of(factor).square().sum((1, 2))  # of the covariance's inverse
        return -0.5 * (self.num_clips * log_determinant + self.scale * trace)

    def mode(self, scatter: Tensor, weight: Tensor) -> Tensor:
        """Covariances [K, F, F] given the scatter [K, F, F] of clips that weigh [K]."""
        identity = torch.eye(scatter.shape[1], dtype=scatter.dtype)
        covariances = (self.scale * identity + scatter) / (self.num_clips + weight)[:, None, None]
        return (covariances + covariances.mT) / 2


def share(size: int, num_components: int) -> float:
    """K^(-2/F): a component's variance where K of them fill the volume of one of variance 1."""
    return float(num_components ** (-2 / size))


def fit(
    z: Tensor,
    present: Tensor,
    num_components: int,
    generator: torch.Generator,
    prior: InverseWishart | None = None,
    effort: Effort = FULL,
) -> Mixture:
    """The best of several mixtures of z [N, F], of which ``present`` [N, F] was seen, by posterior mode.

    Args:
        z: of mean about 0 and variance about 1; what is not present is not read.
        prior: of the covariances; `InverseWishart.weak` where there is none.
        effort: how many starts, and how far each is climbed.
    """
    prior = InverseWishart.weak(z.shape[1], num_components) if prior is None else prior
    starts = (start(z, present, num_components, generator) for _ in range(effort.num_starts))
    return max((climb(z, present, begin, prior, effort.tolerance) for begin in starts), key=lambda found: found[0])[1]


def start(z: Tensor, present: Tensor, num_components: int, generator: torch.Generator) -> Mixture:
    """Centres far from each other (Arthur and Vassilvitskii, k-means++, SODA 2007), covariances of a component's
    share."""
    filled = z * present
    size = z.shape[1]
    centres = filled[torch.randint(len(z), (1,), generator=generator)]
    while len(centres) < num_components:
        distance = torch.cdist(filled, centres).amin(1).square() + 1e-12
        centres = torch.cat([centres, filled[torch.multinomial(distance, 1, generator=generator)]])
    covariance = torch.eye(size, dtype=z.dtype) * share(size, num_components)
    return Mixture(
        torch.full((num_components,), 1 / num_components, dtype=z.dtype),
        centres,
        covariance.repeat(num_components, 1, 1),
    )


def climb(
    z: Tensor, present: Tensor, mixture: Mixture, prior: InverseWishart, tolerance: float
) -> tuple[float, Mixture]:
    """EM until a step gains less than ``tolerance`` of a clip's log-posterior; that and the mixture.

    Clips that lack the same numbers are read at once: of each component how much they weigh, w, and the sums of their
    numbers x_o and of x_o x_o'. What they lack is A x_o + b, and so the sums of all numbers follow.
    """
    groups = [(pattern, z[rows][:, pattern]) for pattern, rows in patterns(present)]
    count, size = mixture.means.shape
    before = -math.inf
    for _ in range(NUM_ITERATIONS):
        log_likelihood = torch.zeros((), dtype=z.dtype)
        weight = torch.zeros(count, dtype=z.dtype)
        first = torch.zeros(count, size, dtype=z.dtype)
        second = torch.zeros(count, size, size, dtype=z.dtype)
        for pattern, rows in groups:
            known = mixture.given(pattern)
            o, u, A, b = known.present, known.missing, known.gain, known.offset
            log_joint = known.log_joint(rows)
            log_likelihood += log_joint.logsumexp(1).sum()
            r = log_joint.softmax(1)
            w, total = r.sum(0), r.T @ rows
            squares = ((r[:, :, None] * rows[:, None]).flatten(1).T @ rows).unflatten(0, (count, -1))
            lacked = (A @ total[:, :, None]).squeeze(2) + w[:, None] * b
            across = A @ squares + b[:, :, None] * total[:, None]
            weight += w
            first[:, o] += total
            first[:, u] += lacked
            second[:, o[:, None], o] += squares
            second[:, u[:, None], o] += across
            second[:, o[:, None], u] += across.mT
            second[:, u[:, None], u] += across @ A.mT + lacked[:, :, None] * b[:, None]
            second[:, u[:, None], u] += w[:, None, None] * known.covariances
        posterior = float((log_likelihood + prior.log_density(mixture.covariances).sum()) / len(z))
        means = first / weight.clamp(min=1e-8)[:, None]
        scatter = second - weight[:, None, None] * means[:, :, None] * means[:, None]
        mixture = Mixture((weight + 1) / (weight + 1).sum(), means, prior.mode(scatter, weight))
        if posterior - before < tolerance:
            break
        before = posterior
    return posterior, mixture
