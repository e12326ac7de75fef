"""JSON that others may have written: read within bounds, or refused."""

from __future__ import annotations

import json
from typing import Any

from imer_ray.received import MAX_INT

MAX_CHARACTERS = 2**20  # of one JSON text in the results; a whole configuration takes some three thousand
MAX_BRACKETS = 200  # in one, so that none is nested deeply enough to matter; a configuration has some sixty


def json_object(text: Any, name: str) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
        ValueError: it holds none, or one that is too large; the message begins with ``name``.
    """
    if not isinstance(text, str):
        raise ValueError(f"{name} is no text")
    if len(text) > MAX_CHARACTERS or text.count("[") + text.count("{") > MAX_BRACKETS:
        raise ValueError(f"{name} is larger than any that imer_ray writes")
    try:
        content = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{name} is not to be read ({reason})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name} is no JSON object")
    return content


def json_texts(text: Any, name: str) -> dict[str, str]:
    """As `json_object`, of an object whose values are texts."""
    content = json_object(text, name)
    if not all(isinstance(value, str) for value in content.values()):
        raise ValueError(f"{name} is no JSON object of texts")
    return content


def _whole(digits: str) -> int:
    if len(digits) > 20 or abs(number := int(digits)) > MAX_INT:
        raise ValueError(f"{digits[:24]} is too large a number")
    return number
