"""Which settings matter for an objective: Optuna's PED-ANOVA over the points of a results file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_POINTS = 8
BEST_SHARE = 0.25  # "good" is the best quarter: 0.1, Optuna's default, is five points only from fifty on


def importances(settings: pd.DataFrame, objective: Sequence[float]) -> pd.Series:
    """Share of each setting in what tells the best quarter of points (minimised objective) from all points.

    Args:
        settings: one row per point, one column per searched setting; missing where a condition switched it off.
        objective: [N], finite.

    Returns:
        Importances that sum to 1 (all 0 if nothing matters), highest first; empty below ``MIN_POINTS`` points or if no
        setting varies.

    Source: Watanabe et al., PED-ANOVA, 2023, arXiv 2304.10255; for conditional settings, Conditional PED-ANOVA, 2026,
    arXiv 2601.20800. Both as in Optuna, for which the points are made a study again.
    """
    distributions = {key: made for key in settings if (made := _distribution(settings[key])) is not None}
    if len(settings) < MIN_POINTS or not distributions:
        return pd.Series(dtype=float)
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    trials = [
        optuna.trial.create_trial(
            value=float(value), params=params, distributions={k: distributions[k] for k in params}
        )
        for value, row in zip(objective, settings[list(distributions)].to_dict("records"), strict=True)
        for params in [{key: setting for key, setting in row.items() if not pd.isna(setting)}]
    ]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # creating the study is no news
    try:
        study = optuna.create_study()
        study.add_trials(trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few points in one branch of a condition: said in the figure's caption
            found = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE), normalize=False
            )
    finally:
        optuna.logging.set_verbosity(verbosity)
    shares = pd.Series(found, dtype=float)
    total = shares.sum()
    return (shares / total if total > 0 else shares).sort_values(ascending=False, kind="stable")


def _distribution(column: pd.Series) -> BaseDistribution | None:
    """The range a setting was seen to take, on a log scale if it spans a factor of ten; None if it never varies."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values = column.dropna()
    if values.empty or column.nunique(dropna=False) == 1:
        return None
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return CategoricalDistribution(sorted(values.unique().tolist(), key=str))
    low, high = float(values.min()), float(values.max())
    log = low > 0 and high >= 10 * low
    if (values % 1 == 0).all():  # whole numbers, that missing rows may have turned into floats
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)
