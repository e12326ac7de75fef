"""What a prior says of one modality's latents, once the condition is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PriorGiven:
    """p(x_m | x_o) of B rows (see `imer_ray.models.priors`); what is the same of all of them has no first dimension.

    Attributes:
        centre, basis, rest_variance: c [B, P], V [B, P, R], s^2 [B, 1].
        log_weights: ln w_k, [B, K].
        means, values: Q_k' mu_k and the eigenvalues of C_k, [B, K, R].
        vectors: the eigenvectors (Q_1 ... Q_K), [B, R, K R].
    """

    centre: Tensor
    basis: Tensor
    rest_variance: Tensor
    log_weights: Tensor
    means: Tensor
    values: Tensor
    vectors: Tensor

    def mean(self, x_t: Tensor, alpha_t: Tensor | float, sigma_t: Tensor | float) -> Tensor:
        """D_0 [B, L, D], the posterior mean of x_m given x_t [B, L, D]; alpha_t and sigma_t are numbers or [B, 1, 1].

        In the prior's precision and x_t's type. With z = V'(x_t - alpha c) and g = alpha s^2 / (alpha^2 s^2 + sigma^2),

            D_0 = c + g (x_t - alpha c) + V (E[z_m | x_t] - g z)
        """
        # `transpose`, as a graph's loop takes an attribute .mT for a tensor of its own.
        with torch.autocast(x_t.device.type, enabled=False):
            centred, z, y, variance, rest = self._parts(x_t, alpha_t, sigma_t)
            estimates = self.means + alpha_t * self.values / variance * y
            if y.shape[1] > 1:
                log_joint = self.log_weights - 0.5 * (y.square() / variance + variance.log()).sum(2)
                estimates = log_joint.softmax(1)[..., None] * estimates
            z_m = times(estimates.flatten(1), self.vectors.transpose(-1, -2))
            g = flat(alpha_t) * self.rest_variance / rest
            x_0 = self.centre + g * centred + times(z_m - g * z, self.basis.transpose(-1, -2))
            return x_0.view_as(x_t).to(x_t.dtype)

    def log_prob(self, x_t: Tensor, alpha_t: Tensor | float = 1.0, sigma_t: Tensor | float = 0.0) -> Tensor:
        """ln p(x_t | x_o) [B] of x_t [B, L, D]; of the latents themselves by default."""
        centred, z, y, variance, rest = self._parts(x_t, alpha_t, sigma_t)
        log_joint = self.log_weights - 0.5 * (y.square() / variance + variance.log()).sum(2)
        P, R = self.basis.shape[-2:]
        outside = (centred.square().sum(1) - z.square().sum(1)) / rest[..., 0] + (P - R) * rest[..., 0].log()
        return log_joint.logsumexp(1) - 0.5 * (outside + P * math.log(2 * math.pi))

    def _parts(
        self, x_t: Tensor, alpha_t: Tensor | float, sigma_t: Tensor | float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x_t - alpha c [B, P] and its coordinates z [B, R]; Q_k' (z - alpha mu_k) and its variances [B, K, R]; the
        variance beyond the directions [B, 1]."""
        centred = x_t.to(self.basis.dtype).flatten(1) - flat(alpha_t) * self.centre
        z = times(centred, self.basis)
        y = times(z, self.vectors).unflatten(1, self.means.shape[-2:]) - alpha_t * self.means
        variance = alpha_t**2 * self.values + sigma_t**2
        rest = flat(alpha_t) ** 2 * self.rest_variance + flat(sigma_t) ** 2
        return centred, z, y, variance, rest


def times(x: Tensor, matrix: Tensor) -> Tensor:
    """x [B, I] times one matrix [I, J], or a matrix of each row [B, I, J]."""
    return x @ matrix if matrix.dim() == 2 else torch.bmm(x[:, None], matrix).squeeze(1)


def flat(value: Tensor | float) -> Tensor | float:
    """[B, 1] of [B, 1, 1]."""
    return value[..., 0] if isinstance(value, Tensor) else value
