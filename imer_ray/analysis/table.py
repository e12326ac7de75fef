"""The front as a table for the terminal."""

from __future__ import annotations

import numpy as np
import pandas as pd

from imer_ray.analysis import progress
from imer_ray.analysis.labels import attained, broken, cost, has_interval, interval, measured, setting, short, title
from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.study import Study

MAX_ROWS = 8
MAX_WIDTH = 110


def render(study: Study) -> str:
    """At most ten lines: what the front is, heads, and up to `MAX_ROWS` points, both ends and the knee among them."""
    if study.points.empty:
        if len(study.infeasible):
            return f"{study.name}: no point to choose; {broken(study)}"
        counts = progress.trials(study)["status"].value_counts()
        said = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no trial has ended"
        return f"{study.name}: no complete point yet ({said})\n{_reasons(study)}".rstrip()
    front = _chosen(study)
    size, total = len(study.front), len(study.points)
    shown = "" if len(front) == size else f", {len(front)} of them shown"
    beside = f"; {broken(study)}" if len(study.infeasible) else ""
    rows = [f"Pareto front of {study.name}: {size} of {total} points{shown}{beside}"]
    columns = _columns(study, front)
    widths = [max(map(len, column)) for column, _ in columns]
    for line in zip(*(column for column, _ in columns), strict=True):
        cells = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, (_, right) in zip(line, widths, columns, strict=True)
        )
        rows.append("  ".join(cells).rstrip())
    return "\n".join(rows)


def _chosen(study: Study) -> pd.DataFrame:
    """The picks, and others spread evenly along the front."""
    front = study.front
    if len(front) <= MAX_ROWS:
        return front
    picks = [front.index.get_loc(index) for index in study.picks.values()]
    others = [i for i in range(len(front)) if i not in picks]
    spread = np.linspace(0, len(others) - 1, MAX_ROWS - len(picks)).round().astype(int)
    return front.iloc[sorted(picks + [others[i] for i in spread])]


def _columns(study: Study, front: pd.DataFrame) -> list[tuple[list[str], bool]]:
    """Columns, each (head and cells, whether aligned right); of the settings those that there is room for."""
    names = {index: name for name, index in study.picks.items()}
    columns: list[tuple[list[str], bool]] = [(["pick", *(names.get(index, "") for index in front.index)], False)]
    columns.append((["trial", *(title(row).removeprefix("trial ") for _, row in front.iterrows())], True))
    for axis in study.axes:
        columns.append(([axis.name, *(measured(axis, value) for value in front[axis.column])], True))
        if has_interval(axis, front):
            columns.append((["95 %", *(interval(axis, row) for _, row in front.iterrows())], True))
    if study.repeated:
        columns.append((["on front", *(attained(study, index) for index in front.index)], True))
    for column, name in (("latency_ms_b1", "ms/clip"), ("nfe", "NFE")):
        if column not in {axis.column for axis in study.axes} and front[column].notna().any():
            columns.append(([name, *(cost(column, value) for value in front[column])], True))
    settings = {
        path: [short(path), *(setting(value) for value in front[CONFIG_PREFIX + path])]
        for path in _telling(study, front)
    }
    shown = _fitting(settings, MAX_WIDTH + 2 - sum(map(_room, (cells for cells, _ in columns))))
    columns.extend((cells, False) for path, cells in settings.items() if path in shown)
    return columns


def _room(cells: list[str]) -> int:
    return max(map(len, cells)) + 2


def _fitting(settings: dict[str, list[str]], room: int) -> set[str]:
    """The settings that there is room for; at each step the one that tells most rows apart, or else the first."""
    shown: list[str] = []
    left = list(settings)
    while left:
        best = max(left, key=lambda path: len(set(zip(*(settings[p] for p in [*shown, path]), strict=True))))
        left.remove(best)
        if _room(settings[best]) <= room:
            shown.append(best)
            room -= _room(settings[best])
    return set(shown)


def _telling(study: Study, front: pd.DataFrame) -> list[str]:
    """The settings that have several values along the front; of a single point, all that it has."""
    if len(front) == 1:
        return [path for path in study.settings if front[CONFIG_PREFIX + path].notna().all()]
    return [path for path in study.settings if front[CONFIG_PREFIX + path].nunique() > 1]


def _reasons(study: Study) -> str:
    """The most frequent reasons of failure."""
    reasons = study.frame["error"].dropna().value_counts().head(3)
    return "\n".join(f"  {count}× {_cut(str(reason))}" for reason, count in reasons.items())


def _cut(text: str) -> str:
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= MAX_WIDTH - 10 else line[: MAX_WIDTH - 11] + "…"
