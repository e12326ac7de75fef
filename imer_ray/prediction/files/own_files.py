"""Clips as their own files, transcripts and sound, from which features are extracted (`imer_ray.extraction.clips`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imer_ray.data.missing import MODALITIES
from imer_ray.extraction.clips import extracted_clips
from imer_ray.extraction.extractor import extractors
from imer_ray.extraction.ready import ready_suffix
from imer_ray.prediction.files.rows import Rows, Wanted


def are_at(path: Path) -> bool:
    """Whether a path is a folder, or a file that by its name is one of a clip's own."""
    ready = tuple(ready_suffix(m) for m in MODALITIES)
    suffixes = {suffix for extractor in extractors().values() for suffix in extractor.suffixes}
    return path.is_dir() or path.name.endswith(ready) or path.suffix.lower() in suffixes


@contextmanager
def read(path: Path, wanted: Wanted) -> Iterator[Rows]:
    """The clips of a folder, or the one of a file."""
    widths = {m: wanted.widths[m] for m in wanted.modalities}
    clips = extracted_clips(path, widths, wanted.names, wanted.extractors)
    yield Rows(len(clips), iter(clips))
