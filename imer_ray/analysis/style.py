"""Colours and marks that the figures and the page share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imer_ray.results.schema import CONFIG_PREFIX
from imer_ray.results.study import Study

# Told apart under the common colour-vision deficiencies; after Okabe and Ito, Color Universal Design, 2008.
# Each name has a shade for light paper and one for a dark screen.
LIGHT = {
    "series0": "#0072b2",
    "series1": "#d55e00",
    "series2": "#009e73",
    "series3": "#b4568f",
    "series4": "#7a5cc0",
    "series5": "#8c6d1f",
    "ink": "#1b1f24",
    "muted": "#5b6470",
    "faint": "#c3c9d1",
    "grid": "#e6e9ed",
    "paper": "#ffffff",
}
DARK = {
    "series0": "#56b4e9",
    "series1": "#f28e4f",
    "series2": "#2fc79a",
    "series3": "#e295c2",
    "series4": "#b49cf0",
    "series5": "#e0be5a",
    "ink": "#e8ebef",
    "muted": "#9aa4b1",
    "faint": "#4a535f",
    "grid": "#2b323b",
    "paper": "#171b21",
}
NUM_SERIES = 6
STATUS_SERIES = {"complete": "series0", "stopped": "series5", "failed": "series1"}
PICK_SERIES = {"quality": "series0", "knee": "series2", "speed": "series1"}
FURTHER_PICK = "series3"  # of a further objective
MARKS = (("o", "circle"), ("s", "square"), ("^", "triangle-up"), ("v", "triangle-down"), ("P", "cross"), ("X", "x"))
# What colour and mark stand for: the first pair of settings whose colour tells points apart, or else the last.
LOOKS = (("diffusion.prior", "diffusion.backbone"), ("diffusion.sde", "diffusion.sampler"))


def series(i: int) -> str:
    return f"series{i % NUM_SERIES}"


def system_looks(systems: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Line style of each compared system: colour and mark, and beyond `NUM_SERIES` systems another dash as well."""
    dashes = ("-", (0, (5, 1.5)), (0, (2, 1)))
    return {
        system: {
            "color": LIGHT[series(i)],
            "marker": MARKS[i % len(MARKS)][0],
            "linestyle": dashes[i // NUM_SERIES % len(dashes)],
            "linewidth": 1.3,
            "markersize": 3.5,
        }
        for i, system in enumerate(systems)
    }


def groups(studies: Sequence[Study], path: str) -> list[str]:
    """The values that a setting takes among the studies' points, sorted; empty if nobody has it."""
    column = CONFIG_PREFIX + path
    found: set[Any] = set()
    for study in studies:
        if column in study.points:
            found |= {str(value) for value in study.points[column].dropna().unique()}
    return sorted(found)


@dataclass(frozen=True)
class Groups:
    """The values of one setting among studies' points, each with a look of its own."""

    path: str
    values: Sequence[str]

    @property
    def names(self) -> list[str]:
        """For a legend, where ``none`` alone would not say of what."""
        return [f"no {self.path.rpartition('.')[2]}" if value == "none" else value for value in self.values]

    def __call__(self, row: Mapping[str, Any]) -> int:
        """Which of the values a point has; 0 where it has none."""
        value = str(row.get(CONFIG_PREFIX + self.path))
        return self.values.index(value) if value in self.values else 0


def looks(studies: Sequence[Study]) -> tuple[Groups, Groups]:
    """By colour and by mark."""
    found = [tuple(Groups(path, groups(studies, path)) for path in pair) for pair in LOOKS]
    colours, marks = next((pair for pair in found if len(pair[0].values) > 1), found[-1])
    return colours, marks
