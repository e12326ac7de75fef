"""What every reader of clips is asked for and gives.

A reader is a context manager of one path and `Wanted` that gives `Rows`. Its rows come one by one, so that a file
larger than memory can be read. What is wrong with one clip is that row's; what is wrong with the file is raised, at the
latest when the row is reached that it spoils.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from imer_ray.data.mmsa import KEYS, MAX_VALUES
from imer_ray.data.plain_values import MAX_NAME, names
from imer_ray.errors import UserError
from imer_ray.received import shown

ID = "id"
BATCH_VALUES = 2**18  # numbers of a modality that are read at once where several clips are
Row = tuple[str, Mapping[str, Any] | UserError]
"""A clip's id with {m: features as `imer_ray.prediction.clip.read_clip` takes them}, or with why there are none."""


@dataclass(frozen=True)
class Wanted:
    """What a model wants of a file.

    Attributes:
        modalities: that are read, as "lav"; others are left alone.
        widths: {m: features of a frame}.
        at_the_end: modalities whose frames lie at the end of the frames that the model reads.
        data: the component of the data that the model was trained on.
        names: {m: which features it was trained on}, None where it is not known.
        extractors: {m: extractor's option} that the user says gives them.
    """

    modalities: str
    widths: Mapping[str, int]
    at_the_end: frozenset[str]
    data: Any
    names: Mapping[str, str | None]
    extractors: Mapping[str, str]


@dataclass(frozen=True)
class Rows:
    """The rows of a file, and about how many there will be."""

    num_rows: int
    rows: Iterator[Row]


@runtime_checkable
class ReadsTables(Protocol):
    """A data component whose clips are more than their own row of a table, so that it reads tables like its own."""

    def is_table(self, columns: Sequence[str]) -> bool:
        """Whether a table with these columns is like the one that it reads."""
        ...

    def clips(self, path: Path, widths: Mapping[str, int]) -> Iterable[tuple[str, Mapping[str, Any]]]:
        """Every clip of a parquet table, unlabelled: its id, and for each modality the features [T, D] and which frames
        [T] were recorded, made as those of a training clip are, or None.

        Args:
            widths: {m: features of a frame} of the modalities that are read.

        Raises:
            UserError: the table is damaged or lacks something.
        """
        ...


def columns_of(found: Iterable[str], modalities: str, where: str) -> dict[str, str]:
    """{m: name} of the features among the names that a file has: the modality's letter, or else MMSA's word for it.

    Raises:
        UserError: there are none of them.
    """
    there = set(found)
    named = {m: next((name for name in (m, KEYS[m]) if name in there), None) for m in modalities}
    if not any(named.values()):
        wanted = ", ".join(f"{m} (or {KEYS[m]})" for m in modalities)
        has = ", ".join(map(repr, sorted(there)[:8]))[:200] or "nothing"
        raise UserError(f"{where} has no features: they are looked for as {wanted}, and it has {has}")
    return {m: name for m, name in named.items() if name is not None}


def id_of(value: Any, number: int) -> str:
    """A row's id; its number if it has none.

    Raises:
        UserError: it is neither short text nor a whole number.
    """
    if value is None:
        return str(number)
    found = names([value])
    if found is None:
        raise UserError(f"its id must be text of at most {MAX_NAME} characters or a whole number, not {shown(value)}")
    return found[0]


def check_clip_size(where: str, num_frames: int, num_features: int) -> None:
    """Refuse clips of a size that no clip has, before room is made for one."""
    if num_frames * num_features > MAX_VALUES:
        raise UserError(
            f"{where} has {num_frames} frames of {num_features} features a clip; at most {MAX_VALUES} numbers are read"
        )
