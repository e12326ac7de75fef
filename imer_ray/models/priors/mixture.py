"""A prior that is a mixture of Gaussians over all modalities' principal components, fitted without labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from imer_ray.models.expectation_maximisation import FULL, ROUGH, Effort, InverseWishart, fit
from imer_ray.models.gaussian_mixture import Mixture
from imer_ray.models.priors import Clips, Prior
from imer_ray.models.priors.directions import Coordinates, fit_directions
from imer_ray.models.priors.held_out import Part, held_out


@dataclass(frozen=True)
class Size:
    """Leading principal components of each modality, Gaussians, and the clips that their covariances' prior counts
    for."""

    rank: int
    num_components: int
    strength: float


@dataclass(frozen=True)
class MixturePrior:
    """p(z_l, z_a, z_v) = sum_k w_k N(mu_k, C_k), by `imer_ray.models.expectation_maximisation.fit`, which learns from
    incomplete clips too.

    The mixture is one of each modality's leading principal components; those that are left, up to the largest rank, are
    independent Gaussians. Its size is the one of the largest held-out likelihood.

    Attributes:
        ranks: numbers of principal components to choose from.
        num_components: numbers of Gaussians to choose from.
        strengths: to choose from, as how many clips the prior of covariances counts, `InverseWishart.of_clips`.
    """

    ranks: tuple[int, ...] = (3, 6, 12)
    num_components: tuple[int, ...] = (1, 2, 4, 6)
    strengths: tuple[float, ...] = (10.0, 40.0, 160.0, 640.0)

    def __post_init__(self) -> None:
        for name in ("ranks", "num_components", "strengths"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ValueError(f"{name} must be positive numbers, not {list(values)}")

    def build(self, latent_dim: int, num_frames: int) -> Prior:
        return Prior(latent_dim, num_frames, max(self.ranks), max(self.num_components))

    def fit(self, prior: Prior, clips: Clips, generator: torch.Generator) -> dict[str, float]:
        """Fit the prior; return the size chosen and its held-out log-likelihood.

        The rank and the number of Gaussians are chosen together, with the strength in the middle; then the strength.
        """
        middle = sorted(self.strengths)[(len(self.strengths) - 1) // 2]
        sizes = [Size(rank, count, middle) for rank in self.ranks for count in self.num_components]
        best, score = self._best(sizes, clips, generator)
        sizes = [Size(best.rank, best.num_components, strength) for strength in self.strengths if strength != middle]
        if sizes:
            other, other_score = self._best(sizes, clips, generator)
            best, score = (other, other_score) if other_score > score else (best, score)
        fit_mixture(prior, fit_directions(prior, clips, prior.rank), best, generator)
        return {
            "rank": float(best.rank),
            "components": float(best.num_components),
            "strength": best.strength,
            "log_likelihood": score,
        }

    def _best(self, sizes: list[Size], clips: Clips, generator: torch.Generator) -> tuple[Size, float]:
        """The size of the largest held-out likelihood, and that."""

        def fitted(part: Part, left: Sequence[Size]) -> Iterator[Prior]:
            prior = self.build(clips.x.shape[3], clips.x.shape[2])
            coordinates = fit_directions(prior, part, prior.rank)
            for size in left:
                fit_mixture(prior, coordinates, size, generator, ROUGH)
                yield prior

        return held_out(clips, sizes, fitted)


def fit_mixture(
    prior: Prior,
    coordinates: Coordinates,
    size: Size,
    generator: torch.Generator,
    effort: Effort = FULL,
) -> None:
    """Take the laws of a prior, whose directions are fitted, from a mixture of one size."""
    (z, scale, known), R = coordinates, prior.rank
    told = ((scale > 0) & (torch.arange(R) < size.rank)).flatten()
    if not told.any():
        return
    numbers, present = z.flatten(1)[:, told], known.repeat_interleave(R, 1)[:, told]
    some, F, K = present.any(1), int(told.sum()), size.num_components
    wishart = InverseWishart.of_clips(size.strength, F, K)
    found = fit(numbers[some], present[some], K, generator, wishart, effort)
    deviation = torch.where(scale > 0, scale, prior.rest_variance.double().sqrt()[:, None]).flatten()
    means = torch.zeros(K, len(told), dtype=z.dtype)
    means[:, told] = found.means
    covariances = torch.eye(len(told), dtype=z.dtype).repeat(K, 1, 1)
    covariances[:, told[:, None] & told] = found.covariances.flatten(1)
    prior.set_joint(Mixture(found.weights, means * deviation, deviation[:, None] * covariances * deviation), told)
