"""Langevin dynamics, which corrects a sample at a noise level without changing the level."""

from __future__ import annotations

from torch import Tensor


def langevin_move(score: Tensor, z: Tensor, snr: float | Tensor) -> Tensor:
    r"""What a Langevin step adds to x [B, L, D], from the score there and noise z ~ N(0, I), both [B, L, D].

    $$ \epsilon\, s + \sqrt{2 \epsilon} z, \quad
       \epsilon = 2 \left( r \frac{\lVert z \rVert}{\lVert s \rVert} \right)^2 $$

    r sets the ratio of the step's drift to its noise. Norms are a clip's own, over its n = L D numbers. As the step
    depends on the z and on the s that it multiplies, dynamics that went on for ever would draw a variance that is too
    large by a share of about 4/n.

    References:
        Song et al., 2021, arXiv:2011.13456, algorithms 4 and 5; their code averages the norms over the batch.
    """
    root = snr * _norm(z) / _norm(score)  # sqrt(epsilon / 2)
    return 2 * root**2 * score + 2 * root * z


def _norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)[:, None, None]
