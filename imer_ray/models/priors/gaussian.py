"""A Gaussian prior whose mean is a ridge regression on the available modalities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.models.imputers.ridge import MIN_CLIPS, Ridge, ridge
from imer_ray.models.priors import NUM_SETS, Clips, Prior
from imer_ray.models.priors.directions import fit_directions
from imer_ray.models.priors.held_out import Part, groups, held_out


@dataclass(frozen=True)
class GaussianPrior:
    """p(x_m | x_o) = N(B z_o + b, C) for each modality m and set o of others, in principal components.

    B, b are those of `imer_ray.models.imputers.ridge`, with the strength that has the least error on groups of clips
    left out; C is the covariance of the residuals left out (see `left_out`, `ledoit_wolf`). What fewer than two clips
    recorded together is independent.

    Attributes:
        ranks: numbers of principal components of a modality; the one of the largest held-out likelihood is taken.
        strengths: of the ridge, to choose from.
    """

    ranks: tuple[int, ...] = (4, 8, 16, 32)
    strengths: tuple[float, ...] = Ridge.strengths

    def __post_init__(self) -> None:
        if not self.ranks or min(self.ranks) < 1:
            raise ValueError(f"ranks must be positive numbers, not {list(self.ranks)}")
        Ridge(self.strengths)

    def build(self, latent_dim: int, num_frames: int) -> Prior:
        return Prior(latent_dim, num_frames, max(self.ranks), 1)

    def fit(self, prior: Prior, clips: Clips, generator: torch.Generator) -> dict[str, float]:
        """Fit the prior; return the rank chosen and its held-out log-likelihood."""

        def fitted(part: Part, ranks: Sequence[int]) -> Iterator[Prior]:
            for rank in ranks:
                again = self.build(clips.x.shape[3], clips.x.shape[2])
                self._fit(again, part, rank)
                yield again

        rank, score = held_out(clips, self.ranks, fitted)
        self._fit(prior, clips, rank)
        return {"rank": float(rank), "log_likelihood": score}

    def _fit(self, prior: Prior, clips: Clips, rank: int) -> None:
        z, scale, known = fit_directions(prior, clips, rank)
        coordinates, group, (M, R) = z * scale, groups(len(z)), scale.shape
        for m in known.any(0).nonzero().flatten().tolist():
            for given in (number for number in range(NUM_SETS) if not number & 2**m):
                sources = [o for o in range(M) if given & 2**o and bool(known[:, o].any())]
                rows = known[:, [*sources, m]].all(1)
                if int(rows.sum()) < MIN_CLIPS:
                    sources, rows = [], known[:, m]
                x, y = coordinates[rows][:, sources].flatten(1), coordinates[rows, m]
                weight, offset, residual = self._regression(x, y, group[rows])
                gain = torch.zeros(R, M, R, dtype=y.dtype)
                gain[:, sources] = weight.unflatten(1, (len(sources), R))
                covariance = residual_covariance(residual, scale[m], float(prior.rest_variance[m]))
                prior.set_law(m, given, offset[None], gain.flatten(1)[None], covariance[None])

    def _regression(self, x: Tensor, y: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weight [T, P], bias [T] and the residuals left out [n, T] of y [n, T] on x [n, P]; its mean where P = 0."""
        if x.shape[1] == 0:
            return y.new_zeros(y.shape[1], 0), y.mean(0), y - y.mean(0)
        residuals = left_out(x, y, torch.tensor(self.strengths, dtype=x.dtype), group)
        best = int(residuals.square().mean((1, 2)).argmin())
        weight, bias, _ = ridge(x, y, self.strengths[best : best + 1])
        return weight, bias, residuals[best]


def residual_covariance(residual: Tensor, scale: Tensor, rest_variance: float) -> Tensor:
    """[R, R] of residuals [n, R], shrunk where each direction has variance 1 before it is regressed; ``rest_variance``
    in the directions not used, whose scale [R] is 0."""
    used = scale > 0
    covariance = torch.eye(len(scale), dtype=scale.dtype) * rest_variance
    shrunk = ledoit_wolf(residual[:, used] / scale[used])
    covariance[used[:, None] & used] = (scale[used, None] * shrunk * scale[used]).flatten()
    return covariance


def left_out(x: Tensor, y: Tensor, strengths: Tensor, group: Tensor) -> Tensor:
    """Residuals [S, n, T] of y [n, T] by ridge regressions on x [n, P], each row's from all other groups of rows.

    With the residuals e = y - H y of the regression on all rows, those of group g left out are (I - H_gg)^-1 e_g, where
    H = 1/n + U f U', f = s^2 / (s^2 + strength), and U diag(s) V' is the centred x (Allen, Technometrics 16, 1974,
    where a group is one row).
    """
    u, s, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    centred, f = y - y.mean(0), s.square() / (s.square() + strengths[:, None])
    residual = centred - u @ (f[..., None] * (u.T @ centred))
    for g in group.unique():
        rows = (group == g).nonzero().squeeze(1)
        hat = u[rows] * f[:, None] @ u[rows].T + 1 / len(x)
        residual[:, rows] = torch.linalg.solve(torch.eye(len(rows), dtype=x.dtype) - hat, residual[:, rows])
    return residual


def ledoit_wolf(x: Tensor) -> Tensor:
    """The covariance [T, T] of x [n, T], whose mean is 0, between the sample's S and tr(S)/T I:

        (1 - b/d) S + b/d tr(S)/T I,   d = |S - tr(S)/T I|^2,   b = min(d, sum_i |x_i x_i' - S|^2 / n^2)

    Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal of Multivariate
    Analysis 88 (2004), equation 14.
    """
    n, size = x.shape
    sample = x.T @ x / n
    target = sample.trace() / size * torch.eye(size, dtype=x.dtype)
    distance = (sample - target).square().sum()
    error = (x.square().sum(1).square().sum() / n - sample.square().sum()) / n
    share = (error.minimum(distance) / distance).nan_to_num(0.0)
    return (1 - share) * sample + share * target
