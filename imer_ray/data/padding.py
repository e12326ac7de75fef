"""Which frames of a clip were recorded, and which are padding.

Legend: N clips, L frames, D features. A frame is *filled* if some of its features is not 0. Frames lie where
MMSA-FET's ``padding_location`` left them: at the beginning of a clip's L frames or at the end, in one file always at
the same. Without lengths, frames that are not filled are padding at both ends, and silence between others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.errors import UserError

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def extent(filled: Bools) -> tuple[Ints, Ints]:
    """First filled frame of each clip [N, L] and the one after the last; 0 and 0 if there is none."""
    start, stop = filled.argmax(1), filled.shape[1] - filled[:, ::-1].argmax(1)
    anything = filled.any(1)
    return np.where(anything, start, 0), np.where(anything, stop, 0)


def _fits(filled: Bools, lengths: Ints) -> tuple[Bools, Bools]:
    """[N]: whether all that is filled lies within the first, and within the last, so many frames.

    A length beyond L is that of a clip that was cut to L frames, and fits only what fills them to both ends.
    """
    start, stop = extent(filled)
    L = filled.shape[1]
    whole = (lengths <= L) | ((start == 0) & (stop == L))
    return whole & (stop <= lengths), whole & (start >= L - lengths)


def frames_at_the_end(parts: Iterable[tuple[Bools, Ints]]) -> bool:
    """Whether a file's frames lie at the end, as told by the first clip that leaves no choice, of parts that are read
    no further than to it: (filled [N, L], lengths [N])."""
    for filled, lengths in parts:
        at_beginning, at_end = (fits & filled.any(1) for fits in _fits(filled, lengths))
        clear = at_beginning != at_end
        if clear.any():
            return bool(at_end[clear.argmax()])
    return False


@dataclass(frozen=True)
class Recorded:
    """Finds one modality's frames in the clips of a split.

    Attributes:
        where: the file's name, the split and the modality's key, for errors.
        clip: names the clip of a row.
        lengths: frames [N], if the file gives them.
        mask: function of rows [start, stop) that reads text_bert's mask, 0 or 1 [n, L], if the file has one.
        at_the_end: whether frames lie at the end, for ``lengths``.
    """

    where: str
    clip: Callable[[int], str]
    lengths: Ints | None
    mask: Callable[[int, int], NDArray[Any]] | None
    at_the_end: bool

    def find(self, filled: Bools, first: int) -> tuple[Ints, Ints]:
        """First recorded frame and the one after the last of clips [n, L], whose first has row ``first``; 0 and 0 for a
        clip that holds nothing but zeros.

        Raises:
            UserError: lengths or mask contradict the frames.
        """
        rows = slice(first, first + len(filled))
        start, stop = extent(filled)
        if self.lengths is not None:
            start, stop = self._by_lengths(filled, self.lengths[rows], first)
        if self.mask is not None:
            inside = self._inside(self.mask(rows.start, rows.stop), filled, first)
            begins, ends = extent(inside)
            start, stop = np.maximum(start, begins), np.minimum(stop, ends)
        nothing = ~filled.any(1) | (stop <= start)
        return np.where(nothing, 0, start), np.where(nothing, 0, stop)

    def _by_lengths(self, filled: Bools, lengths: Ints, first: int) -> tuple[Ints, Ints]:
        L = filled.shape[1]
        fits = _fits(filled, lengths)[int(self.at_the_end)] | ~filled.any(1)
        if not fits.all():
            i = int((~fits).argmax())
            begins, ends = (int(end[i]) for end in extent(filled))
            key = self.where.rpartition(" ")[2]
            raise UserError(
                f"{self.where}: {self.clip(first + i)} has {lengths[i]} frames according to {key}_lengths, but of its "
                f"{L} those that are not zero are {begins} to {ends - 1} (frames lie at the "
                f"{'end' if self.at_the_end else 'beginning'} elsewhere); correct {key}_lengths, or leave it out, and "
                f"then zeros at both ends are padding"
            )
        kept = lengths.clip(max=L)
        return (L - kept, np.full_like(kept, L)) if self.at_the_end else (np.zeros_like(kept), kept)

    def _inside(self, mask: NDArray[Any], filled: Bools, first: int) -> Bools:
        """[n, L]: the tokens that are no [PAD]; their frames must be filled if any of a [PAD] is."""
        inside = mask == 1
        begins, ends = extent(inside)
        wrong = {
            "must be 0 or 1": ~((mask == 0) | inside).all(1),
            "has a gap between its tokens": inside.sum(1) != ends - begins,
            "names tokens whose frames are zero, while frames elsewhere are not": (
                (filled & ~inside).any(1) & ((inside & ~filled).any(1) | ~inside.any(1))
            ),
        }
        for words, clips in wrong.items():
            if clips.any():
                clip = self.clip(first + int(clips.argmax()))
                raise UserError(
                    f"{self.where}: the mask in text_bert (its second row: token numbers, mask, segments) {words} for "
                    f"{clip}; correct text_bert, or leave it out, and then every frame that is not zero counts"
                )
        return inside
