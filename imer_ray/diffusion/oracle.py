"""A Gaussian mixture, for which everything that diffusion learns or samples is known in closed form."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.denoiser import Network, expand_time, input_scale
from imer_ray.diffusion.noise import standard_normal
from imer_ray.diffusion.parametrization import from_x0
from imer_ray.diffusion.sde import SDE


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    r"""p(x_0) = sum_k w_k N(mu_k, S_k), every frame drawn on its own.

    Then p(x_t) = sum_k w_k N(alpha_t mu_k, C_k) with C_k = alpha_t^2 S_k + sigma_t^2 I, and with r_k = p(k | x_t)
    $$ E[x_0 | x_t] = \sum_k r_k \left( \mu_k + \alpha_t S_k C_k^{-1} (x_t - \alpha_t \mu_k) \right), \quad
       \nabla \log p(x_t) = -\sum_k r_k C_k^{-1} (x_t - \alpha_t \mu_k) $$

    alpha_t and sigma_t are numbers or [B, 1, 1].

    Attributes:
        weights: w, [K], summing to 1.
        means: mu, [K, D].
        covariances: S, [K, D, D].
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def __post_init__(self) -> None:
        if abs(float(self.weights.sum()) - 1) > 1e-5 or bool((self.weights <= 0).any()):
            raise ValueError(f"weights must be positive and sum to 1, not {self.weights.tolist()}")

    def mean(self) -> Tensor:
        """E[x_0], [D]."""
        return self.weights @ self.means

    def covariance(self) -> Tensor:
        """Cov[x_0], [D, D]."""
        centred = self.means - self.mean()
        return torch.einsum("k,kij->ij", self.weights, self.covariances + centred[:, :, None] * centred[:, None])

    def sample(self, num_clips: int, num_frames: int, generator: torch.Generator) -> Tensor:
        """x_0 [B, L, D]."""
        size = (num_clips, num_frames)
        k = torch.multinomial(self.weights, num_clips * num_frames, replacement=True, generator=generator).view(size)
        z = standard_normal((*size, self.means.shape[1]), generator, self.means.device, self.means.dtype)
        return self.means[k] + torch.einsum("blij,blj->bli", torch.linalg.cholesky(self.covariances)[k], z)

    def log_prob(self, x_t: Tensor, alpha_t: Tensor | float = 1.0, sigma_t: Tensor | float = 0.0) -> Tensor:
        """ln p(x_t) of every frame, [B, L]; of the data themselves by default."""
        return self._components(x_t, alpha_t, sigma_t)[0].logsumexp(-1)

    def denoise(self, x_t: Tensor, alpha_t: Tensor | float, sigma_t: Tensor | float) -> Tensor:
        """E[x_0 | x_t], [B, L, D]."""
        log_joint, y, variance, values, vectors = self._components(x_t, alpha_t, sigma_t)
        gain = _per_component(alpha_t) * values / variance
        per_component = self.means + torch.einsum("kij,blkj->blki", vectors, gain * y)
        return torch.einsum("blk,blki->bli", log_joint.softmax(-1), per_component)

    def score(self, x_t: Tensor, alpha_t: Tensor | float, sigma_t: Tensor | float) -> Tensor:
        """grad ln p(x_t), [B, L, D]."""
        log_joint, y, variance, _, vectors = self._components(x_t, alpha_t, sigma_t)
        return -torch.einsum("blk,kij,blkj->bli", log_joint.softmax(-1), vectors, y / variance)

    def network(self, sde: SDE, parametrization: str, scale_input: bool = True, sigma_data: float = 1.0) -> Network:
        """The network that a perfect training would end in, for `Denoiser` and `denoising_loss`."""

        def network(x: Tensor, t: Tensor) -> Tensor:
            alpha_t, sigma_t, _ = expand_time(sde, x, t)
            x_t = x / input_scale(alpha_t, sigma_t, sigma_data) if scale_input else x
            return from_x0(parametrization, self.denoise(x_t, alpha_t, sigma_t), x_t, alpha_t, sigma_t, sigma_data)

        return network

    @functools.cached_property
    def _bases(self) -> tuple[Tensor, Tensor]:
        """The eigenvalues [K, D] and eigenvectors [K, D, D] of S: they serve all alpha_t and sigma_t."""
        values, vectors = torch.linalg.eigh(self.covariances)
        return values, vectors

    def _components(
        self, x_t: Tensor, alpha_t: Tensor | float, sigma_t: Tensor | float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """ln w_k p(x_t | k) [B, L, K], x_t - alpha_t mu_k and C_k's diagonal in S_k's eigenbasis, and that basis."""
        values, vectors = self._bases
        alpha_t, sigma_t = _per_component(alpha_t), _per_component(sigma_t)
        y = torch.einsum("kji,blkj->blki", vectors, x_t[:, :, None] - alpha_t * self.means)
        variance = alpha_t**2 * values + sigma_t**2
        log_density = -0.5 * (y.square() / variance + (2 * torch.pi * variance).log()).sum(-1)
        return self.weights.log() + log_density, y, variance, values, vectors


def _per_component(value: Tensor | float) -> Tensor | float:
    return value[..., None] if isinstance(value, Tensor) else value
