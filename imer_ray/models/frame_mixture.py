"""A Gaussian mixture of latents and label that is told any frames of a clip, in closed form.

`imer_ray.models.mixture` has the law of z = (z_l, z_a, z_v) and y. Here z_m are coordinates of what modality m's frames
have in common beyond their noise, so that each frame l tells of them by itself:

    x_ml = c_ml + W_ml s_m + n_ml,   n_ml ~ N(0, N_m)
    z_m = (sum_l W_ml' N_m^-1 W_ml)^-1 sum_l W_ml' N_m^-1 (x_ml - c_ml)

z_m is what all frames say of s_m, and has their noise in it, of variances v_m: s has the covariances A_k = C_k -
diag(v) = B_k B_k'. With the frames o that are there, G = sum_o W_ml' N_m^-1 W_ml, p = sum_o W_ml' N_m^-1 (x_ml - c_ml)
and a_k the covariance of s and y, Woodbury's identity gives (Bishop, Pattern Recognition and Machine Learning, 2006,
equations 2.81, 2.82 and C.7)

    q_k = p - G mu_k,   U_k = G B_k,   S_k = I + B_k' U_k
    ln p(o | k) = (mu_k' (p + q_k) + q_k' B_k S_k^-1 B_k' q_k - ln |S_k|) / 2 + what is the same of all k
    E[y | o, k] = E[y | k] + a_k' (q_k - U_k S_k^-1 B_k' q_k)
    Var[y | o, k] = Var[y | k] - a_k' G a_k + a_k' U_k S_k^-1 U_k' a_k

which costs the solution of K systems of M R equations a clip, whatever frames are there. Where a modality has all its
frames the same follows as from z_m, and where it has none nothing.

All this is of latent frames. Where an encoder makes each of one frame of features alone (kernel 1, one length), a frame
that is missing is a latent frame that is missing; an encoder that mixes frames calls a latent frame there if any frame
under its kernel is, and what it makes of the others' zeros is then read as if nothing had been missing under it.

Legend: B clips, K components, M modalities, L frames, D latent features, P = L D, R coordinates of a modality, F = M R
of all.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from imer_ray.models.gaussian_mixture import Mixture, median
from imer_ray.models.mixture import Components, MixtureRecogniser

NUM_ROUNDS = 5  # of estimating the noise beside the coordinates, and these beside it
LEAST_SHARE = 1e-6  # of a modality's mean variance: noise that varies less is taken to vary so much


class FrameReading(nn.Module):
    """What single frames say of a clip's coordinates.

    ``evidence`` [M, P, R] is N^-1 W, ``information`` [M, L, R, R] W' N^-1 W of each frame, ``noise`` [M, R] what of a
    coordinate's variance is noise, ``padding`` [M, L] where some training clip had no frame. A column that is not used
    is zero.
    """

    evidence: Tensor
    information: Tensor
    noise: Tensor
    padding: Tensor

    def __init__(self, num_modalities: int, num_frames: int, size: int, rank: int) -> None:
        super().__init__()
        M, L, R = num_modalities, num_frames, rank
        self.register_buffer("evidence", torch.zeros(M, size, R))
        self.register_buffer("information", torch.zeros(M, L, R, R))
        self.register_buffer("noise", torch.zeros(M, R))
        self.register_buffer("padding", torch.zeros(M, L, dtype=torch.bool))

    def known(self, frames: Tensor) -> Tensor:
        """Which frames [B, M, L] are known: those that are there, and those known to be padding.

        A frame is padding where a training clip had none, if its modality has others and none of the clip's is so early
        or so late.
        """
        some = frames.any(1)
        inside = (some.cumsum(1) > 0) & (some.flip(1).cumsum(1).flip(1) > 0)
        return frames | (self.padding & ~inside[:, None] & frames.any(2, keepdim=True))

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """p [B, M R] and G [B, M, R, R] of centred latents x [B, M, P] whose ``known`` frames [B, M, L] are told."""
        told = x.unflatten(2, (known.shape[2], -1)).masked_fill(~known[..., None], 0.0).flatten(2)
        p = torch.einsum("bmp,mpr->bmr", told, self.evidence.to(x.dtype))
        G = torch.einsum("bml,mlrs->bmrs", known.to(x.dtype), self.information.to(x.dtype))
        return p.flatten(1), G


@torch.no_grad()
def fit_reading(
    components: Components, reading: FrameReading, latents: Tensor, recorded: Tensor, frames: Tensor
) -> None:
    """Fit components, and what single frames say of them, to training latents [N, M, L, D], of which ``recorded``
    [N, M] and ``frames`` [N, M, L] are there; absent frames are zero.

    The components are the principal ones where a frame's noise has variance 1 in every direction, and noise is what
    they leave of the frames: each follows from the other, by turns. A modality with fewer recorded clips or numbers
    than components keeps those it has; one never recorded has none.
    """
    L = frames.shape[2]
    for m in range(len(components.centre)):
        there = frames[recorded[:, m], m]
        x = (latents[recorded[:, m], m] * there[..., None]).double()
        reading.padding[m] = ~there.all(0)
        if len(x) < 2 or not bool(x.var(0).any()):
            continue
        centre = x.mean(0)
        white, colour = _directions((x - centre)[there])
        smallest = LEAST_SHARE * float((x - centre)[there].square().mean())
        n, width = len(x), L * white.shape[1]
        kept = min(components.basis.shape[2], n - 1, max(width - 1, 1))
        freedom = max((n - 1) * (1 - kept / width), 1.0) * float(there.double().sum(1).mean())
        for _ in range(NUM_ROUNDS):
            y = ((x - centre) @ white).flatten(1)
            V = torch.linalg.eigh(y.T @ y).eigenvectors[:, -kept:].flip(1)
            rest = ((y - y @ V @ V.T).unflatten(1, (L, -1)) @ colour)[there]
            white, colour = _whitening(rest.T @ rest / freedom, colour, smallest)
        y = ((x - centre) @ white).flatten(1)
        values, V = torch.linalg.eigh(y.T @ y / n)
        V, scale = V[:, -kept:].flip(1), values[-kept:].flip(0).clamp(min=LEAST_SHARE).sqrt()
        each = (V * scale).unflatten(0, (L, -1))  # W of whitened frames
        components.centre[m] = centre.flatten()
        components.basis[m, :, :kept] = (white @ each).flatten(0, 1) / scale.square()
        reading.evidence[m, :, :kept] = (white @ each).flatten(0, 1)
        reading.information[m, :, :kept, :kept] = each.mT @ each
        reading.noise[m, :kept] = scale.square().reciprocal()


def _directions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal columns [D, E] of the space in which rows x [n, D] vary, and what leads back [E, D]."""
    values, vectors = torch.linalg.eigh(x.T @ x)
    used = vectors[:, values > 1e-12 * values[-1]]  # less is single precision's rounding
    return used, used.T


def _whitening(noise: Tensor, directions: Tensor, smallest: float) -> tuple[Tensor, Tensor]:
    """N^-1/2 [D, E] in the space of the rows of ``directions`` [E, D], and N^1/2 [E, D], of noise of a covariance N
    [D, D], in no direction of a variance below the ``smallest``."""
    space = torch.linalg.qr(directions.T).Q
    values, vectors = torch.linalg.eigh(space.T @ noise @ space)
    vectors, deviation = space @ vectors, values.clamp(min=smallest).sqrt()
    return vectors / deviation, (vectors * deviation).T


class FrameMixture(nn.Module):
    """Predicts the median of the label's posterior given the frames that there are.

    Arguments:
        law: of coordinates and label.
        num_frames: L.
    """

    def __init__(self, law: MixtureRecogniser, num_frames: int) -> None:
        super().__init__()
        M, size, rank = law.components.basis.shape
        self.law = law
        self.reading = FrameReading(M, num_frames, size, rank)

    @staticmethod
    def like(tensors: Mapping[str, Tensor], prefix: str = "") -> FrameMixture:
        """An untrained one that holds weights of these shapes."""
        law = MixtureRecogniser.like(tensors, f"{prefix}law.")
        return FrameMixture(law, tensors[f"{prefix}reading.padding"].shape[1])

    def is_mixture(self) -> bool:
        """Whether the law is a mixture, and what frames say of it could be."""
        information = self.reading.information
        least = torch.linalg.eigvalsh(information).amin() if information.numel() else 0.0
        return self.law.is_mixture() and bool(
            (self.reading.noise >= 0).all()
            and torch.allclose(information, information.mT)
            and least >= -1e-5 * information.abs().amax()
        )

    def for_pattern(self, available: tuple[bool, ...]) -> PatternFrames:
        """The same where every clip has these modalities."""
        return PatternFrames(self)

    def label(self, latents: Tensor, available: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The label's posterior, standardised: weights, means and standard deviations, [B, K] each."""
        return PatternFrames(self).label(latents, frames & available[..., None])

    def forward(self, latents: Tensor, available: Tensor, frames: Tensor) -> Tensor:
        """Predictions [B] from latents [B, M, L, D], of which only the frames [B, M, L] of what is available [B, M] are
        read."""
        return PatternFrames(self)(latents, frames & available[..., None])


class PatternFrames(nn.Module):
    """`FrameMixture` as it predicts: all that does not depend on clips is worked out, in double precision, as
    differences of determinants are of little."""

    roots: Tensor
    across: Tensor
    means: Tensor
    log_weights: Tensor
    label_means: Tensor
    label_variances: Tensor

    def __init__(self, recogniser: FrameMixture) -> None:
        super().__init__()
        self.recogniser = recogniser
        law = Mixture(*(x.double() for x in vars(recogniser.law.mixture).values()))
        tensors = {
            "roots": _roots(law.covariances[:, :-1, :-1], recogniser.reading.noise.double()),
            "across": law.covariances[:, :-1, -1],
            "means": law.means[:, :-1],
            "log_weights": law.weights.log(),
            "label_means": law.means[:, -1],
            "label_variances": law.covariances[:, -1, -1],
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def label(self, latents: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The label's posterior, standardised: weights, means and standard deviations, [B, K] each; of latents [B, M,
        L, D] only the frames [B, M, L] are read."""
        reading, across, B = self.recogniser.reading, self.across[:, :, None], self.roots
        centred = latents.double().flatten(2) - self.recogniser.law.components.centre
        p, G = reading(centred, reading.known(frames))
        p, G = p[:, None, :, None], _block_diagonal(G)[:, None]
        q, U = p - G @ self.means[:, :, None], G @ B  # [B, K, F, 1], [B, K, F, F]
        told, asked = B.mT @ q, U.mT @ across
        solved, log_determinant = _solve(B.mT @ U, torch.cat([told, asked], 3))
        of_frames, of_label = solved.split(1, 3)
        read = (self.means[:, :, None] * (p + q)).sum((2, 3)) + (told * of_frames).sum((2, 3))
        means = self.label_means + (across * q).sum((2, 3)) - (asked * of_frames).sum((2, 3))
        variances = self.label_variances - (across * (G @ across)).sum((2, 3)) + (asked * of_label).sum((2, 3))
        weights = (self.log_weights + 0.5 * (read - log_determinant)).softmax(1)
        return weights, means, variances.clamp(min=1e-12).sqrt()

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        """Predictions [B] from latents [B, M, L, D] and frames [B, M, L]."""
        own = self.recogniser.law
        with torch.autocast(latents.device.type, enabled=False):
            weights, means, std = (x.to(own.means.dtype) for x in self.label(latents, frames))
            return median(weights, means, std[:, None]) * own.label_scale + own.label_centre


def _roots(covariances: Tensor, noise: Tensor) -> Tensor:
    """B [K, F, F] with B B' = C - diag(v), without what estimates make negative of it."""
    values, vectors = torch.linalg.eigh(covariances - torch.diag(noise.flatten()))
    return vectors * values.clamp(min=0)[:, None].sqrt()


def _solve(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """(I + matrix)^-1 right and ln |I + matrix| of positive semidefinite matrices [B, K, F, F], right [B, K, F, T]."""
    F = matrix.shape[2]
    matrix = matrix + torch.eye(F, dtype=matrix.dtype, device=matrix.device)
    if torch.compiler.is_exporting():
        return eliminated(matrix, right)
    factor = torch.linalg.cholesky(matrix)
    return torch.cholesky_solve(right, factor), 2 * factor.diagonal(dim1=2, dim2=3).log().sum(2)


def eliminated(matrix: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """matrix^-1 right and ln |matrix| by Gauss and Jordan, of operations that every graph has; positive definite
    matrices need no pivots."""
    F = matrix.shape[2]
    identity = torch.eye(F, dtype=matrix.dtype, device=matrix.device)
    rows, log_determinant = torch.cat([matrix, right], 3), torch.zeros_like(matrix[:, :, 0, 0])
    for i in range(F):
        pivot = rows[:, :, i, i]
        log_determinant = log_determinant + pivot.log()
        row = rows[:, :, i] / pivot[..., None]
        share = rows[:, :, :, i] - identity[i]  # of row i itself so much that 1 / pivot of it is left
        rows = rows - share[..., None] * row[:, :, None]
    return rows[..., F:], log_determinant


def _block_diagonal(blocks: Tensor) -> Tensor:
    """[B, M R, M R] of [B, M, R, R]."""
    M = blocks.shape[1]
    zero = torch.zeros_like(blocks[:, 0])
    return torch.cat([torch.cat([blocks[:, m] if m == n else zero for n in range(M)], 2) for m in range(M)], 1)
