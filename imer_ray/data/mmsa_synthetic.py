"""Files in the format and the exact shape of MMSA's, filled with synthetic clips (`imer_ray.data.synthetic`).

The licensed pickles of CMU-MOSI and CMU-MOSEI cannot be handed around; these can, so that conversion, training and
search are exercised at full size by anyone, and what a model could reach at best is known.

In an aligned file every clip fills all frames, so that the oracle of `mixture` is exact for it. In an unaligned one a
modality has a number of frames of its own, and a clip fills the same share of all three; zeros follow, and the file
says how many frames count, as MMSA's do (for the language features MMSA's files do not say it either).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from imer_ray.data.dataset import SPLITS
from imer_ray.data.factor_mixture import FactorMixture
from imer_ray.data.label_scale import LABELS
from imer_ray.data.missing import MODALITIES, seeded
from imer_ray.data.mmsa import KEYS
from imer_ray.data.pickle_writer import Hole, PickleWriter
from imer_ray.data.synthetic import LABEL_LIMIT, NUM_SIGNALS, Synthetic

FLOAT = np.dtype("<f4")
CHUNK = 64  # clips drawn at once, from a generator of their own: 20 MB of MOSI's language features in float64
SHORTEST = 0.2  # of the frames that a clip of an unaligned file fills


@dataclass(frozen=True)
class MmsaShape:
    """The shape of an MMSA file; the defaults are CMU-MOSI's.

    Attributes:
        num_train: clips.
        num_valid: clips.
        num_test: clips.
        dim_l: features of a frame (BERT).
        dim_a: features of a frame (COVAREP).
        dim_v: features of a frame (Facet).
        num_frames: of language, and of the other modalities in an aligned file.
        unaligned_a: acoustic frames of an unaligned file.
        unaligned_v: visual frames of an unaligned file.

    References:
        Mao et al., 2022, M-SENA (ACL demonstrations), whose regression configuration has these numbers.
    """

    num_train: int = 1284
    num_valid: int = 229
    num_test: int = 686
    dim_l: int = 768
    dim_a: int = 5
    dim_v: int = 20
    num_frames: int = 50
    unaligned_a: int = 500
    unaligned_v: int = 375

    def __post_init__(self) -> None:
        for name in ("num_train", "num_valid", "num_test", "num_frames", "unaligned_a", "unaligned_v"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("dim_l", "dim_a", "dim_v"):
            if getattr(self, name) < NUM_SIGNALS:
                raise ValueError(f"{name} must be at least {NUM_SIGNALS}, the number of signals in a modality")

    @property
    def dims(self) -> dict[str, int]:
        return {"l": self.dim_l, "a": self.dim_a, "v": self.dim_v}

    def lengths(self, aligned: bool) -> dict[str, int]:
        if aligned:
            return dict.fromkeys(MODALITIES, self.num_frames)
        return {"l": self.num_frames, "a": self.unaligned_a, "v": self.unaligned_v}

    def num_clips(self, split: str) -> int:
        return {"train": self.num_train, "valid": self.num_valid, "test": self.num_test}[split]

    def num_bytes(self, aligned: bool) -> int:
        """Of the features of all splits."""
        lengths, clips = self.lengths(aligned), sum(map(self.num_clips, SPLITS))
        return clips * FLOAT.itemsize * sum(lengths[m] * self.dims[m] for m in MODALITIES)


def mixture(shape: MmsaShape, aligned: bool) -> FactorMixture:
    """The model that the clips are drawn from, raw features [N, L_m x D_m]: `Synthetic`'s with lengths of its own."""
    worlds = {
        m: Synthetic(num_frames=length, dim_l=shape.dim_l, dim_a=shape.dim_a, dim_v=shape.dim_v).mixture
        for m, length in shape.lengths(aligned).items()
    }
    shared = worlds["l"]
    return FactorMixture(
        weights=shared.weights,
        loadings={m: world.loadings[m] for m, world in worlds.items()},
        offsets={m: world.offsets[m] for m, world in worlds.items()},
        private={m: world.private[m] for m, world in worlds.items()},
        label_weights=shared.label_weights,
        noise_std=shared.noise_std,
        label_std=shared.label_std,
    )


def recorded_lengths(shape: MmsaShape, aligned: bool, seed: int, split: str) -> dict[str, NDArray[np.int64]]:
    """{m: frames [N] that each clip fills}."""
    lengths, num_clips = shape.lengths(aligned), shape.num_clips(split)
    if aligned:
        return {m: np.full(num_clips, length) for m, length in lengths.items()}
    generator = seeded("mmsa lengths", seed, split)
    share = SHORTEST + (1 - SHORTEST) * torch.rand(num_clips, generator=generator, dtype=torch.float64).numpy()
    return {m: np.ceil(share * length).astype(np.int64) for m, length in lengths.items()}


def clips(
    shape: MmsaShape, aligned: bool, seed: int, split: str
) -> Iterator[tuple[int, dict[str, NDArray[np.float32]], NDArray[np.float32]]]:
    """A split in parts: number of the first clip, {m: features [N, L_m, D_m]}, labels [N]."""
    model, lengths = mixture(shape, aligned), shape.lengths(aligned)
    filled = recorded_lengths(shape, aligned, seed, split)
    for chunk in range(math.ceil(shape.num_clips(split) / CHUNK)):
        first = chunk * CHUNK
        count = min(CHUNK, shape.num_clips(split) - first)
        x, y = model.sample(CHUNK, seeded("mmsa clips", seed, split, chunk))
        features = {}
        for m in MODALITIES:
            values = x.pop(m)[:count].numpy().astype(FLOAT).reshape(count, lengths[m], -1)
            values[np.arange(lengths[m]) >= filled[m][first : first + count, None]] = 0
            features[m] = values
        yield first, features, y[:count].clamp(-LABEL_LIMIT, LABEL_LIMIT).numpy().astype(FLOAT)


def write(file: BinaryIO, shape: MmsaShape, aligned: bool, seed: int) -> None:
    """Write the pickle to an empty file, a chunk of clips at a time."""
    holes: dict[str, dict[str, Hole]] = {}
    writer = PickleWriter(file)
    with writer.dictionary():
        for split in SPLITS:
            writer.string(split)
            with writer.dictionary():
                holes[split] = _frame(writer, shape, aligned, seed, split)
    writer.finish()
    for split in SPLITS:
        for first, features, labels in clips(shape, aligned, seed, split):
            for m, values in features.items():
                holes[split][KEYS[m]].fill(first, values)
            holes[split][LABELS].fill(first, labels)


def _frame(writer: PickleWriter, shape: MmsaShape, aligned: bool, seed: int, split: str) -> dict[str, Hole]:
    """Write a split's keys and all but its arrays' numbers, whose places are returned."""
    num_clips, lengths, holes = shape.num_clips(split), shape.lengths(aligned), {}
    writer.string("raw_text")
    writer.strings(f"synthetic clip {i} of {split}" for i in range(num_clips))
    writer.string("id")
    writer.strings(f"{split}$_${i}" for i in range(num_clips))
    for m, key in KEYS.items():
        writer.string(key)
        holes[key] = writer.array((num_clips, lengths[m], shape.dims[m]), FLOAT)
    writer.string(LABELS)
    holes[LABELS] = writer.array((num_clips,), FLOAT)
    if not aligned:
        filled = recorded_lengths(shape, aligned, seed, split)
        for m in ("a", "v"):
            writer.string(f"{KEYS[m]}_lengths")
            writer.integers(filled[m].tolist())
    return holes
