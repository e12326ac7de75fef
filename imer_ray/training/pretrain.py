"""Stage `pretrain[m]`: the conditional diffusion of one modality, on its own and before any recogniser.

Decoupling after the NTUA thesis on IMDer: an untrained diffusion no longer disturbs the recogniser, and the task loss
never waits for a sampler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from imer_ray.config import build
from imer_ray.data.missing import MODALITIES
from imer_ray.diffusion.loss import denoising_loss, sample_time
from imer_ray.errors import UserError
from imer_ray.models.recovery import Recovery, build_network, build_recovery
from imer_ray.training.context import Context
from imer_ray.training.encode import load_latents, weights
from imer_ray.training.loop import fit, seeded, summary


def run(config: Mapping[str, Any], context: Context) -> dict[str, float]:
    """Train modality ``config["modality"]``'s network to denoise its latents given any subset of the others."""
    m = MODALITIES.index(config["modality"])
    data = {split: load_latents(context, split) for split in ("train", "valid")}
    sde = build(config["diffusion"]["sde"])
    torch.manual_seed(seeded(config["seed"], "pretrain", m).initial_seed())
    network = build_network(config, data["train"].num_frames, m).to(context.device)

    def loss(net: nn.Module, split: str, rows: Tensor, share: slice, generator: torch.Generator) -> Tensor:
        latents = data[split]
        shape = (len(rows), *latents.x.shape[2:])
        t = sample_time(sde, len(rows), generator)[share]
        eps = torch.randn(shape, generator=generator, device=context.device)[share]
        available = random_condition(latents.recorded[rows], m, generator)[share]
        rows = rows[share].to(context.device)
        return denoising_step(net, sde, config, latents.x[rows], available, latents.frames[rows], m, t, eps)

    def losses(rows: Tensor, share: slice, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": loss(network, "train", rows, share, generator)}

    valid_rows = usable_rows(data["valid"].recorded, m)

    def validate(average: nn.Module) -> float:
        # The same times, noise and conditions at every epoch, so that epochs differ by the network alone.
        rows = valid_rows.repeat(max(1, 512 // len(valid_rows)))
        generator = seeded(config["seed"], "valid", device=context.device)
        return float(loss(average, "valid", rows, slice(None), generator).mean())

    rows = usable_rows(data["train"].recorded, m)
    if not len(rows):
        raise UserError(f"no training clip has modality {MODALITIES[m]} recorded together with another one")
    history = fit(
        network,
        losses,
        rows.cpu(),
        config["training"]["pretrain"],
        context,
        config["seed"],
        validate if len(valid_rows) else None,
    )
    if context.rank == 0:
        save_file(weights(network), context.folder / f"network_{MODALITIES[m]}.safetensors")
    return summary(history)


def denoising_step(
    network: Any,
    sde: Any,
    config: Mapping[str, Any],
    latents: Tensor,
    available: Tensor,
    frames: Tensor,
    m: int,
    t: Tensor,
    eps: Tensor,
) -> Tensor:
    """Denoising loss [B] of modality m of ``latents`` [B, M, L, D] at times t [B] with noise eps [B, L, D]."""
    cache = network.condition(latents, available, frames)
    return denoising_loss(
        lambda x, time: network(x, time, cache),
        sde,
        config["diffusion"]["parametrization"],
        latents[:, m],
        t,
        eps,
        frames[:, m],
        scale_input=network.scale_input,
    )


def usable_rows(recorded: Tensor, m: int) -> Tensor:
    """Clips with modality m and at least one other recorded."""
    return (recorded[:, m] & (recorded.sum(1) > 1)).nonzero().squeeze(1)


def random_condition(recorded: Tensor, m: int, generator: torch.Generator) -> Tensor:
    """[B, M]: one other modality or both, as far as recorded, with equal chance for each missing pattern."""
    a, b = (k for k in range(len(MODALITIES)) if k != m)
    choice = torch.randint(3, (len(recorded),), generator=generator, device=generator.device).to(recorded.device)
    available = torch.zeros_like(recorded)
    both = recorded[:, a] & recorded[:, b]
    available[:, a] = recorded[:, a] & ((choice != 1) | ~both)
    available[:, b] = recorded[:, b] & ((choice != 0) | ~both)
    return available


def load_recovery(config: Mapping[str, Any], context: Context, num_frames: int) -> Recovery:
    """The frozen diffusions of all modalities, from the inputs ``network_l``, ``network_a`` and ``network_v``."""
    recovery = build_recovery(config, num_frames)
    for network, name in zip(recovery.networks, MODALITIES, strict=True):
        network.load_state_dict(load_file(context.inputs[f"network_{name}"] / f"network_{name}.safetensors"))
    return recovery.eval().requires_grad_(False).to(context.device)
