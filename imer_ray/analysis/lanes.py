"""What ran where in a study: the runs of its stages, in lanes per machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from imer_ray.analysis.labels import duration
from imer_ray.analysis.progress import search_seconds
from imer_ray.errors import printable
from imer_ray.results.study import Study
from imer_ray.results.timeline import FILE_NAME, read_timeline

STORE = "from the store"  # the lane of stages that lay there before the study wanted them
MOST = 2000  # runs that a page stays quick with
CUT_SHORT = ("stopped", "lost", "failed", "running")


@dataclass(frozen=True)
class Lanes:
    """The runs of a study's stages.

    Attributes:
        runs: stage, kind, status, start and end (minutes of searching), seconds, waiters (in words), reused (how many
            got the result without paying for it) and place: the height of its bar, one for each that runs at a time.
        names: each machine's name and the middle of its bars' heights, from the top.
        kinds: the kinds of stages, those that took longest first.
    """

    runs: pd.DataFrame
    names: dict[str, float]
    kinds: list[str]

    @property
    def num_places(self) -> int:
        """Heights that are taken."""
        return int(self.runs["place"].max()) + 1

    def of(self, kind: str) -> pd.DataFrame:
        """A kind's runs on a machine."""
        return self.runs[(self.runs["kind"] == kind) & (self.runs["status"] != "found")]

    @property
    def found(self) -> pd.DataFrame:
        """What was found in the store."""
        return self.runs[self.runs["status"] == "found"]


def lanes(study: Study) -> Lanes | None:
    """The timeline in a study's folder; None if there is none, or nothing ran.

    Raises:
        UserError: the file is damaged.
    """
    rows = [_printable(row) for row in read_timeline(study.folder / FILE_NAME)]
    if not rows:
        return None
    runs = pd.DataFrame(rows)
    if len(runs) > MOST:
        runs = runs.nlargest(MOST, "seconds").sort_values("started", ignore_index=True)
    for column in ("started", "finished"):
        runs[column] = pd.to_datetime(runs[column], unit="s", utc=True)
    spans = pd.concat([study.frame[["started", "finished"]], runs[["started", "finished"]]])
    runs["start"], runs["end"] = (search_seconds(spans, runs[column]) / 60 for column in ("started", "finished"))
    runs["reused"] = [max(0, len(w) - (s != "found")) for w, s in zip(runs["waiters"], runs["status"], strict=True)]
    runs["waiters"] = [_in_words(names, study.name) for names in runs["waiters"]]
    runs["lane"] = _lane_names(runs)
    names: dict[str, float] = {}
    runs["place"] = 0
    below = 0
    for name in sorted(set(runs["lane"]) - {STORE}) + [STORE] * (STORE in set(runs["lane"])):
        some = runs[runs["lane"] == name]
        taken = pd.Series(0, some.index) if name == STORE else pd.Series(packed(some["start"], some["end"]), some.index)
        runs.loc[some.index, "place"] = below + taken
        names[name] = below + int(taken.max()) / 2
        below += int(taken.max()) + 1
    took = runs[runs["status"] != "found"].groupby("kind")["seconds"].sum().sort_values(ascending=False)
    return Lanes(runs, names, [str(kind) for kind in took.index])


def statement(made: Lanes) -> str:
    """What was computed, reused, found and lost, in a sentence or two."""
    ended = made.runs[~made.runs["status"].isin(("found", "running"))]
    computed = ended[ended["status"] == "computed"]
    took, reused = duration(computed["seconds"].sum()), computed["reused"].sum()
    said = f"{len(computed)} stages were computed in {took} and reused {reused} times"
    if len(made.found):
        said += f"; {len(made.found)} more lay in the store"
    counts = ended["status"].value_counts()
    short = [f"{counts[status]} {status}" for status in ("stopped", "lost", "failed") if status in counts]
    if short:
        spent = ended[ended["status"] != "computed"]["seconds"].sum()
        said += f". Runs that did not finish: {', '.join(short)}, after {duration(spent)}"
    return said + "."


def _printable(row: Mapping[str, Any]) -> dict[str, Any]:
    made = {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
    return made | {"waiters": [printable(str(name)) for name in row["waiters"]]}


def _in_words(waiters: Sequence[str], study: str) -> str:
    """``trial 3, 7, baseline-zero``"""
    own = [waiter.removeprefix(f"{study}-") for waiter in waiters if waiter.startswith(f"{study}-")]
    others = [waiter for waiter in waiters if not waiter.startswith(f"{study}-")]
    return ", ".join([f"trial {', '.join(own)}"] * bool(own) + others)


def _lane_names(runs: pd.DataFrame) -> list[str]:
    """The machine's name, with the node's where one machine had several."""
    nodes = runs[runs["status"] != "found"].groupby("host")["node"].nunique()
    names = []
    for host, node, status in runs[["host", "node", "status"]].itertuples(index=False):
        several = status != "found" and nodes[host] > 1
        names.append(STORE if status == "found" else f"{host or 'here'} {node[:6]}" if several else host or "here")
    return names


def packed(starts: pd.Series, ends: pd.Series) -> list[int]:
    """For each span the first row that is free from its start on."""
    order = np.argsort(starts.to_numpy(), kind="stable")
    free: list[float] = []
    rows = [0] * len(starts)
    for i in order:
        row = next((row for row, until in enumerate(free) if until <= starts.iloc[i]), len(free))
        free[row : row + 1] = [float(ends.iloc[i])]
        rows[i] = row
    return rows
