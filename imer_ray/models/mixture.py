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
from typing import Any

import torch
from torch import Tensor, nn

NUM_PARTS, NUM_ROUNDS = 16, 3  # of the search for the label's median


@dataclass(frozen=True, eq=False)
class Mixture:
    """weights [K], means [K, F] and covariances [K, F, F]."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def given(self, present: Tensor) -> Given:
        """What is known in advance when the numbers ``present`` [F] will be there."""
        o, u = present.nonzero().squeeze(1), (~present).nonzero().squeeze(1)
        factor = torch.linalg.cholesky(self.covariances[:, o[:, None], o])
        across = self.covariances[:, u[:, None], o]
        gain = torch.cholesky_solve(across.mT, factor).mT
        half_log_determinant = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        return Given(
            present=o,
            missing=u,
            present_means=self.means[:, None, o],
            missing_means=self.means[:, None, u],
            factor=factor,
            gain=gain,
            log_weights=self.weights.log()[:, None],
            log_scale=-half_log_determinant[:, None] - len(o) / 2 * math.log(2 * math.pi),
            covariances=self.covariances[:, u[:, None], u] - gain @ across.mT,
        )

    def condition(self, z: Tensor, present: Tensor) -> Conditional:
        """What the numbers of z [N, F] that are ``present`` [F] say of the others."""
        return self.given(present)(z)


def inverse_of(factor: Tensor) -> Tensor:
    """The inverse [..., F, F] of lower triangular matrices."""
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)


@dataclass(frozen=True, eq=False)
class Given:
    """A mixture made ready to be conditioned on O numbers of a clip, for any clips."""

    present: Tensor  # [O]
    missing: Tensor  # [U]
    present_means: Tensor  # [K, 1, O]
    missing_means: Tensor  # [K, 1, U]
    factor: Tensor  # [K, O, O], Cholesky's, of the present numbers' covariance
    gain: Tensor  # [K, U, O], C_kuo C_koo^-1
    log_weights: Tensor  # [K, 1]
    log_scale: Tensor  # [K, 1], of the present numbers' density
    covariances: Tensor  # [K, U, U]

    @property
    def whitening(self) -> Tensor:
        """[K, O, O]: what makes residuals of the present numbers uncorrelated, of variance 1."""
        return inverse_of(self.factor)

    @property
    def shift(self) -> Tensor:
        """[K, O]: what whitening makes of the present numbers where all are zero."""
        return -(self.present_means @ self.whitening.mT).squeeze(1)

    @property
    def offset(self) -> Tensor:
        """[K, U]: the missing numbers' means where the present ones are zero."""
        return (self.missing_means - self.present_means @ self.gain.mT).squeeze(1)

    def __call__(self, z: Tensor) -> Conditional:
        """What z [N, F] says of the missing numbers."""
        residual = z[None, :, self.present] - self.present_means
        white = torch.linalg.solve_triangular(self.factor, residual.mT, upper=False)
        log_density = -0.5 * white.square().sum(1) + self.log_scale
        return Conditional(
            log_joint=(self.log_weights + log_density).T,
            missing=self.missing,
            means=(self.missing_means + residual @ self.gain.mT).transpose(0, 1),
            covariances=self.covariances,
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
    """Median [N] of a mixture of Gaussians: it minimises the absolute error and decides the sign.

    It lies between the smallest and the largest mean. That bracket is cut into `NUM_PARTS`, and the part with the
    median again, `NUM_ROUNDS` times, which takes a tenth of bisection's operations; within the last part, a
    `NUM_PARTS`^`NUM_ROUNDS`th of the bracket, the distribution function is taken for a line.
    """
    low, high = means.amin(1), means.amax(1)
    cuts = torch.linspace(0, 1, NUM_PARTS + 1, device=means.device, dtype=means.dtype)
    means, weights = means[:, None], weights[..., None]
    for _ in range(NUM_ROUNDS):
        at = torch.lerp(low[:, None], high[:, None], cuts)
        below = (torch.special.ndtr((at[..., None] - means) / std) @ weights).squeeze(2)  # never falls from cut to cut
        part = (below[:, 1:-1] < 0.5).sum(1, keepdim=True)
        ends = torch.cat([part, part + 1], 1)
        low, high = at.gather(1, ends).unbind(1)
    low_below, high_below = below.gather(1, ends).unbind(1)
    share = (0.5 - low_below) / (high_below - low_below).clamp(min=torch.finfo(means.dtype).tiny)
    return torch.lerp(low, high, share.clamp(0, 1))


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
