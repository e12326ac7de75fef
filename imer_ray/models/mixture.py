"""A Gaussian mixture over every modality's principal components and the label: recovery and recognition in closed form.

    z = (z_l, z_a, z_v, y) ~ sum_k w_k N(mu_k, C_k),   z_m = S_m^-1 V_m' (x_m - mean_m)

with x_m a clip's latents, all frames in one vector. Given any part o of z, the rest is a mixture again (Bishop, Pattern
Recognition and Machine Learning, 2006, equations 2.81, 2.82 and 9.13):

    r_k ~ w_k N(z_o; mu_ko, C_koo),   E[z_u | z_o, k] = mu_ku + C_kuo C_koo^-1 (z_o - mu_ko)

so that what is missing is recovered, and the label read from all its recoveries at once, without a draw.

Legend: N clips, K components, M modalities, R principal components of a modality, F = M R + 1 numbers of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

NUM_BISECTIONS = 24  # of the label's median: to a millionth of the bracket


@dataclass(frozen=True, eq=False)
class Mixture:
    """weights [K], means [K, F] and covariances [K, F, F]."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def condition(self, z: Tensor, present: Tensor) -> Conditional:
        """What the numbers of z [N, F] that are ``present`` [F] say of the others."""
        o, u = present.nonzero().squeeze(1), (~present).nonzero().squeeze(1)
        residual = z[None, :, o] - self.means[:, None, o]
        factor = torch.linalg.cholesky(self.covariances[:, o[:, None], o])
        across = self.covariances[:, u[:, None], o]
        gain = torch.cholesky_solve(across.mT, factor).mT
        white = torch.linalg.solve_triangular(factor, residual.mT, upper=False)
        half_log_determinant = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        log_density = -0.5 * white.square().sum(1) - half_log_determinant[:, None] - len(o) / 2 * math.log(2 * math.pi)
        return Conditional(
            log_joint=(self.weights.log()[:, None] + log_density).T,
            missing=u,
            means=(self.means[:, None, u] + residual @ gain.mT).transpose(0, 1),
            covariances=self.covariances[:, u[:, None], u] - gain @ across.mT,
        )


@dataclass(frozen=True, eq=False)
class Conditional:
    """ln w_k p(z_o | k) [N, K]; indices of the missing numbers [U], their means [N, K, U] and covariances [K, U, U]."""

    log_joint: Tensor
    missing: Tensor
    means: Tensor
    covariances: Tensor

    def label(self) -> tuple[Tensor, Tensor, Tensor]:
        """The label's mixture: weights [N, K], means [N, K], standard deviations [K]; it is the last missing number."""
        return self.log_joint.softmax(1), self.means[..., -1], self.covariances[:, -1, -1].sqrt()


def median(weights: Tensor, means: Tensor, std: Tensor) -> Tensor:
    """Median [N] of a mixture of Gaussians by bisection: it minimises the absolute error and decides the sign."""
    low, high = (means - 8 * std).amin(1), (means + 8 * std).amax(1)
    for _ in range(NUM_BISECTIONS):
        middle = (low + high) / 2
        below = (weights * torch.special.ndtr((middle[:, None] - means) / std)).sum(1) < 0.5
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def patterns(present: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each row that occurs in present [N, F], and the clips that have it."""
    found, which = present.unique(dim=0, return_inverse=True)
    for i, pattern in enumerate(found):
        yield pattern, (which == i).nonzero().squeeze(1)


class Components(nn.Module):
    """Principal components, of unit variance, of every modality's latents: centre [M, L D] and basis [M, L D, R]."""

    centre: Tensor
    basis: Tensor

    def __init__(self, num_modalities: int, size: int, rank: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(num_modalities, size))
        self.register_buffer("basis", torch.zeros(num_modalities, size, rank))

    @torch.no_grad()
    def fit(self, latents: Tensor, recorded: Tensor, frames: Tensor) -> Components:
        """From training latents [N, M, L, D], what was recorded [N, M] and frames [N, M, L]; absent frames are zero.

        A modality with fewer recorded clips than components keeps those it has; one never recorded has none.
        """
        rank = self.basis.shape[2]
        for m in range(len(self.centre)):
            x = (latents[:, m] * frames[:, m, :, None])[recorded[:, m]].flatten(1).double()
            kept = min(rank, len(x) - 1)
            if kept < 1:
                continue
            centre = x.mean(0)
            _, s, v = torch.linalg.svd(x - centre, full_matrices=False)
            scale = (s[:kept] / math.sqrt(len(x))).clamp(min=1e-6 * s[0].item() + 1e-12)
            self.centre[m] = centre
            self.basis[m, :, :kept] = v[:kept].T / scale
        return self

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        """z [N, M, R] of latents [N, M, L, D]."""
        x = (latents * frames[..., None]).flatten(2)
        return ((x - self.centre).transpose(0, 1) @ self.basis).transpose(0, 1)


class MixtureRecogniser(nn.Module):
    """Predicts the median of the label's posterior given the modalities that are available.

    Trained by expectation maximisation, which needs no complete clips (Ghahramani and Jordan, Supervised learning from
    incomplete data via an EM approach, NIPS 1993); see `imer_ray.training.mixture`.
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    label_centre: Tensor
    label_scale: Tensor

    def __init__(self, components: Components, num_components: int) -> None:
        super().__init__()
        num_modalities, _, rank = components.basis.shape
        size = num_modalities * rank + 1
        self.components, self.rank = components, rank
        self.register_buffer("weights", torch.full((num_components,), 1 / num_components))
        self.register_buffer("means", torch.zeros(num_components, size))
        self.register_buffer("covariances", torch.eye(size).repeat(num_components, 1, 1))
        self.register_buffer("label_centre", torch.zeros(()))
        self.register_buffer("label_scale", torch.ones(()))

    @staticmethod
    def like(tensors: Mapping[str, Tensor], prefix: str = "") -> MixtureRecogniser:
        """An untrained one that holds weights of these shapes."""
        components = Components(*tensors[f"{prefix}components.basis"].shape)
        return MixtureRecogniser(components, len(tensors[f"{prefix}weights"]))

    @property
    def mixture(self) -> Mixture:
        return Mixture(self.weights, self.means, self.covariances)

    def observed(self, latents: Tensor, available: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """z [N, F] with an unknown label, and which of its numbers are there."""
        z = self.components(latents, frames).flatten(1)
        present = (available & frames.any(2)).repeat_interleave(self.rank, 1)
        present = present & (self.components.basis != 0).any(1).flatten()
        return nn.functional.pad(z, (0, 1)), nn.functional.pad(present, (0, 1))

    def forward(self, latents: Tensor, available: Tensor, frames: Tensor) -> Tensor:
        """Predictions [N] from latents [N, M, L, D], of which only the available [N, M] are read."""
        z, present = self.observed(latents, available, frames)
        out = z.new_zeros(len(z))
        for pattern, rows in patterns(present):
            out[rows] = median(*self.mixture.condition(z[rows], pattern).label())
        return out * self.label_scale + self.label_centre
