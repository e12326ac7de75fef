"""A mixture of linear-Gaussian factor models over several modalities, and its exact posteriors.

    c ~ Categorical(weights),  z ~ N(0, I_q),  u_m ~ N(0, I_{r_m}),  e_m ~ N(0, noise_std^2 I_{P_m})
    x_m = A_{m,c} z + b_{m,c} + S_m u_m + e_m,      y = w_c . z + label_std * N(0, 1)

Given c, everything is jointly Gaussian and x has low rank plus white noise, so that for every set of available
modalities the posterior of the factors f = (z, u_1, ..., u_M) follows from matrices of the size of f (Woodbury's
identity; Bishop, Pattern Recognition and Machine Learning, 2006, equations 2.113-2.117 and C.7). All in float64.

Legend: N clips, K components, M modalities, P_m numbers of modality m (frames x features, flat), F factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FactorMixture:
    """The model's parameters.

    Attributes:
        weights: [K]. loadings: A, {m: [K, P_m, q]}. offsets: b, {m: [K, P_m]}. private: S, {m: [P_m, r_m]}.
        label_weights: w, [K, q]. noise_std, label_std: of each number and of the label.
    """

    weights: Tensor
    loadings: Mapping[str, Tensor]
    offsets: Mapping[str, Tensor]
    private: Mapping[str, Tensor]
    label_weights: Tensor
    noise_std: float
    label_std: float

    def sample(self, num_clips: int, generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
        """Draw x {m: [N, P_m]} and y [N]."""
        c = torch.multinomial(self.weights, num_clips, replacement=True, generator=generator)
        z = _normal(generator, num_clips, self.label_weights.shape[1])
        x = {}
        for m, loading in self.loadings.items():
            u = _normal(generator, num_clips, self.private[m].shape[1])
            # Component by component: gathering a loading per clip would take N P q numbers.
            mean = self.offsets[m][c]
            for k in range(len(self.weights)):
                mean[c == k] += z[c == k] @ loading[k].T
            x[m] = mean + u @ self.private[m].T + self.noise_std * _normal(generator, num_clips, loading.shape[1])
        y = (self.label_weights[c] * z).sum(1) + self.label_std * _normal(generator, num_clips)
        return x, y

    def posterior(self, x: Mapping[str, Tensor], observed: Mapping[str, Tensor] | None = None) -> Posterior:
        """Exact posterior given the modalities in x {m: [N, P_m]}; the prior if there is none (N = 1).

        Where ``observed`` {m: bool [N, P_m]} is given, only the numbers that are True are known: each clip has factors
        of a precision of its own, I + sum_p G_p' G_p / noise_std^2 over its known numbers p, with G_p = d x_p / d f.
        """
        num_components, num_shared = self.label_weights.shape
        order = list(self.loadings)
        sizes = [num_shared] + [self.private[m].shape[1] for m in order]
        starts = dict(zip(order, torch.tensor(sizes).cumsum(0).tolist(), strict=False))
        num_clips, num_factors = len(next(iter(x.values()))) if x else 1, sum(sizes)
        log_evidence = self.weights.log().expand(num_clips, -1).clone()
        means = torch.zeros(num_clips, num_components, num_factors, dtype=torch.float64)
        covariances = []
        for k in range(num_components):
            precision = torch.eye(num_factors, dtype=torch.float64)[None]  # [1 or N, F, F]
            projected = torch.zeros(num_clips, num_factors, dtype=torch.float64)
            square = torch.zeros(num_clips, dtype=torch.float64)
            for m, values in x.items():
                own = torch.zeros(values.shape[1], num_factors, dtype=torch.float64)  # d x_m / d f
                own[:, :num_shared] = self.loadings[m][k]
                own[:, starts[m] : starts[m] + self.private[m].shape[1]] = self.private[m]
                residual = values - self.offsets[m][k]
                if observed is None:
                    precision = precision + own.T @ own / self.noise_std**2
                else:
                    residual = residual.masked_fill(~observed[m], 0.0)
                    each = (own[:, :, None] * own[:, None]).flatten(1)
                    summed = (observed[m].double() @ each).unflatten(1, (num_factors, -1))
                    precision = precision + summed / self.noise_std**2
                projected += residual @ own / self.noise_std**2
                square += residual.square().sum(1) / self.noise_std**2
            factor = torch.linalg.cholesky(precision)
            of_each = projected.view(len(factor), -1, num_factors)
            means[:, k] = torch.cholesky_solve(of_each.mT, factor).mT.reshape(num_clips, -1)
            covariances.append(torch.cholesky_inverse(factor))
            # log N(x; b, G G' + s^2 I) without the terms that all components share.
            log_determinant = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
            log_evidence[:, k] -= 0.5 * (square - (projected * means[:, k]).sum(1) + log_determinant)
        found = torch.stack(covariances, 1)
        whole = found[0] if observed is None else found
        return Posterior(self, log_evidence.softmax(1), means, whole, starts, num_shared)


@dataclass(frozen=True)
class Posterior:
    """Mixture of Gaussians over the factors: responsibilities [N, K], means [N, K, F] and covariances [K, F, F], or
    [N, K, F, F] where what is known differs from clip to clip."""

    mixture: FactorMixture
    responsibilities: Tensor
    means: Tensor
    covariances: Tensor
    starts: Mapping[str, int]
    num_shared: int

    def label(self) -> tuple[Tensor, Tensor]:
        """Mean [N, K] and standard deviation, [K] or [N, K] as the covariances, of y in each component."""
        w = self.mixture.label_weights
        mean = torch.einsum("nkq,kq->nk", self.means[..., : self.num_shared], w)
        shared = self.covariances[..., : self.num_shared, : self.num_shared]
        return mean, (torch.einsum("kq,...kqr,kr->...k", w, shared, w) + self.mixture.label_std**2).sqrt()

    def label_cdf(self, value: Tensor | float) -> Tensor:
        """P(y <= value) [N]."""
        mean, std = self.label()
        value = torch.as_tensor(value, dtype=torch.float64).reshape(-1, 1)
        return (self.responsibilities * normal_cdf((value - mean) / std)).sum(1)

    def label_median(self, limit: float) -> Tensor:
        """Median [N] of y clipped to [-limit, limit], by bisection to float64's precision."""
        low = torch.full((len(self.means),), -limit, dtype=torch.float64)
        high = -low
        for _ in range(60):
            middle = (low + high) / 2
            below = self.label_cdf(middle) < 0.5
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def label_mean(self, limit: float) -> Tensor:
        """Mean [N] of y clipped to [-limit, limit]."""
        mean, std = self.label()
        upper, lower = (limit - mean) / std, (-limit - mean) / std
        inside = normal_cdf(upper) - normal_cdf(lower)
        clipped = limit * (1 - normal_cdf(upper)) - limit * normal_cdf(lower)
        clipped = clipped + mean * inside + std * (_normal_pdf(lower) - _normal_pdf(upper))
        return (self.responsibilities * clipped).sum(1)

    def expected(self, m: str) -> Tensor:
        """E[x_m | available] [N, P_m] of what is not available of a modality; its noise averages out, and so do its
        private factors where nothing of it is."""
        r, z = self.responsibilities, self.means[..., : self.num_shared]
        private = self.mixture.private[m]
        u = self.means[..., self.starts[m] : self.starts[m] + private.shape[1]]
        return (
            r @ self.mixture.offsets[m]
            + torch.einsum("nk,nkq,kpq->np", r, z, self.mixture.loadings[m])
            + torch.einsum("nk,nkr,pr->np", r, u, private)
        )

    def component_means(self, m: str) -> Tensor:
        """E[x_m | available, c] [N, K, P_m] of a modality not available."""
        z = self.means[..., : self.num_shared]
        return self.mixture.offsets[m] + torch.einsum("nkq,kpq->nkp", z, self.mixture.loadings[m])

    def frame_covariances(self, m: str, dim: int) -> Tensor:
        """Cov[x_m | available, c] [K, L, D, D] of each frame of ``dim`` = D numbers, of a modality not available."""
        loadings = self.mixture.loadings[m].unflatten(1, (-1, dim))
        own = self.mixture.private[m].unflatten(0, (-1, dim))
        shared = self.covariances[:, None, : self.num_shared, : self.num_shared]
        noise = self.mixture.noise_std**2 * torch.eye(dim, dtype=torch.float64)
        return loadings @ shared @ loadings.mT + own @ own.mT + noise


def normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-x / math.sqrt(2))


def _normal_pdf(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
