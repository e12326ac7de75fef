"""A Gaussian mixture over every modality's principal components and the label: recovery and recognition in closed form.

    z = (z_l, z_a, z_v, y) ~ sum_k w_k N(mu_k, C_k),   z_m = S_m^-1 V_m' (x_m - mean_m)

with x_m a clip's latents, all frames in one vector. Given any part of z, the rest is a mixture again
(`imer_ray.models.gaussian_mixture`), so that what is missing is recovered, and the label read from all its recoveries
at once, without a draw.

Legend: N clips, K components, M modalities, R principal components of a modality, F = M R + 1 numbers of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.models.gaussian_mixture import Given, Mixture, median


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
        return ((x - self.centre).transpose(0, 1) @ self.basis.to(x.dtype)).transpose(0, 1)


class MixtureRecogniser(nn.Module):
    """Predicts the median of the label's posterior given the modalities that are available.

    Trained by `imer_ray.models.expectation_maximisation`, which needs no complete clips.
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
        self._ready: tuple[Any, Any, dict[tuple[bool, ...], Given]] | None = None

    @staticmethod
    def like(tensors: Mapping[str, Tensor], prefix: str = "") -> MixtureRecogniser:
        """An untrained one that holds weights of these shapes."""
        components = Components(*tensors[f"{prefix}components.basis"].shape)
        return MixtureRecogniser(components, len(tensors[f"{prefix}weights"]))

    def is_mixture(self) -> bool:
        """Whether the weights are probabilities and every covariance is positive definite."""
        _, failed = torch.linalg.cholesky_ex(self.covariances)
        return bool(
            (self.weights >= 0).all() and (self.weights.sum() > 0) and (self.label_scale > 0).all() and not failed.any()
        )

    @property
    def mixture(self) -> Mixture:
        return Mixture(self.weights, self.means, self.covariances)

    def observed(self, latents: Tensor, available: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """z [N, F] with an unknown label, and which of its numbers are there."""
        z = self.components(latents, frames).flatten(1)
        return nn.functional.pad(z, (0, 1)), self._numbers(available & frames.any(2))

    def _numbers(self, present: Tensor) -> Tensor:
        """Which of a clip's numbers [N, F] are there with the modalities that are [N, M]; the label is not."""
        there = present.repeat_interleave(self.rank, 1) & (self.components.basis != 0).any(1).flatten()
        return nn.functional.pad(there, (0, 1))

    def _given(self, present: tuple[bool, ...]) -> Given:
        """The mixture given these modalities, worked out once for as long as the parameters stay as they are."""
        tensors = (self.weights, self.means, self.covariances, self.components.basis)
        state = tuple((id(tensor), tensor._version) for tensor in tensors)
        if self._ready is None or self._ready[0] != state:
            self._ready = state, tensors, {}  # holds the tensors, so that no other can have their ids
        known = self._ready[2]
        if present not in known:
            numbers = self._numbers(torch.tensor([present], device=self.means.device))[0]
            known[present] = self.mixture.given(numbers)
        return known[present]

    def for_pattern(self, available: tuple[bool, ...]) -> PatternMixture:
        """The same where every clip has these modalities."""
        return PatternMixture(self, available)

    def forward(self, latents: Tensor, available: Tensor, frames: Tensor) -> Tensor:
        """Predictions [N] from latents [N, M, L, D], of which only the available [N, M] are read.

        In the parameters' precision: a half-precision determinant says little.
        """
        with torch.autocast(latents.device.type, enabled=False):
            z = nn.functional.pad(self.components(latents.to(self.means.dtype), frames).flatten(1), (0, 1))
            present = available & frames.any(2)
            kinds = [tuple(row) for row in present.tolist()]
            if len(set(kinds)) == 1:
                out = median(*self._given(kinds[0])(z).label())
            else:
                out = z.new_zeros(len(z))
                for kind in sorted(set(kinds)):
                    rows = torch.tensor([i for i, other in enumerate(kinds) if other == kind], device=z.device)
                    out[rows] = median(*self._given(kind)(z[rows]).label())
            return out * self.label_scale + self.label_centre


class PatternMixture(nn.Module):
    """`MixtureRecogniser` where every clip has the same modalities available.

    All that a clip's numbers are multiplied with is worked out beforehand, the solution of the triangular system too
    (white = L^-1 residual). In double precision up to the label's mixture: an inverse doubles the digits that are lost
    where a covariance is nearly singular.
    """

    present: Tensor
    present_means: Tensor
    whitening: Tensor
    gain: Tensor
    log_weights: Tensor
    label_means: Tensor
    label_std: Tensor

    def __init__(self, recogniser: MixtureRecogniser, available: tuple[bool, ...]) -> None:
        super().__init__()
        self.recogniser = recogniser
        there = recogniser._numbers(torch.tensor([available], device=recogniser.means.device))[0]
        known = Mixture(*(x.double() for x in vars(recogniser.mixture).values())).given(there)
        tensors = {
            "present": known.present,
            "present_means": known.present_means,
            "whitening": known.whitening.mT.contiguous(),
            "gain": known.gain[:, -1, :, None],  # of the label, which is the last missing number
            "log_weights": (known.log_weights + known.log_scale)[..., None],
            "label_means": known.missing_means[:, :, -1:],
            "label_std": known.covariances[:, -1, -1].sqrt().to(recogniser.means.dtype),
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        """Predictions [N] from latents [N, M, L, D] and frames [N, M, L]."""
        own = self.recogniser
        with torch.autocast(latents.device.type, enabled=False):
            z = own.components(latents.double(), frames).flatten(1)
            residual = z.index_select(1, self.present)[None] - self.present_means
            log_joint = self.log_weights - 0.5 * (residual @ self.whitening).square().sum(2, keepdim=True)
            weights, means = (
                x.squeeze(2).T.to(own.means.dtype)
                for x in (log_joint.softmax(0), self.label_means + residual @ self.gain)
            )
            return median(weights, means, self.label_std) * own.label_scale + own.label_centre
