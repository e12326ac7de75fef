"""Tables of trained systems: a row per system and setting (missing pattern or rate), MMSA's metrics over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from imer_ray.evaluation.metrics import COVERAGES, PREDICTIVE_METRICS
from imer_ray.evaluation.significance import half_width

COVERAGE = "coverage_90"  # share of labels within the 90 % interval (`imer_ray.prediction.coverage`)
METRICS = (
    "Has0_acc_2",
    "Has0_F1_score",
    "Non0_acc_2",
    "Non0_F1_score",
    "Mult_acc_5",
    "Mult_acc_7",
    "MAE",
    "Corr",
    COVERAGE,
    *PREDICTIVE_METRICS,
)
PERCENT = (*METRICS[:6], COVERAGE, *COVERAGES)  # the others are reported as they are
BAYES, ZERO = "bayes", "zero"  # the optimum, where it is known, and what recovery has to beat
GAP = "gap_closed"


def summarise(runs: Mapping[str, Sequence[Mapping[str, float]]], split: str) -> pd.DataFrame:
    """One row per system and setting: ``Model, Setting, Seeds``, then of each metric its mean, ``<metric>_std`` and the
    ends of the mean's 95 % interval over seeds, ``<metric>_low`` and ``<metric>_high``; a single seed has no such
    three, and they are NaN.

    Args:
        runs: system -> one result of `evaluate` per seed.
        split: whose metrics to take. The setting ``mean`` is the mean over settings in which something is missing.
    """
    rows: list[dict[str, Any]] = []
    for system, results in runs.items():
        found = [(setting, metric) for result in results for setting, metric, _ in settings_of(result, split)]
        for setting in dict.fromkeys(setting for setting, _ in found):
            row: dict[str, Any] = {"Model": system, "Setting": setting, "Seeds": len(results)}
            for metric in METRICS:
                if (setting, metric) in found:
                    key = f"{split}.{metric}" if setting == "mean" else f"{split}.{setting}.{metric}"
                    values = pd.Series([r[key] for r in results if key in r], dtype=float)
                    scale = 100 if metric in PERCENT else 1
                    row[metric] = scale * values.mean()
                    row[f"{metric}_std"] = scale * values.std(ddof=1)
                    half = scale * half_width(values)
                    row[f"{metric}_low"], row[f"{metric}_high"] = row[metric] - half, row[metric] + half
            rows.append(row)
    return _with_gap_closed(pd.DataFrame(rows))


def _with_gap_closed(frame: pd.DataFrame) -> pd.DataFrame:
    """``gap_closed``: percent of the way from zero-filling's Non0_acc_2 to the Bayes optimum's, per setting."""
    if not {BAYES, ZERO} <= set(frame["Model"]):
        return frame
    accuracy = frame.pivot(index="Setting", columns="Model", values="Non0_acc_2")
    zero, gap = accuracy[ZERO], accuracy[BAYES] - accuracy[ZERO]
    closed = [100 * (a - zero[s]) / gap[s] for s, a in zip(frame["Setting"], frame["Non0_acc_2"], strict=True)]
    return frame.assign(**{GAP: closed})


def settings_of(result: Mapping[str, float], split: str) -> list[tuple[str, str, float]]:
    """(setting, metric, value) of a split's metrics; the mean over settings is the setting ``mean``."""
    out = []
    for key, value in result.items():
        head, _, rest = key.partition(".")
        if head == split:
            setting, _, metric = rest.rpartition(".")
            out.append((setting or "mean", metric, value))
    return out


def markdown(frame: pd.DataFrame, metrics: Sequence[str] = ("Non0_acc_2", "Non0_F1_score", "MAE")) -> str:
    """Settings down, systems across, in each cell ``mean ± std`` of the metrics that were computed, or one seed's."""
    shown = [m for m in metrics if m in frame]
    systems = list(dict.fromkeys(frame["Model"]))
    head = ["available", *(f"{s} {m}" for m in shown for s in systems)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for setting in dict.fromkeys(frame["Setting"]):
        cells = [str(setting)]
        for metric in shown:
            for system in systems:
                row = frame[(frame["Model"] == system) & (frame["Setting"] == setting)]
                cells.append(_cell(row.iloc[0], metric) if len(row) else "–")
        lines.append("| " + " | ".join(cells) + " |")
    if GAP in frame:
        others = [s for s in systems if s not in (BAYES, ZERO)]
        lines[0] += "".join(f" {s} gap closed % |" for s in others)
        lines[1] += "---|" * len(others)
        closed = frame.pivot(index="Setting", columns="Model", values=GAP)
        for i, setting in enumerate(dict.fromkeys(frame["Setting"])):
            lines[i + 2] += "".join(f" {closed.loc[setting, s]:.0f} |" for s in others)
    return "\n".join(lines)


def spread(frame: pd.DataFrame) -> str:
    """What follows a mean in `markdown`, in words."""
    if (frame["Seeds"] > 1).any():
        return "± one standard deviation over seeds."
    return "One seed: how far others would be from it is not known."


def _cell(row: pd.Series, metric: str) -> str:
    digits, deviation = 1 if metric in PERCENT else 3, row[f"{metric}_std"]
    return f"{row[metric]:.{digits}f}" + ("" if pd.isna(deviation) else f" ± {deviation:.{digits}f}")
