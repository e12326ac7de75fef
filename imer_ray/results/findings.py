"""What was found of a study's qualities, in JSON files beside its results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from imer_ray.errors import UserError
from imer_ray.files import write_whole


class Finding(Protocol):
    """A dataclass of plain values; ``metric`` is the column that quality is computed from."""

    @property
    def metric(self) -> str: ...


Found = TypeVar("Found", bound=Finding)


def write_finding(path: Path, found: Any) -> None:
    """Write a finding, whole or not at all."""
    write_whole(path, json.dumps(asdict(found), indent=1).encode())


def read_finding(path: Path, metric: str, parse: Callable[[Mapping[str, Any]], Found]) -> Found | None:
    """What ``parse`` makes of a file's content; None without a file, or of another ``metric``.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        found = parse(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it, or run the search again to write it anew") from error
    return found if found.metric == metric else None
