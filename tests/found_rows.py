"""What two searches must have in common if only their luck was different."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def rows(study: Path) -> pd.DataFrame:
    """What was found, without when, where and how fast."""
    found = pd.read_parquet(study / "results.parquet").sort_values(["trial", "point"], ignore_index=True)
    told = [name for name in found if name.startswith(("config.", "valid.", "objective.", "keys"))]
    return found[["trial", "point", "seed", "status", *told]]
