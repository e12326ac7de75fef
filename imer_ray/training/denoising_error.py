r"""How well a network denoises, in a unit that all processes, parametrizations and weightings share.

$$ \frac{1}{|R|} \sum_{r \in R} E \, \operatorname{mean}_{l, d} \left( D(x_t, t) - x_0 \right)^2, \qquad
   \sigma_t / \alpha_t = r $$

x_t / alpha_t = x_0 + r eps, so that at a noise level r every process shows its network the same observation, and the
best possible error is the same, the minimum mean squared error of x_0 given that observation and the condition (Guo,
Shamai and Verdu, 2005, arXiv:cs/0412108; Kingma et al., 2021, arXiv:2107.00630, on the invariance to the schedule). The
training losses are averages over other times with other weights and have no common unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from imer_ray.config import build
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.distillation import masked_error
from imer_ray.diffusion.time_grid import nodes_at
from imer_ray.models.recovery import condition
from imer_ray.training.latents import Latents

NOISE_LEVELS = (4.0, 1.0, 0.25)  # R: equal steps of the log-SNR, and within the range of every process
ROWS = 1024  # at once


@torch.no_grad()
def denoising_error(
    network: Any,
    config: Mapping[str, Any],
    latents: Latents,
    rows: Tensor,
    target: int | Tensor,
    available: Tensor,
    generator: torch.Generator,
) -> float:
    """The mean over clips ``rows`` [N] of ``latents`` and over the noise levels.

    Args:
        network: recovers the modality ``target``, one for all, or [N] for a shared network.
        available: the condition, [N, M].
        generator: of the noise. Equal seeds give equal noise whatever the process, so that configurations differ by
            their networks alone.
    """
    diffusion, total = config["diffusion"], 0.0
    sde = build(diffusion["sde"])
    targets = target if isinstance(target, Tensor) else torch.full((len(rows),), target, device=rows.device)
    for node in nodes_at(sde, NOISE_LEVELS):
        for some in torch.arange(len(rows), device=rows.device).split(ROWS):
            of, m = rows[some], targets[some]
            x_0, present = latents.x[of, m], latents.frames[of, m]
            seen = (latents.x[of], available[some], latents.frames[of])
            cache = condition(network, *seen, m if isinstance(target, Tensor) else target)

            def ask(x: Tensor, t: Tensor, cache: Any = cache) -> Tensor:
                return network(x, t, cache)

            settings = (diffusion["parametrization"], network.scale_input, diffusion["sigma_data"])
            denoiser = Denoiser(ask, sde, *settings)
            eps = torch.randn(x_0.shape, generator=generator, device=x_0.device)
            total += float(masked_error(denoiser(node.alpha * x_0 + node.sigma * eps, node.t), x_0, present).sum())
    return total / (len(NOISE_LEVELS) * len(rows))
