"""How tensors come to a GPU and back without anybody waiting for it more often than needed.

A GPU works through a queue. Whoever asks it for a value, or copies in the ordinary way, waits until the queue is empty,
and then the GPU waits for the next work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from imer_ray.errors import UserError


def is_gpu(device: str | torch.device) -> bool:
    return torch.device(device).type == "cuda"


def check_device(device: str, option: str = "device") -> None:
    """Refuse what is no device of this machine that is computed on.

    Raises:
        UserError: naming the ``option`` that asked for it.
    """
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if found is None:
        raise UserError(f"{option}={device}: choose cpu, or cuda, or a GPU by its number, as cuda:1")
    count = torch.cuda.device_count()
    if is_gpu(device) and int(found[1] or 0) >= count:
        raise UserError(
            f"{option}={device}: PyTorch sees {count} GPUs here; choose {option}=cpu, or look at nvidia-smi"
        )


def sent(x: Tensor, device: str | torch.device) -> Tensor:
    """x on a device; a GPU fetches it from page-locked memory by itself, and nobody waits for that."""
    if x.device.type == "cpu" and is_gpu(device):
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def fetched(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, each in memory of its own. From a GPU they come as one for each type of number:
    hundreds one by one would take as many turns of waiting."""
    far: dict[torch.dtype, list[str]] = {}
    for name, tensor in tensors.items():
        if is_gpu(tensor.device):
            far.setdefault(tensor.dtype, []).append(name)
    near = {name: tensor.detach() for name, tensor in tensors.items()}
    for names in far.values():
        flat = torch.cat([near[name].reshape(-1) for name in names]).cpu()
        parts = flat.split([near[name].numel() for name in names])
        near |= {name: part.view(near[name].shape) for name, part in zip(names, parts, strict=True)}
    return {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in near.items()}


def may_ask(x: Tensor) -> bool:
    """Whether a value of x may be asked for, to save work: of a GPU only where nothing is learnt from what follows, as
    once before the steps of a sampler, and not in each step of a training."""
    return not (is_gpu(x.device) and torch.is_grad_enabled())
