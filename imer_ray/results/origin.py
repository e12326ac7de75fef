"""What a study's numbers are of: its clips and missing protocol, from its file's words or its rows' configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from imer_ray.errors import printable
from imer_ray.results.schema import DataInfo


def data_of(info: Mapping[str, Any], frame: pd.DataFrame) -> DataInfo | None:
    """The clips; of files from before schema version 3 their name and content only, None if no row says them."""
    if info.get("data") is not None:
        return DataInfo(**info["data"])
    config = _configuration(frame)
    name, fingerprint = _named(config, "data"), config.get("data_fingerprint")
    if name is None or not isinstance(fingerprint, str):
        return None
    return DataInfo(name=name, fingerprint=printable(fingerprint), frames=0, clips={}, labelled={}, scored={})


def protocol_of(frame: pd.DataFrame) -> str | None:
    """The name of the missing protocol, None if no row says it."""
    return _named(_configuration(frame), "protocol")


def _named(config: Mapping[str, Any], group: str) -> str | None:
    component = config.get(group)
    name = component.get("name") if isinstance(component, Mapping) else None
    return printable(name) if isinstance(name, str) else None


def _configuration(frame: pd.DataFrame) -> Mapping[str, Any]:
    """Any row's: data and protocol are those of the study."""
    texts = frame["config"].dropna() if "config" in frame else pd.Series(dtype=object)
    try:
        content = json.loads(texts.iloc[0]) if len(texts) else {}
    except (TypeError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, Mapping) else {}


def versions(column: pd.Series) -> list[str]:
    """``torch 2.13.0``, or ``torch 2.12.0 and 2.13.0``: the packages that rows say they were computed with."""
    found: dict[str, list[str]] = {}
    for text in column.dropna().unique():
        try:
            packages = json.loads(text)
        except (TypeError, ValueError, RecursionError):
            continue
        for package, version in packages.items() if isinstance(packages, Mapping) else ():
            found.setdefault(printable(str(package)), []).append(printable(str(version)))
    return [f"{package} {' and '.join(dict.fromkeys(several))}" for package, several in found.items()]
