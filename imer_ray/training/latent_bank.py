"""Recovered latents of every clip and missing pattern, looked up: what the stage `bank` has drawn."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from imer_ray.data.missing import MODALITIES

NUM_MODALITIES = len(MODALITIES)
BITS = torch.tensor([1, 2, 4])
SUBSETS = range(1, 7)  # non-empty strict subsets of {l, a, v} as sums of their modalities' bits
ENTRIES = [(subset, m) for subset in SUBSETS for m in range(NUM_MODALITIES) if not subset & int(BITS[m])]


class Bank:
    """Looks up recovered latents: ``fill(x, available, rows, draw)`` for batches of any patterns."""

    def __init__(self, recovered: Tensor) -> None:
        """``recovered`` [K draws, 9 entries, N, L, D]."""
        self.recovered = recovered
        self._entry = torch.full((8, NUM_MODALITIES), -1)
        for entry, (subset, m) in enumerate(ENTRIES):
            self._entry[subset, m] = entry

    @staticmethod
    def load(folder: Path, split: str) -> Bank:
        return Bank(load_file(folder / f"bank_{split}.safetensors")["recovered"])

    @property
    def num_draws(self) -> int:
        return len(self.recovered)

    def fill(self, x: Tensor, available: Tensor, rows: Tensor, draw: int) -> Tensor:
        """Latents [B, M, L, D] of clips ``rows`` [B] with what is not ``available`` [B, M] taken from the bank."""
        entry = self._entry[(available.cpu() * BITS).sum(1)]
        filled = x * available[..., None, None]
        for m in range(NUM_MODALITIES):
            some = (entry[:, m] >= 0).nonzero().squeeze(1)
            if len(some):
                found = self.recovered[draw, entry[some, m], rows.cpu()[some]]
                filled[some.to(x.device), m] = found.to(x.device, x.dtype)
        return filled
