"""Names and texts in results, whoever wrote them, as a terminal, a page and an SVG can show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from imer_ray.errors import printable

AS_WRITTEN = ("config", "stages", "executors", "rungs", "versions")  # JSON


def one_line(text: str) -> str:
    """A name as it can be printed, line breaks and tabs spelt out."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def printable_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with names and texts that a terminal, a page and an SVG can show, whoever wrote them."""
    frame = frame.rename(columns=one_line)
    for column in frame.columns.difference(AS_WRITTEN):
        if not pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_datetime64_any_dtype(frame[column]):
            clean = printable if column == "error" else one_line
            frame[column] = [clean(value) if isinstance(value, str) else value for value in frame[column]]
    return frame


def printable_words(words: Any) -> Any:  # noqa: ANN401 (JSON)
    """The same of JSON, its keys and texts."""
    if isinstance(words, Mapping):
        return {printable_words(key): printable_words(value) for key, value in words.items()}
    if isinstance(words, (list, tuple)):
        return [printable_words(value) for value in words]
    return one_line(words) if isinstance(words, str) else words
