"""A Gaussian prior whose mean is a ridge regression on the available modalities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.models.imputers.ridge import MIN_CLIPS, Ridge, left_out, ridge
from imer_ray.models.priors import NUM_SETS, Clips, Prior
from imer_ray.models.priors.directions import fit_directions
from imer_ray.models.priors.held_out import cross_validated

NUM_FOLDS = 5


@dataclass(frozen=True)
class GaussianPrior:
    """p(x_m | x_o) = N(B z_o + b, C) for each modality m and set o of others, in principal components.

    B, b are `imer_ray.models.imputers.ridge.ridge`'s, of the strength with the least leave-one-out error; C is the
    covariance of the residuals left out, see `ledoit_wolf`. What no two clips recorded together is independent.

    Attributes:
        rank: principal components of a modality.
    """

    rank: int = 32
    strengths: tuple[float, ...] = Ridge.strengths

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, not {self.rank}")
        Ridge(self.strengths)

    def build(self, latent_dim: int, num_frames: int) -> Prior:
        return Prior(latent_dim, num_frames, self.rank, 1)

    def fit(self, prior: Prior, clips: Clips, generator: torch.Generator) -> dict[str, float]:
        """Fit the prior; return its rank and its `log_likelihood` in cross-validation."""

        def fitted(part: Clips) -> list[Prior]:
            again = Prior(clips.x.shape[3], clips.x.shape[2], self.rank, 1).to(prior.basis.dtype)
            self._fit(again, part)
            return [again]

        (score,) = cross_validated(clips, NUM_FOLDS, generator, fitted).tolist()
        self._fit(prior, clips)
        return {"rank": float(prior.rank), "log_likelihood": score}

    def _fit(self, prior: Prior, clips: Clips) -> None:
        z, scale, known = fit_directions(prior, clips)
        M, R = scale.shape
        coordinates = z * scale
        for m in known.any(0).nonzero().flatten().tolist():
            used = scale[m] > 0
            for given in range(NUM_SETS):
                if given & 2**m:
                    continue
                sources = [other for other in range(M) if given & 2**other and bool(known[:, other].any())]
                rows = known[:, [*sources, m]].all(1)
                if int(rows.sum()) < MIN_CLIPS:
                    sources, rows = [], known[:, m]
                x, y = coordinates[rows][:, sources].flatten(1), coordinates[rows, m]
                offset, gain, residual = y.mean(0), torch.zeros(R, M, R, dtype=y.dtype), y - y.mean(0)
                if sources:
                    weight, offset, strength = ridge(x, y, self.strengths)
                    gain[:, sources] = weight.unflatten(1, (len(sources), R))
                    residual = left_out(x, y, strength)
                covariance = torch.eye(R, dtype=y.dtype) * prior.rest_variance[m].double()
                shrunk = ledoit_wolf(residual[:, used] / scale[m, used])
                covariance[used[:, None] & used] = (scale[m, used, None] * shrunk * scale[m, used]).flatten()
                prior.set_law(m, given, offset[None], gain.flatten(1)[None], covariance[None])


def ledoit_wolf(x: Tensor) -> Tensor:
    """The covariance [T, T] of x [n, T], whose mean is 0, between the sample's S and tr(S) / T I:

        (1 - b/d) S + b/d tr(S)/T I,   d = |S - tr(S)/T I|^2,   b = min(d, sum_i |x_i x_i' - S|^2 / n^2)

    Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal of Multivariate
    Analysis 88 (2004), section 3.3.
    """
    n, size = x.shape
    sample = x.T @ x / n
    target = sample.trace() / size * torch.eye(size, dtype=x.dtype)
    distance = (sample - target).square().sum()
    error = (x.square().sum(1).square().sum() / n - sample.square().sum()) / n
    share = (error.minimum(distance) / distance).nan_to_num(0.0)
    return (1 - share) * sample + share * target
