"""Standardised latents of a split: what every stage after `encode` trains on, so that raw features are read once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.slices import Fold, StageSlice
from imer_ray.data.batch import Batch
from imer_ray.data.dataset import Dataset
from imer_ray.data.validation_folds import with_fold
from imer_ray.devices import sent
from imer_ray.errors import UserError
from imer_ray.models.model import StandardisedEncoder

BATCH_SIZE = 256
MAX_FOLDS = 8  # kept open at once


@dataclass(frozen=True)
class Latents:
    """x [N, M, L, D], frames [N, M, L] and recorded [N, M] (True = present), labels [N] (NaN = none)."""

    x: Tensor
    frames: Tensor
    recorded: Tensor
    labels: Tensor

    @property
    def num_frames(self) -> int:
        return self.x.shape[2]

    def without(self, fold: Fold | None) -> Latents:
        """The clips outside a fold; all of them without one."""
        return self if fold is None else self[folds(len(self.x), fold.count) != fold.number]

    def __getitem__(self, rows: Tensor) -> Latents:
        rows = sent(rows, self.x.device)
        return Latents(*(t[rows] for t in (self.x, self.frames, self.recorded, self.labels)))

    def to(self, device: str) -> Latents:
        return Latents(*(t.to(device) for t in (self.x, self.frames, self.recorded, self.labels)))

    def save(self, path: Path) -> None:
        save_file({name: getattr(self, name).contiguous() for name in ("x", "frames", "recorded", "labels")}, path)

    @staticmethod
    def load(path: Path) -> Latents:
        return Latents(**load_file(path))


def folds(num_clips: int, count: int) -> Tensor:
    """[N]: the fold of each clip. A fold is a run of neighbours, which often come from one video."""
    return torch.arange(num_clips) * count // num_clips


def load_dataset(config: ExperimentConfig | StageSlice) -> Dataset:
    """The data set of a configuration with its validation clips, kept open in this process.

    Raises:
        UserError: the data are not those that the configuration was made for, or have no such validation clips.
    """
    name, expected = config.data.name, config.data_fingerprint
    dataset = opened(config.data.build())
    if expected not in (None, dataset.fingerprint):
        raise UserError(
            f"data {name}: the content differs from what this configuration was made for "
            f"(fingerprint {dataset.fingerprint[:12]}, expected {str(expected)[:12]}); "
            f"train and evaluate take other data where they are named, as data={name}"
        )
    return dataset if config.validation_fold == 0 else _with_fold(config.data.build(), config.validation_fold)


@functools.lru_cache(maxsize=MAX_FOLDS)
def _with_fold(data: Any, fold: int) -> Dataset:
    return with_fold(opened(data), fold)


@functools.lru_cache(maxsize=2)
def opened(data: Any) -> Dataset:
    """The data set of a component, kept open in this process."""
    return data.load()


def batches(dataset: Dataset, split: str, device: str, batch_size: int = BATCH_SIZE) -> Iterator[Batch]:
    """All clips of a split in order."""
    for start in range(0, dataset.size(split), batch_size):
        stop = min(start + batch_size, dataset.size(split))
        yield dataset.batch(split, torch.arange(start, stop)).to(device)


@torch.no_grad()
def encode_split(encoder: StandardisedEncoder, dataset: Dataset, split: str, device: str) -> Latents:
    """Latents of every clip of a split, on the CPU."""
    out: Latents | None = None
    for batch in batches(dataset, split, device):
        x, frames = encoder(batch.features, batch.frames)
        if out is None:  # collecting the parts and joining them would hold everything twice
            room, present = (torch.empty(dataset.size(split), *t.shape[1:], dtype=t.dtype) for t in (x, frames))
            out = Latents(room, present, dataset.recorded(split), dataset.labels(split))
        out.x[batch.index.cpu()], out.frames[batch.index.cpu()] = x.cpu(), frames.cpu()
    if out is None:
        raise UserError(f"the {split} split is empty")
    return out
