"""Random numbers of a training: each draw from a generator of its own."""

from __future__ import annotations

import hashlib
import json

import torch


def seeded(seed: int, *words: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator seeded by a seed and what it is for, so that one stage's draws never shift another's."""
    digest = hashlib.sha256(json.dumps([seed, *words]).encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def seed_everything(generator: torch.Generator, device: str) -> None:
    """Seed the global generators, from which whatever is given none draws, as a plug-in's nn.Dropout. It is faster than
    torch.manual_seed, which asks every kind of accelerator."""
    torch.default_generator.manual_seed(generator.initial_seed())
    if device.startswith("cuda"):
        torch.cuda.manual_seed(generator.initial_seed())
