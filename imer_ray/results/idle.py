"""Settings that do nothing where nothing is recovered: no value of theirs is to be read, compared or weighed."""

from __future__ import annotations

import pandas as pd

from imer_ray.results.schema import CONFIG_PREFIX

NETWORK, PRIOR = f"{CONFIG_PREFIX}diffusion.backbone", f"{CONFIG_PREFIX}diffusion.prior"
SAMPLING = (f"{CONFIG_PREFIX}diffusion.", f"{CONFIG_PREFIX}bank.")
USED = (NETWORK, PRIOR, f"{CONFIG_PREFIX}bank.folds")  # they say why nothing is sampled, or serve imputers as well
REFINER = f"{CONFIG_PREFIX}refiner"


def without_idle(frame: pd.DataFrame) -> pd.DataFrame:
    """The results without settings that do nothing.

    Where no network evaluation is made (``nfe`` = 0) nothing is sampled, and all that says how has no effect; with
    neither a network nor a prior there is nothing to refine, either.
    """
    never = frame["nfe"] == 0
    nothing = never & _has_neither(frame)
    idle = {
        column: nothing if column.startswith(REFINER) else never
        for column in frame
        if column.startswith(REFINER) or (column.startswith(SAMPLING) and not column.startswith(USED))
    }
    return frame.assign(**{column: frame[column].where(~rows) for column, rows in idle.items() if rows.any()})


def _has_neither(frame: pd.DataFrame) -> pd.Series:
    """Whether each row has neither a network nor a prior."""
    if not {NETWORK, PRIOR} <= set(frame):
        return pd.Series(False, index=frame.index)
    return (frame[NETWORK] == "none") & (frame[PRIOR] == "none")
