"""Published numbers with their source, to be laid beside our own (``published.yaml`` says why not to compare them)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pandas as pd
import yaml

FIXED_KEYS = ("data", "protocol", "system", "source", "settings")
CAUTION = "published, not comparable one to one"
MARK, REPRODUCED = "†", "reproduced"


@dataclass(frozen=True)
class Published:
    """Rows as `imer_ray.evaluation.tables.summarise` has them, and their footnotes.

    Attributes:
        rows: ``Model`` (with the number of its source, as ``IMDer [1]``, and a mark where its released code chose or
            counted otherwise than one would think), ``Setting``, ``Source`` and metrics.
        footnotes: what each number and mark refers to, one line each.
    """

    rows: pd.DataFrame
    footnotes: list[str]


def published(data: str, protocol: str) -> Published:
    """All published rows for a data set (``mosi`` or ``mosei``) under a protocol (``fixed`` or ``random``)."""
    content = _content()
    numbers: dict[str, int] = {}
    marked: dict[str, str] = {}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for table in content["tables"]:
        if (table["data"], table["protocol"]) != (data, protocol):
            continue
        number = numbers.setdefault(table["source"], len(numbers) + 1)
        system, source = table["system"], content["sources"][table["source"]]
        if system in content["marks"] and source["kind"] != REPRODUCED:
            marked[system] = f"{MARK} {system}: {content['marks'][system]}."
        model = f"{system}{MARK if system in marked else ''} [{number}]"
        for i, setting in enumerate(table["settings"]):
            row = rows.setdefault((model, setting), {"Model": model, "Setting": setting, "Source": source["cite"]})
            row |= {metric: values[i] for metric, values in table.items() if metric not in FIXED_KEYS}
    footnotes = [_footnote(number, content["sources"][source]) for source, number in numbers.items()]
    return Published(pd.DataFrame(list(rows.values())), [*footnotes, *marked.values()])


def data_of(sha256: str | None) -> str | None:
    """The data set that a file of this SHA-256 is, as far as numbers were published for it."""
    return next((name for name, sums in _content()["files"].items() if sha256 in sums.values()), None)


def _footnote(number: int, source: Mapping[str, Any]) -> str:
    said = "; ".join([source["kind"], *([source["remark"]] if "remark" in source else [])])
    return f"[{number}] {CAUTION}: {source['cite']} ({said})."


@functools.cache
def _content() -> dict[str, Any]:
    return yaml.safe_load(resources.files("imer_ray.analysis").joinpath("published.yaml").read_text(encoding="utf-8"))
