"""Laws of latents in which every posterior is known by dense linear algebra."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.distributions import MultivariateNormal

from imer_ray.models.gaussian_mixture import Mixture
from imer_ray.models.priors import Prior

M, L, D, R = 3, 2, 3, 2
P = L * D


@dataclass(frozen=True)
class World:
    """A mixture of all latents x [M P] as dense matrices, and the prior that says the same."""

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor
    prior: Prior

    def conditional(self, target, latents, available):
        """p(x_m | x_o): weights [B, K], means [B, K, P], covariances [K, P, P]."""
        u = torch.arange(target * P, (target + 1) * P)
        o = torch.tensor(
            [i for m in range(M) if available[m] and m != target for i in range(m * P, (m + 1) * P)]
        ).long()
        x, log_joint, means, covariances = latents.flatten(1)[:, o], [], [], []
        for w, mean, c in zip(self.weights, self.means, self.covariances, strict=True):
            gain = c[u[:, None], o] @ torch.linalg.inv(c[o[:, None], o])
            means.append(mean[u] + (x - mean[o]) @ gain.T)
            covariances.append(c[u[:, None], u] - gain @ c[o[:, None], u])
            evidence = MultivariateNormal(mean[o], c[o[:, None], o]).log_prob(x) if len(o) else x.new_zeros(len(x))
            log_joint.append(w.log() + evidence)
        return torch.stack(log_joint, 1).softmax(1), torch.stack(means, 1), torch.stack(covariances)


def posterior_mean(x_t, alpha, sigma, weights, means, covariances):
    """E[x_0 | x_t] of x_t [B, P] = alpha x_0 + sigma n, the sum over components taken literally."""
    identity, log_joint, estimates = torch.eye(P, dtype=x_t.dtype), [], []
    for k, c in enumerate(covariances):
        s = alpha**2 * c + sigma**2 * identity
        residual = x_t - alpha * means[:, k]
        log_joint.append(weights[:, k].log() + MultivariateNormal(torch.zeros(P).double(), s).log_prob(residual))
        estimates.append(means[:, k] + alpha * residual @ torch.linalg.solve(s, c))
    r = torch.stack(log_joint, 1).softmax(1)
    return torch.einsum("bk,bkp->bp", r, torch.stack(estimates, 1))


def make_world(seed, num_components=3, spare=1):
    """Random; the prior has room for ``spare`` components and directions that are not used."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    prior = Prior(D, L, R + spare, num_components + spare).double()
    bases = [torch.linalg.qr(normal(P, R)).Q for _ in range(M)]
    rest = 0.1 + torch.rand(M, generator=g, dtype=torch.float64)
    prior.centre.copy_(normal(M, P))
    prior.basis[:, :, :R] = torch.stack(bases)
    prior.rest_variance.copy_(rest)
    F, width = M * R, R + spare
    weights = (0.2 + torch.rand(num_components, generator=g, dtype=torch.float64)).log().softmax(0)
    means, roots = 1.5 * normal(num_components, F), normal(num_components, F, F)
    covariances = roots @ roots.mT / F + 0.2 * torch.eye(F, dtype=torch.float64)

    told = (torch.arange(M * width) % width < R).nonzero().squeeze(1)
    wide_means = torch.zeros(num_components, M * width, dtype=torch.float64)
    wide_means[:, told] = means
    wide = torch.diag(rest.repeat_interleave(width)).repeat(num_components, 1, 1)
    wide[:, told[:, None], told] = covariances
    used = torch.zeros(M * width, dtype=torch.bool)
    used[told] = True
    prior.set_joint(Mixture(weights, wide_means, wide), used)

    V = torch.block_diag(*bases)
    noise = torch.block_diag(*(s * (torch.eye(P) - b @ b.T) for s, b in zip(rest, bases, strict=True)))
    return World(weights, prior.centre.flatten() + means @ V.T, V @ covariances @ V.T + noise, prior)
