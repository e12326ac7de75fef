"""One clip's features as somebody has them: checked, repaired, and cut to what a model reads.

Legend: T frames that are given, L frames that the model reads at most, D features of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imer_ray.data.batch import Batch
from imer_ray.data.dataset import Statistics, standardised
from imer_ray.data.missing import MODALITIES, WORDS
from imer_ray.data.mmsa_frames import filled_frames, repair
from imer_ray.data.padding import extent
from imer_ray.errors import UserError
from imer_ray.received import shown

MAX_VALUES = 2**24  # numbers of one modality of a clip: an hour of sound
NUMBERS = (float, int, np.floating, np.integer)


class ClipError(UserError):
    """A clip cannot be read, and why."""


@dataclass(frozen=True)
class Reads:
    """What a model reads.

    Attributes:
        dims, lengths: {m: number of features D_m}, {m: number of frames L_m at most}.
        at_the_end: modalities of which the frames of a shorter clip lie at the end of the L_m, as in its training.
        names: which features these are, {m: name}, None where it is not known.
    """

    dims: Mapping[str, int]
    lengths: Mapping[str, int]
    at_the_end: frozenset[str]
    names: Mapping[str, str | None]

    def __str__(self) -> str:
        told = (f"{m} ({WORDS[m]}) {self.dims[m]}{self._name(m)}" for m in MODALITIES)
        return f"{', '.join(told)} features a frame"

    def _name(self, m: str) -> str:
        return f" [{self.names[m]}]" if self.names[m] else ""


@dataclass(frozen=True)
class Frames:
    """Frames [T, D] of which it is known which were recorded, bool [T]: zeros among these are no padding."""

    values: NDArray[Any]
    recorded: NDArray[np.bool_]


@dataclass(frozen=True)
class Clip:
    """What a model can read of a clip.

    Attributes:
        features: {m: float32 [T_m, D_m]} of the available modalities, raw, 1 <= T_m <= L_m.
        frames: {m: bool [T_m]}, False where a frame is padding or was dropped; some frame of each is there.
        num_repaired: numbers that were not finite and became 0.
    """

    features: Mapping[str, NDArray[np.float32]]
    frames: Mapping[str, NDArray[np.bool_]]
    num_repaired: int = 0

    @property
    def available(self) -> str:
        """The letters of the available modalities, such as "lv"."""
        return "".join(m for m in MODALITIES if m in self.features)


def read_clip(raw: Mapping[str, Any], reads: Reads) -> Clip:
    """Read {m: frames [T, D]}, as arrays, nested lists or `Frames`; a modality that is None or left out is missing.

    As when data are converted (`imer_ray.data.store_writer`), NaN and infinities become 0, frames of nothing but zeros
    are padding at both ends and silence between others, and a modality of nothing but zeros was not recorded. A frame
    of a list may be None: it was dropped. Of more than L frames the last L are read, without the padding after them. A
    vector [D] is one frame.

    Raises:
        ClipError: a modality that is none, a wrong width or shape, no frame, something other than numbers, or nothing
            available at all.
    """
    if not isinstance(raw, Mapping):
        raise ClipError(f"a clip is given as {{modality: frames}}, not as {shown(raw)}; the model reads {reads}")
    if unknown := [key for key in raw if key not in MODALITIES]:
        raise ClipError(f"a clip has the modalities {', '.join(MODALITIES)}, not {', '.join(map(shown, unknown[:3]))}")
    features, frames, num_repaired = {}, {}, 0
    for m in MODALITIES:
        if raw.get(m) is None:
            continue
        known = isinstance(raw[m], Frames)
        values, there = _frames(m, raw[m].values if known else raw[m], reads)
        x, found = repair(values[None])
        num_repaired += sum(found.values())
        there = raw[m].recorded if known else there
        x, there = _cut(x[0], there, there if known else filled_frames(x)[0] | ~there, reads.lengths[m])
        if not known:
            start, stop = (int(end[0]) for end in extent(filled_frames(x[None])))
            there[:start] = there[stop:] = False
        if there.any():
            features[m], frames[m] = x, there
    if not features:
        raise ClipError(f"nothing of the clip is available: give at least one modality; the model reads {reads}")
    return Clip(features, frames, num_repaired)


def _frames(m: str, given: Any, reads: Reads) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """What is given of a modality as numbers [T, D], and which frames [T] were not dropped."""
    width, there = reads.dims[m], None
    if isinstance(given, Sequence) and not isinstance(given, (str, bytes)):
        _check_items(m, given, width)
        there = np.array([frame is not None for frame in given], bool)
        if not there.all():
            if not there.any():
                raise ClipError(f"{m}: every frame was dropped; leave the modality out where it is missing")
            given = [np.zeros(width) if frame is None else frame for frame in given]
    try:
        values = np.asarray(given)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ClipError(f"{m}: frames of different widths, or no numbers; it takes [frames, {width}]") from error
    if values.dtype.kind not in "fiu":
        raise ClipError(f"{m}: it takes numbers [frames, {width}], not {_kind(values)}")
    if values.ndim == 1 and values.size:
        values = values[None]
    if values.ndim != 2 or values.shape[1] != width:
        named = f" ({reads.names[m]})" if reads.names[m] else ""
        raise ClipError(f"{m}: the model reads frames of {width} features{named}, and was given {list(values.shape)}")
    if not 0 < values.size <= MAX_VALUES:
        what = "no frame" if values.size == 0 else f"more than {MAX_VALUES:,} numbers"
        raise ClipError(f"{m}: {what}; leave the modality out where it is missing")
    return values, np.ones(len(values), bool) if there is None or len(there) != len(values) else there


def _check_items(m: str, frames: Sequence[Any], width: int) -> None:
    """Refuse lists that an array of would take far more memory than they do: many frames that were dropped, or text,
    whose longest gives all others their size."""
    if len(frames) * width > MAX_VALUES:
        raise ClipError(f"{m}: more than {MAX_VALUES:,} numbers in {len(frames):,} frames")
    for frame in frames:
        items = frame if isinstance(frame, (list, tuple)) else (frame,) if np.isscalar(frame) else ()
        for kind in set(map(type, items)):
            if not issubclass(kind, (*NUMBERS, list, tuple)) or issubclass(kind, bool):
                raise ClipError(f"{m}: it takes numbers [frames, {width}], not {kind.__name__}")


def _kind(values: NDArray[Any]) -> str:
    return {"O": "frames of different widths or other objects", "b": "true and false", "c": "complex numbers"}.get(
        values.dtype.kind, "text"
    )


def _cut(
    x: NDArray[np.float32], there: NDArray[np.bool_], filled: NDArray[np.bool_], length: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The last ``length`` frames; what follows the last that is ``filled`` goes first."""
    if len(x) > length:
        stop = max(length, len(x) - int(filled[::-1].argmax()) if filled.any() else 0)
        x, there = x[stop - length : stop].copy(), there[stop - length : stop]  # not to hold all others with them
    return x, there.copy()


def batch_of(clips: Sequence[Clip], reads: Reads, statistics: Statistics) -> Batch:
    """Clips with the same modalities available as a batch: padded, and standardised by ``statistics`` in single
    precision."""
    size, features, frames = len(clips), {}, {}
    for m in clips[0].available:
        x = np.zeros((size, reads.lengths[m], reads.dims[m]), np.float32)
        there = np.zeros((size, reads.lengths[m]), bool)
        for row, clip in enumerate(clips):
            count = len(clip.frames[m])
            place = slice(reads.lengths[m] - count, None) if m in reads.at_the_end else slice(count)
            x[row, place], there[row, place] = clip.features[m], clip.frames[m]
        frames[m] = torch.from_numpy(there)
        features[m] = standardised(torch.from_numpy(x), frames[m], *statistics[m])
    recorded = torch.tensor([m in features for m in MODALITIES]).expand(size, -1)
    return Batch(features, frames, recorded, torch.full((size,), torch.nan), torch.arange(size))
