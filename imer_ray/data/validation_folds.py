"""Other validation clips than a data set's own, for cross-validation: runs of training clips, in exchange for them.

All K = 1 + N_train // N_valid validation sets are disjoint: fold 0 is the data set's own, fold k the k-th run of
N_valid training clips. A run is of neighbours, which often come from one video.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from imer_ray.data.dataset import Dataset, Split, Statistics
from imer_ray.data.missing import MODALITIES
from imer_ray.data.store_writer import RunningStatistics
from imer_ray.errors import UserError

CHUNK = 1024  # clips read at once

Gather = Callable[[Tensor], Tensor]
Rows = tuple[Split, Tensor]
"""Some clips [B] of a split."""


def num_folds(dataset: Dataset) -> int:
    """How many disjoint validation sets there are, the data set's own among them."""
    return 1 + dataset.size("train") // dataset.size("valid") if dataset.size("valid") else 1


def with_fold(dataset: Dataset, fold: int) -> Dataset:
    """The data set with the k-th run of training clips for validation, and its own validation clips for training.

    Features are standardised by the clips that are now for training. The test clips are untouched.

    Raises:
        UserError: there is no such fold.
    """
    if not 0 <= fold < num_folds(dataset):
        raise UserError(
            f"validation_fold={fold}: of {dataset.size('train')} training and {dataset.size('valid')} validation clips "
            f"there are the folds 0 to {num_folds(dataset) - 1}"
        )
    if fold == 0:
        return dataset
    train, valid = dataset.splits["train"], dataset.splits["valid"]
    start, stop = (fold - 1) * len(valid.labels), fold * len(valid.labels)
    rows = torch.arange(len(train.labels))
    is_held_out = (rows >= start) & (rows < stop)
    held_out = _joined([(train, rows[is_held_out])])
    taught = _joined([(train, rows[~is_held_out]), (valid, torch.arange(len(valid.labels)))])
    splits = {**dataset.splits, "train": taught, "valid": held_out}
    return replace(dataset, splits=splits, statistics=_statistics(taught, dataset.dims))


def _joined(parts: Sequence[Rows]) -> Split:
    return Split(
        gather={m: functools.partial(_gather, [(split.gather[m], rows) for split, rows in parts]) for m in MODALITIES},
        frames={m: torch.cat([split.frames[m][rows] for split, rows in parts]) for m in MODALITIES},
        recorded=torch.cat([split.recorded[rows] for split, rows in parts]),
        labels=torch.cat([split.labels[rows] for split, rows in parts]),
    )


def _gather(parts: Sequence[tuple[Gather, Tensor]], rows: Tensor) -> Tensor:
    """Raw features [B, L, D] of the clips at ``rows`` [B], which count through the parts' clips."""
    out, first = None, 0
    for gather, own in parts:
        here = (rows >= first) & (rows < first + len(own))
        found = gather(own[rows[here] - first])
        if out is None:
            out = found.new_empty(len(rows), *found.shape[1:])
        out[here] = found
        first += len(own)
    assert out is not None
    return out


def _statistics(split: Split, dims: Mapping[str, int]) -> Statistics:
    """Mean and deviation of each feature over the recorded frames of a split's clips."""
    found = {}
    for i, m in enumerate(MODALITIES):
        running = RunningStatistics(dims[m])
        for rows in torch.arange(len(split.labels)).split(CHUNK):
            frames = split.frames[m][rows] & split.recorded[rows, i, None]
            running.add(split.gather[m](rows)[frames].numpy())
        mean, std = (torch.tensor(values, dtype=torch.float64) for values in running.result().values())
        found[m] = mean, std
    return found
