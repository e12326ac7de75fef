"""Recovered latents of every clip and missing pattern, looked up: what the stage `bank` has drawn."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from imer_ray.data.missing import MODALITIES
from imer_ray.devices import is_gpu, sent

NUM_MODALITIES = len(MODALITIES)
BITS = torch.tensor([1, 2, 4])
SUBSETS = range(1, 7)  # non-empty strict subsets of {l, a, v} as sums of their modalities' bits
ENTRIES = [(subset, m) for subset in SUBSETS for m in range(NUM_MODALITIES) if not subset & int(BITS[m])]


class Bank:
    """Looks up recovered latents: ``fill(x, available, rows, draw)`` for batches of any patterns."""

    def __init__(self, recovered: Tensor) -> None:
        """``recovered`` [K draws, 9 entries, N, L, D]."""
        self.recovered = recovered
        entries = torch.full((8, NUM_MODALITIES), -1)
        for entry, (subset, m) in enumerate(ENTRIES):
            entries[subset, m] = entry
        self._entries, self._bits = sent(entries, recovered.device), sent(BITS, recovered.device)

    @staticmethod
    def load(folder: Path, split: str, device: str) -> Bank:
        """On a GPU if it takes no more than half of what is free there. Another stays on the CPU, and the GPU is waited
        for wherever something is looked up."""
        recovered = load_file(folder / f"bank_{split}.safetensors")["recovered"]
        fits = is_gpu(device) and 2 * recovered.nbytes <= torch.cuda.mem_get_info(torch.device(device))[0]
        return Bank(recovered.to(device) if fits else recovered)

    @property
    def num_draws(self) -> int:
        return len(self.recovered)

    def fill(self, x: Tensor, available: Tensor, rows: Tensor, draw: int | Tensor) -> Tensor:
        """Latents [B, M, L, D] of clips ``rows`` [B] with what is not ``available`` [B, M] taken from the bank, one
        ``draw`` of it: a number or [1], as PyTorch would ask the value of a tensor without dimensions.
        """
        place = self.recovered.device
        entry = self._entries[(available.to(place) * self._bits).sum(1)]
        draw = draw.to(place) if isinstance(draw, Tensor) else draw
        # Of all modalities: to ask which are missing takes longer, and a GPU would have to be waited for.
        found = self.recovered[draw, entry.clamp(min=0), sent(rows, place)[:, None]]
        wanted = sent(entry >= 0, x.device)[..., None, None]
        return torch.where(wanted, sent(found, x.device).to(x.dtype), x * available[..., None, None])
