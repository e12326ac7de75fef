"""What ``gpu.py`` keeps of its checks, and what it says of them."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Check = Callable[[], dict[str, Any]]
"""What was found, to be kept as JSON; with ``ok`` where it is known what it should be."""
Found = dict[str, dict[str, Any]]
"""Check -> what it found; ``error`` of one that was broken off, ``skipped`` of one that the time was up for."""
FRAMES = 3  # of a traceback, which are kept


def judged(difference: float, tolerance: float) -> dict[str, Any]:
    """A difference beside what it may be."""
    kept = difference if math.isfinite(difference) else str(difference)  # JSON knows no infinity
    return {"difference": kept, "tolerance": tolerance, "ok": difference <= tolerance}


def run(make: Callable[[], Mapping[str, Check]], until: float, say: Callable[[str], None]) -> Found:
    """Run the checks that are made one after another; those that begin after ``until``, by time.monotonic, are skipped.
    None of them ends the others by its error."""
    found: Found = {}
    try:
        checks = make()
    except Exception as error:
        checks = {}
        found["all"] = _broken(error)
    for name, check in checks.items():
        if time.monotonic() >= until:
            found[name] = {"skipped": True}
            continue
        start = time.monotonic()
        try:
            found[name] = check()
        except Exception as error:
            found[name] = _broken(error)
        say(f"{name}: {_said(found[name])} ({time.monotonic() - start:.1f} s)")
    return found


def _broken(error: Exception) -> dict[str, Any]:
    where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-FRAMES:]]
    return {"ok": False, "error": f"{type(error).__name__}: {error}", "where": where}


def _said(result: Mapping[str, Any]) -> str:
    if "error" in result:
        return str(result["error"]).splitlines()[0]
    return ", ".join(f"{key} {_number(value)}" for key, value in result.items() if not isinstance(value, (dict, list)))


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def failed(found: Found) -> list[str]:
    """Checks that found what should not be."""
    return [name for name, result in found.items() if not result.get("ok", True)]


def summary(section: str, found: Found) -> str:
    """A section in a line."""
    ran = [result for result in found.values() if "skipped" not in result]
    checked = [result for result in ran if "ok" in result]
    differences = [r["difference"] for r in ran if isinstance(r.get("difference"), float)]
    bad, parts = failed(found), []
    if checked:
        parts.append(f"{len(checked) - len(bad)} of {len(checked)} as they should be")
    if len(checked) < len(ran):
        parts.append(f"{len(ran) - len(checked)} timed")
    if differences:
        parts.append(f"differences up to {max(differences):.2g}")
    if bad:
        parts.append(f"NOT {_some(bad)}")
    if len(ran) < len(found):
        parts.append(f"no time for {len(found) - len(ran)}")
    return f"{section:12} " + "; ".join(parts)


def _some(names: Iterable[str], most: int = 4) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
