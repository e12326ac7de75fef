"""How far a study's first point is: which of its stages are there, and how long the others take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from imer_ray.errors import UserError
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.graph import Stage, most_needed_first
from imer_ray.stages.manifest import FILE_NAME, DamagedArtefact, Manifest
from imer_ray.stages.store import Store

MAX_LOOKED_AT = 200  # artefacts, the latest ones, whose times say how long stages take
DONE = ("computed", "found")  # how a stage's run ended whose artefact is there


def past_seconds(store: Store, data: Collection[str]) -> dict[str, list[float]]:
    """Kind of stage -> what its latest artefacts of these ``data`` took to compute; empty where that costs a request
    for each."""
    if "://" in store.root:
        return {}
    found: dict[str, list[float]] = defaultdict(list)
    paths = sorted(Path(store.root).glob(f"*/{FILE_NAME}"), key=_modified, reverse=True)
    for path in paths[:MAX_LOOKED_AT]:
        try:
            manifest = Manifest.from_json(path.read_bytes())
        except (OSError, DamagedArtefact, UserError):  # evicted meanwhile, or whoever needs it will say so
            continue
        if manifest.stage["data"] in data:
            found[manifest.name.partition("[")[0]].append(manifest.seconds)
    return found


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


class FirstPoint:
    r"""The stages of a configuration that is likely to be the first point.

    Stages that do not need each other run at the same time, if there is hardware for them. So what is left is the
    longest chain of missing stages, each as long as the median of its kind's on the same data before:

    .. math:: T(s) = \max_{i \in \mathrm{inputs}(s)} T(i) + t_{kind(s)}, \qquad T = 0 \text{ for what is there}

    It is a time of computing: processes that start and stages that wait for hardware come on top.

    Args:
        final: the configuration's last stage.
        store: what is there already, and how long it took.
    """

    def __init__(self, final: Stage, store: Store) -> None:
        self._stages = list(final.in_order())
        self._there = {stage.key for stage in self._stages if _is_there(store, stage.key)}
        self._seconds: dict[str, list[float]] = past_seconds(store, {stage.data for stage in self._stages})
        self._counted: set[str] = set()

    def follow(self, runs: Iterable[Mapping[str, Any]]) -> None:
        """Take in the runs of stages of a timeline."""
        for run in runs:
            if run["status"] in DONE and run["run"] not in self._counted:
                self._counted.add(run["run"])
                self._there.add(run["key"])
                self._seconds.setdefault(run["kind"], []).append(run["seconds"])

    @property
    def missing(self) -> list[Stage]:
        return [stage for stage in self._stages if stage.key not in self._there]

    @property
    def seconds(self) -> float | None:
        """Of computing until the point is there; None if nothing is known of a missing stage's kind."""
        ends: dict[str, float] = {}
        for stage in self._stages:
            if stage.key in self._there:
                ends[stage.key] = 0.0
            elif took := self._seconds.get(stage.kind):
                ends[stage.key] = max((ends[i.key] for i in stage.inputs.values()), default=0.0) + median(took)
            else:
                return None
        return ends[self._stages[-1].key]

    def __str__(self) -> str:
        """``1 of 5 stages done, about 12 s of computing left``."""
        count = len(self._stages)
        said = f"{count - len(self.missing)} of {count} stages done"
        return said if self.seconds is None else f"{said}, about {max(1, round(self.seconds))} s of computing left"

    def announcement(self) -> str:
        """What a search begins with, in a sentence."""
        missing = list(dict.fromkeys(stage.kind for stage in most_needed_first(self.missing)))
        if not missing:
            return "the stages of a first point are there: it takes as long as Ray's start"
        known = (
            "how long they take is not known here yet"
            if self.seconds is None
            else f"about {max(1, round(self.seconds))} s of computing, as such stages took before"
        )
        return f"Ray is started, then a first point needs {', '.join(missing)}: {known}"


def _is_there(store: Store, key: str) -> bool:
    try:
        return store.find(key) is not None
    except (OSError, MissingArtefact, UserError):  # whoever needs it will say so
        return False
