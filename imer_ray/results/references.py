"""Which studies use which artefacts, and which of these their fronts and exports stand on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from imer_ray.errors import UserError
from imer_ray.results.schema import RESULTS
from imer_ray.results.study import load


@dataclass(frozen=True, kw_only=True)
class Uses:
    """Key -> names of the studies that asked for it; ``pinned`` keys carry a front or an export."""

    studies: Mapping[str, Collection[str]]
    fronts: Mapping[str, Collection[str]]
    num_studies: int

    @classmethod
    def none(cls) -> Uses:
        return cls(studies={}, fronts={}, num_studies=0)

    @property
    def pinned(self) -> frozenset[str]:
        return frozenset(self.fronts)

    def of(self, key: str) -> str:
        """The studies in words, those whose front it carries with a star."""
        fronts = self.fronts.get(key, ())
        return ", ".join(f"{name}*" if name in fronts else name for name in sorted(self.studies.get(key, ())))


def read_uses(runs: Path) -> Uses:
    """Look through every study under a folder.

    Raises:
        UserError: there is no such folder, or a study's results cannot be read, and with them what it needs.
    """
    if not runs.is_dir():
        raise UserError(f"runs={runs}: no such folder; name that of the studies, or runs=null to keep no front")
    studies: dict[str, set[str]] = defaultdict(set)
    fronts: dict[str, set[str]] = defaultdict(set)
    folders = sorted(path.parent for path in runs.rglob(RESULTS))
    for folder in folders:
        study = load(folder)
        name = folder.relative_to(runs).as_posix()
        needed = {*_names(study.front), *_exported(folder)}
        for point, stages in zip(_names(study.frame), study.frame["stages"], strict=True):
            for key in json.loads(stages or "{}").values():
                studies[key].add(name)
                if point in needed:
                    fronts[key].add(name)
    return Uses(studies=studies, fronts=fronts, num_studies=len(folders))


def _names(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Trial and point of each row; repeats with other seeds have those of what they repeat."""
    return list(zip(rows["trial"], rows["point"], strict=True))


def _exported(folder: Path) -> Iterator[tuple[int, int]]:
    """What files in ``export/`` were made from; it may have left the front since."""
    for path in (folder / "export").glob("*.yaml"):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))["imer_ray"]
            yield int(content["trial"]), int(content["point"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError):  # a file of the user's own
            continue
