"""The comparison of systems as people read it: systems down, settings across, cost and significance beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from imer_ray.evaluation.tables import METRICS, PERCENT, settings_of
from imer_ray.results.schema import COSTS
from imer_ray.results.text_encoder import ENCODER, SHAPES, SUFFIX

ALPHA = 0.05
BETTER, WORSE = "▲", "▼"
NAMES = {
    "Has0_acc_2": "Has0 ACC2 (%)",
    "Has0_F1_score": "Has0 F1 (%)",
    "Non0_acc_2": "ACC2 (%)",
    "Non0_F1_score": "F1 (%)",
    "Mult_acc_5": "ACC5 (%)",
    "Mult_acc_7": "ACC7 (%)",
    "MAE": "MAE",
    "Corr": "Corr",
    "CRPS": "CRPS",
    "NLL": "NLL (nats)",
}
ORDER = (
    *("Non0_F1_score", "Non0_acc_2", "Mult_acc_7", "MAE", "Corr", "Mult_acc_5", "Has0_acc_2", "Has0_F1_score"),
    *("CRPS", "NLL"),
)
LOWER_IS_BETTER = ("MAE", "CRPS", "NLL")
COST_NAMES = {
    "nfe": "NFE",
    "flops_per_clip": "MFLOPs/clip",
    "latency_ms_b1": "ms/clip",
    "clips_per_s": "clips/s",
    "speedup_vs_imder": "× IMDer",
    "speedup_vs_imder_b1": "× IMDer, one clip",
    "num_parameters": "M parameters",
}
IN_MILLIONS = ("flops_per_clip", "num_parameters")


def with_p_values(frame: pd.DataFrame, p_values: Mapping[str, Mapping[str, float]], split: str) -> pd.DataFrame:
    """The table of `summarise` with ``<metric>_p``: system -> ``<split>.<setting>.<metric>`` -> adjusted p-value."""
    added = {}
    for metric in (metric for metric in METRICS if metric in frame):
        keys = [f"{split}.{metric}" if s == "mean" else f"{split}.{s}.{metric}" for s in frame["Setting"]]
        found = [p_values.get(m, {}).get(key, math.nan) for m, key in zip(frame["Model"], keys, strict=True)]
        added[f"{metric}_p"] = pd.Series(found, index=frame.index, dtype=float)
    return frame.assign(**added)


def with_rows(frame: pd.DataFrame, rows: pd.DataFrame | None) -> pd.DataFrame:
    """The table with rows from elsewhere below it, in the same settings and metrics only; the rest of them is NaN."""
    if rows is None:
        return frame
    metrics = [metric for metric in METRICS if metric in frame and metric in rows]
    known = rows[rows["Setting"].isin(frame["Setting"]) & rows[metrics].notna().any(axis=1)]
    return pd.concat([frame, known[["Model", "Setting", "Source", *metrics]]], ignore_index=True)


def with_costs(frame: pd.DataFrame, costs: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """The table with the cost columns of each system, and those of its speedups with a text encoder; what was not
    measured is NaN."""
    names = (*COSTS, *(name + SUFFIX for name in SHAPES))
    columns = {name: [costs.get(m, {}).get(name, math.nan) for m in frame["Model"]] for name in names}
    return frame.assign(**columns)


def tables(frame: pd.DataFrame, against: str | None) -> Iterator[str]:
    """One Markdown table per metric, the most looked at first: systems down, settings across, cost at the right."""
    settings = [setting for setting in dict.fromkeys(frame["Setting"]) if setting != "mean"] + ["mean"]
    costs = [name for name in COST_NAMES if name in frame and frame[name].notna().any()]
    for metric in (metric for metric in ORDER if metric in frame):
        heads = [NAMES[metric], *settings, *(COST_NAMES[name] for name in costs)]
        lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
        reference = frame[frame["Model"] == against].set_index("Setting")[metric].to_dict()
        for system, rows in frame[frame[metric].notna()].groupby("Model", sort=False):
            at = {row["Setting"]: row for row in rows.to_dict("records")}
            cells = [_cell(at[s], metric, reference.get(s)) if s in at else "–" for s in settings]
            cells += [_cost(name, rows[name].iloc[0]) for name in costs]
            lines.append("| " + " | ".join([str(system), *cells]) + " |")
        yield "\n".join(lines)


def by_seed(runs: Mapping[str, Mapping[int, Any]], split: str) -> pd.DataFrame:
    """One row per system, seed, setting and metric, with the hash of the masks that were read under."""
    rows = []
    for system, scored in runs.items():
        for seed, one in scored.items():
            for setting, metric, value in settings_of(one.metrics, split):
                row = {"Model": system, "Seed": seed, "Setting": setting, "Metric": metric, "Value": value}
                rows.append(row | {"Masks": one.masks.get(setting, "")})
    return pd.DataFrame(rows)


def notes(frame: pd.DataFrame, against: str | None) -> list[str]:
    """What the numbers and marks mean, one line each."""
    seeds = frame["Seeds"].dropna().astype(int)
    over = f"{seeds.min()} to {seeds.max()}" if seeds.min() < seeds.max() else str(seeds.max())
    said = "a single seed" if seeds.max() == 1 else f"mean ± half of the 95 % interval over {over} seeds (Student's t)"
    lines = [f"{said}; `mean` is over the settings in which something is missing"]
    if against is not None:
        lines.append(
            f"{BETTER} better, {WORSE} worse than {against}, p < {ALPHA:g}: paired over seeds and clips (Obuchowski "
            "and Rockette 1995), settings corrected after Holm"
        )
    for column in SHAPES:
        left = frame.reindex(columns=["Model", column + SUFFIX]).dropna().drop_duplicates("Model")
        if len(left):
            said = ", ".join(f"{system} {value:.1f}" for system, value in left.itertuples(index=False))
            name = COST_NAMES[column]
            lines.append(f"{name} is of what follows the text encoder; with {ENCODER} on both sides: {said}")
    return lines


def _cell(row: Mapping[str, Any], metric: str, reference: float | None) -> str:
    digits = 1 if metric in PERCENT else 3
    half = row[f"{metric}_high"] - row[metric]
    text = f"{row[metric]:.{digits}f}" + ("" if math.isnan(half) else f" ± {half:.{digits}f}")
    if reference is None or not row[f"{metric}_p"] < ALPHA:
        return text
    gain = (row[metric] - reference) * (-1 if metric in LOWER_IS_BETTER else 1)
    return f"{text} {BETTER if gain > 0 else WORSE}"


def _cost(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    value = value / 1e6 if name in IN_MILLIONS else value
    return f"{value:.0f}" if name == "nfe" or value >= 100 else f"{value:.3g}"
