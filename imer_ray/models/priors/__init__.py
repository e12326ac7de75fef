r"""Priors of missing latents in closed form: what each modality's latents are like, given any of the others.

With x_m a modality's latents, all frames in one vector, c_m their centre, V_m orthonormal directions and s_m^2 the
variance of what lies beyond them,

    x_m = c_m + V_m z_m + e_m,   e_m ~ N(0, s_m^2 (I - V_m V_m')),   p(z_m | z_o) = sum_k w_k(z_o) N(mu_k(z_o), C_k)

for every set o of other modalities, with mu_k linear in z_o and C_k the same for all z_o. Given x_t = alpha x_m +
sigma n, the mean of x_m follows (Bishop, Pattern Recognition and Machine Learning, 2006, equations 2.113-2.117):

    D_0 = E[x_m | x_t, x_o] = sum_k r_k E[x_m | x_t, k],   r_k ~ w_k N(x_t; alpha (c + V mu_k), S_k),
    S_k = alpha^2 (V C_k V' + s^2 (I - V V')) + sigma^2 I

Diffusion models learn a Gaussian's score first (Wang and Vastola, The Unreasonable Effectiveness of Gaussian Score
Approximation for Diffusion Models and its Applications, 2024, arXiv:2412.09726); a denoiser that begins with D_0 has
no need to.

Legend: B rows, M = 3 modalities (l, a, v), L frames, D latent features, P = L D, K components, R directions of a
modality, F = M R; S = 2^M sets of modalities, set o is number sum_{m in o} 2^m; law m S + o is p(z_m | z_o).
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from imer_ray.data.missing import MODALITIES, Available, same_of_all
from imer_ray.models.gaussian_mixture import Mixture
from imer_ray.models.priors.given import PriorGiven

NUM_SETS = 2 ** len(MODALITIES)
# ln w of a component that a fit does not use: its weight is 0, but it is finite, as all in a model's file has to be.
UNUSED = -1e30


class Clips(Protocol):
    """Clips to fit a prior to: latents x [N, M, L, D], frames [N, M, L] and recorded [N, M] (True = present)."""

    @property
    def x(self) -> Tensor: ...
    @property
    def frames(self) -> Tensor: ...
    @property
    def recorded(self) -> Tensor: ...


class PriorSettings(Protocol):
    """What `imer_ray/conf/diffusion/prior` offers."""

    def build(self, latent_dim: int, num_frames: int) -> Prior | None:
        """A prior that says N(0, I) of everything, of the shapes that a fitted one has; None for no prior."""
        ...

    def fit(self, prior: Prior, clips: Clips, generator: torch.Generator) -> dict[str, float]:
        """Fit the prior to training clips; return what was chosen, and ``log_likelihood`` (see
        `imer_ray.models.priors.held_out`)."""
        ...


class Prior(nn.Module):
    """p(x_m | x_o) of every modality m and every set o of others. It holds buffers alone; until it is fitted, every
    modality is N(0, I).

    A column of V_m that is not used is zero, and the variance there is s_m^2, as in all else beyond the directions.
    """

    centre: Tensor
    basis: Tensor
    rest_variance: Tensor
    log_weights: Tensor
    whitening: Tensor
    shift: Tensor
    offset: Tensor
    gain: Tensor
    values: Tensor
    vectors: Tensor

    def __init__(self, latent_dim: int, num_frames: int, rank: int, num_components: int) -> None:
        super().__init__()
        M, S, P, K = len(MODALITIES), NUM_SETS, num_frames * latent_dim, num_components
        R = min(rank, P)
        F = M * R
        log_weights = torch.full((S, K), UNUSED)
        log_weights[:, 0] = 0.0
        self.size, self.rank, self.num_components = P, R, K
        for name, table in {
            "centre": torch.zeros(M, P),
            "basis": torch.zeros(M, P, R),
            "rest_variance": torch.ones(M),
            # ln w_k p(z_o | k) = log_weights - |z whitening + shift|^2 / 2, z = (z_l, z_a, z_v) [F]
            "log_weights": log_weights,
            "whitening": torch.zeros(S, F, K * F),
            "shift": torch.zeros(S, K, F),
            # mu_k Q_k = offset + z gain and C_k = Q_k diag(values) Q_k', eigenvectors of all components side by side
            "offset": torch.zeros(M * S, K, R),
            "gain": torch.zeros(M * S, F, K * R),
            "values": torch.ones(M * S, K, R),
            "vectors": torch.eye(R).repeat(M * S, 1, K),
        }.items():
            self.register_buffer(name, table)

    def condition(
        self,
        target: int | Tensor,
        latents: Tensor,
        available: Available,
        frames: Tensor,
        dropped: Tensor | None = None,
    ) -> PriorGiven:
        """All that depends on neither x_t nor t, computed once per sampling run.

        Args:
            target: the modality that is missing, one for all rows or [B]; its own latents are never read.
            latents, available, frames: [B, M, L, D], [B, M], [B, M, L]; absent frames are not read. ``available`` is M
                booleans where all rows have the same.
            dropped: [B], True where a row sees no condition.
        """
        with torch.autocast(latents.device.type, enabled=False):
            if isinstance(target, int) and isinstance(available, tuple) and dropped is None:
                sources = [there and m != target for m, there in enumerate(available)]
                given: int | Tensor = sum(2**m for m, there in enumerate(sources) if there)
                read = torch.tensor(sources, device=latents.device)
            else:
                order = torch.arange(len(MODALITIES), device=latents.device)
                there = available if isinstance(available, Tensor) else same_of_all(available, latents)
                read = there & (order != (target[:, None] if isinstance(target, Tensor) else target))
                if dropped is not None:
                    read = read & ~dropped[:, None]
                given = (read * 2**order).sum(1)
            return self._given(target, given, latents, frames & read[..., None])

    def _given(self, target: int | Tensor, given: int | Tensor, latents: Tensor, read: Tensor) -> PriorGiven:
        """The law of the target given a set of modalities, one for all rows or [B], whose frames ``read`` [B, M, L] are
        those that are read."""
        law, shape = target * NUM_SETS + given, (self.num_components, -1)
        x = latents.to(self.basis.dtype).masked_fill(~read[..., None], 0.0).flatten(2) - self.centre
        z = torch.bmm(x.transpose(0, 1), self.basis).transpose(0, 1).flatten(1)  # what is not read meets zeros below
        log_weights = self.log_weights[given]
        if self.num_components > 1:
            white = chosen(z, self.whitening, given).unflatten(1, shape) + self.shift[given]
            log_weights = (log_weights - 0.5 * white.square().sum(2)).log_softmax(1)
        return PriorGiven(
            centre=self.centre[target],
            basis=self.basis[target],
            rest_variance=self.rest_variance[target, None],
            log_weights=log_weights,
            means=self.offset[law] + chosen(z, self.gain, law).unflatten(1, shape),
            values=self.values[law],
            vectors=self.vectors[law],
        )

    @torch.no_grad()
    def set_joint(self, mixture: Mixture, told: Tensor) -> None:
        """Take p(z_m | z_o) of every modality and set from a joint mixture of z [F], of which the numbers ``told`` [F]
        depend on each other and all else is independent."""
        M, R, K = len(MODALITIES), self.rank, len(mixture.weights)
        modality = torch.arange(M).repeat_interleave(R)
        for given in range(NUM_SETS):
            members = torch.tensor([bool(given & 2**m) for m in range(M)])
            known = mixture.given(members[modality] & told)
            o = known.present
            white, offset = known.whitening, known.offset
            self.log_weights[given] = UNUSED
            self.log_weights[given, :K] = (known.log_weights + known.log_scale).squeeze(1).log_softmax(0)
            self.whitening[given], self.shift[given] = 0.0, 0.0
            whitening = self.whitening[given].unflatten(1, (self.num_components, -1))
            whitening[o, :K, : len(o)] = white.permute(2, 0, 1).to(whitening.dtype)
            self.shift[given, :K, : len(o)] = known.shift.to(self.shift.dtype)
            for m in (~members).nonzero().flatten().tolist():
                u = (modality[known.missing] == m).nonzero().squeeze(1)
                gain = torch.zeros(K, R, M * R, dtype=known.gain.dtype)
                gain[:, :, o] = known.gain[:, u]
                self.set_law(m, given, offset[:, u], gain, known.covariances[:, u[:, None], u])

    @torch.no_grad()
    def set_law(self, target: int, given: int, offset: Tensor, gain: Tensor, covariances: Tensor) -> None:
        """Let z_m given the set of modalities ``given`` have means offset [K, R] + gain [K, R, F] z and ``covariances``
        [K, R, R]."""
        law, (K, R) = target * NUM_SETS + given, offset.shape
        values, vectors = torch.linalg.eigh(covariances)
        self.values[law, :K] = values
        self.offset[law, :K] = (offset[:, None] @ vectors).squeeze(1)
        self.vectors[law, :, : K * R] = vectors.transpose(0, 1).flatten(1)
        self.gain[law, :, : K * R] = (gain.mT @ vectors).transpose(0, 1).flatten(1)


def chosen(z: Tensor, tables: Tensor, which: int | Tensor) -> Tensor:
    """z [B, I] times one of ``tables`` [T, I, J], or times one of each row's own, [B].

    All products are made then, and the rows' own kept: to gather a table for each row takes longer.
    """
    if isinstance(which, int):
        return z @ tables[which]
    return (z @ tables)[which, torch.arange(z.shape[0], device=z.device)]
