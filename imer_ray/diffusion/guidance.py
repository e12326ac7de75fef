"""Classifier-free guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from imer_ray.diffusion.denoiser import Network


def guided(network: Network, weight: float) -> Network:
    r"""A network that leans towards its condition; it is asked for both estimates in one call of twice the rows.

    $$ D = D_{uncond} + w (D_{cond} - D_{uncond}) $$

    D is affine in the network's output with the same coefficients for both, so that this combines the outputs. w = 0
    ignores the condition, w = 1 is the conditional estimate itself, w > 1 overstates what the condition tells.

    References:
        Ho and Salimans, 2022, Classifier-Free Diffusion Guidance, arXiv:2207.12598, equation 6; theirs is w - 1.

    Arguments:
        network: takes x [2 B, L, D] and t [2 B], the last B of which see no condition.
        weight: w.

    Returns:
        A network of x [B, L, D] and t [B].
    """

    def both(x: Tensor, t: Tensor) -> Tensor:
        times = t if torch.compiler.is_exporting() else torch.cat([t, t])  # a graph's is one for all rows
        conditional, unconditional = network(torch.cat([x, x]), times).unflatten(0, (2, -1)).unbind(0)
        return unconditional + weight * (conditional - unconditional)

    return both


def evaluations_per_call(weight: float) -> int:
    """Network evaluations that one denoiser call costs each clip: two where it is guided."""
    return 1 if weight == 1 else 2
