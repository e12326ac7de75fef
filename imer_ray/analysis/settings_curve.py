"""Quality for each value of a setting, over all points of a study that have it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from imer_ray.results.schema import CONFIG_PREFIX, UserError
from imer_ray.results.study import Study

LOSS_WEIGHTS = "loss."
SYMBOLS = {"loss.lambda_g": "λ$_g$", "loss.lambda_al": "λ$_{al}$", "loss.lambda_c": "λ$_c$"}
MAX_VALUES = 12  # so many different values have a mean each, more are put into `NUM_BINS` bins of equal count
NUM_BINS = 6
LEVEL = 0.95


def weights_of(study: Study) -> list[str]:
    """The loss weights in which a study's points differ."""
    return [path for path in study.varying if path.startswith(LOSS_WEIGHTS)]


def checked(study: Study, paths: Sequence[str]) -> list[str]:
    """Raises UserError unless every path is a setting of the study's points."""
    known = [c.removeprefix(CONFIG_PREFIX) for c in study.points if c.startswith(CONFIG_PREFIX)]
    for path in paths:
        if path not in known:
            raise UserError(f"{study.folder}: no setting {path} among its points; it has {', '.join(sorted(known))}")
    return list(paths)


def curve(values: pd.Series, quality: pd.Series) -> pd.DataFrame:
    """``x, mean, low, high, count`` of the points' quality for each value of a setting, or bin of values.

    low and high end the 95 % interval of the mean over points (Student's t), NaN where there is only one point. In a
    study the other settings differ too, so that the interval is of the average over them.
    """
    known = pd.DataFrame({"value": values, "quality": quality.astype(float)}).dropna()
    groups: pd.Series = known["value"]
    if pd.api.types.is_numeric_dtype(groups) and groups.nunique() > MAX_VALUES:
        groups = pd.qcut(groups.rank(method="first"), NUM_BINS, labels=False)
    rows = []
    for _, some in known.groupby(groups, sort=True):
        count, mean = len(some), float(some["quality"].mean())
        half = stdtrit(count - 1, 0.5 + LEVEL / 2) * some["quality"].std() / np.sqrt(count) if count > 1 else np.nan
        x = some["value"].iloc[0] if some["value"].nunique() == 1 else float(some["value"].median())
        rows.append({"x": x, "mean": mean, "low": mean - half, "high": mean + half, "count": count})
    return pd.DataFrame(rows, columns=["x", "mean", "low", "high", "count"])
