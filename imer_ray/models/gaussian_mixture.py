"""A mixture of Gaussians, and what a part of its numbers says of the others (Bishop, Pattern Recognition and Machine
Learning, 2006, equations 2.81, 2.82 and 9.13):

    r_k ~ w_k N(z_o; mu_ko, C_koo),   E[z_u | z_o, k] = mu_ku + C_kuo C_koo^-1 (z_o - mu_ko)

Legend: N clips, K components, F numbers of a clip, O of them present and U missing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_PARTS, NUM_ROUNDS = 16, 3  # of the search for a median


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

    @functools.cached_property
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

    def log_joint(self, x: Tensor) -> Tensor:
        """ln w_k p(x | k) [N, K] of the present numbers x [N, O], in one product of matrices.

        It takes the inverse of `factor`, and so double precision where a covariance is nearly singular.
        """
        white = torch.addmm(self.shift.flatten(), x, self.whitening.flatten(0, 1).T).unflatten(1, self.shift.shape)
        return (self.log_weights + self.log_scale).T - 0.5 * white.square().sum(2)

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
