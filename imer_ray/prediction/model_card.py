"""``README.md`` of a model's folder: a model card as the hub lays it out. Each figure in it is read from
``metrics.csv`` beside it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from imer_ray import __version__
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.data.missing import WORDS
from imer_ray.evaluation.comparison_table import NAMES
from imer_ray.evaluation.tables import COVERAGE, PERCENT
from imer_ray.results.text_encoder import ENCODER, SUFFIX

HEAD = {
    "license": "unknown",
    "library_name": "imer_ray",
    "tags": ["emotion-recognition", "sentiment-analysis", "multimodal", "missing-modalities", "imer_ray"],
    "metrics": ["accuracy", "f1", "mae"],
}
SHOWN = {name: NAMES[name] for name in ("Non0_acc_2", "Non0_F1_score", "MAE", "Corr")} | {COVERAGE: "coverage (%)"}
ANSWERS = {
    "regression": "its sentiment as a number from -3 (negative) to 3 (positive)",
    "binary": "whether its sentiment is negative (below 0) or positive (above 0)",
}
NOT_FOR = (
    "It must not be used to infer what people feel at work or in education, which Regulation (EU) 2024/1689 prohibits "
    "in Article 5(1)(f), nor by police or other authorities or anywhere else where recognising emotions is of high "
    "risk (Annex III) without what Article 26 asks of whoever deploys it, among it human oversight and telling the "
    "people concerned."
)


def together(label: str) -> str:
    """The name in ``metrics.csv`` of the mean over the seeds of the model ``label``."""
    return f"{label} (mean of seeds)"


def card(
    table: bytes,
    label: str,
    config: ExperimentConfig,
    shape: Mapping[str, Any],
    seeds: Sequence[int],
    notes: Sequence[str] = (),
) -> str:
    """The card of the model that is called ``label``.

    Args:
        table: ``metrics.csv``.
        shape: as `imer_ray.evaluation.model_folder.read_shape` gives it.
        seeds: whose models the folder holds.
        notes: what must be said beside its figures.
    """
    frame = pd.read_csv(io.BytesIO(table), dtype={"Setting": str, "Model": str})
    binary = shape.get("label_kind") == "binary"
    head = {**HEAD, "metrics": [m for m in HEAD["metrics"] if m != "mae" or not binary]}
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {label}",
        *_what(config, shape, seeds),
        *_reads(shape),
        "## What it was trained on",
        f"The training clips of `{config.data.name}`, whose content has the fingerprint `{config.data_fingerprint}`.",
        *_quality(frame, label, config, notes),
        *_speed(frame[frame["Model"] == label].iloc[0], config),
        "## What it must not be used for",
        NOT_FOR,
        "## Licence",
        "Of the model: yours to choose when you pass it on; put it into the first lines of this file, where `unknown` "
        "stands. Of the data it learnt from: theirs who made them; their terms may bind what is trained on them too.",
        "## How to cite",
        f"imer_ray {__version__} as its `CITATION.cff` says, whoever made the data, and the papers of the system "
        f"`{config.system}` that its documentation names.",
    ]
    return "\n\n".join(parts) + "\n"


def _what(config: ExperimentConfig, shape: Mapping[str, Any], seeds: Sequence[int]) -> Iterator[str]:
    kind = shape.get("label_kind", "regression")
    named = f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}"
    several = "; its answer is the mean over the seeds" if len(seeds) > 1 else ""
    yield (
        f"Estimates of a clip of somebody who speaks {ANSWERS[kind]}, from language, acoustic and visual features, and "
        f"still answers where one or two of the three are missing. The system `{config.system}` of imer_ray, {named}"
        f"{several}."
    )
    yield (
        "```python\nimport imer_ray\n\n"
        'model = imer_ray.load_model("path/of/this/folder")\n'
        'model.predict({"l": language, "a": None, "v": vision})  # arrays [frames, features]; None: missing\n```'
    )


def _reads(shape: Mapping[str, Any]) -> Iterator[str]:
    names = shape.get("feature_names", {})
    yield "## What it reads"
    lines = ["| modality | features | numbers a frame | frames |", "|---|---|---:|---:|"]
    for m, name in WORDS.items():
        features = names.get(m) or "not noted; those of the training data"
        lines.append(f"| `{m}`, {name} | {features} | {shape['dims'][m]} | {shape['lengths'][m]} |")
    yield "\n".join(lines)
    yield (
        "Features as they were extracted: the model standardises them by its training clips' mean and deviation. Of "
        "longer clips the last frames are read, shorter ones are padded; numbers that are not finite become 0."
    )


def _quality(frame: pd.DataFrame, label: str, config: ExperimentConfig, notes: Sequence[str]) -> Iterator[str]:
    means, own = (frame[frame["Model"] == name] for name in (together(label), label))
    num_seeds = int(own["Seeds"].iloc[0])
    available = "available" if config.protocol.name == "fixed" else "setting"
    yield "## Quality"
    yield (
        f"On the test clips, protocol `{config.protocol.name}`: what is available to the model, in letters of the "
        "table above, and `mean`, the mean over the rows in which something is missing. Coverage is the share of clips "
        "whose label lies within the 90 % interval, which was calibrated on the validation clips (split conformal)."
    )
    if len(means):
        yield f"The mean over {num_seeds} seeds, which is what this folder answers:"
        yield _table(means, available)
        yield "Each seed by itself, mean and the 95 % interval of the mean over seeds:"
    elif num_seeds > 1:
        yield f"Each of {num_seeds} seeds by itself, mean and the 95 % interval of the mean over seeds:"
    yield _table(own, available)
    if num_seeds == 1:
        yield "One seed: how far others would be from it is not known."
    if notes:
        yield "\n".join(f"- {note}" for note in notes)


def _table(rows: pd.DataFrame, available: str) -> str:
    shown = [name for name in SHOWN if name in rows and rows[name].notna().any()]
    lines = [f"| {available} | " + " | ".join(SHOWN[name] for name in shown) + " |", "|---|" + "---:|" * len(shown)]
    order = [*(rows["Setting"] != "mean").to_numpy().nonzero()[0], *(rows["Setting"] == "mean").to_numpy().nonzero()[0]]
    for row in rows.iloc[order].to_dict("records"):
        lines.append(f"| {row['Setting']} | " + " | ".join(_cell(row, name) for name in shown) + " |")
    return "\n".join(lines)


def _cell(row: Mapping[Any, Any], name: str) -> str:
    digits = 1 if name in PERCENT else 3
    if pd.isna(row[name]):
        return "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.{digits}f}" + ("" if pd.isna(low) else f" [{low:.{digits}f}, {high:.{digits}f}]")


def _speed(row: pd.Series, config: ExperimentConfig) -> Iterator[str]:
    speed = config.speed
    alone, batch = "speedup_vs_imder_b1", "speedup_vs_imder"
    clock = (
        "time that one thread computed" if speed.num_threads == 1 else f"elapsed time of {speed.num_threads} threads"
    )
    yield "## Speed"
    lines = [
        f"| clips at once | milliseconds | times as fast as IMDer | with {ENCODER} on both sides |",
        "|---:|---:|---:|---:|",
    ]
    for size, latency, name in ((1, "latency_ms_b1", alone), (speed.batch_size, "latency_ms", batch)):
        lines.append(f"| {size} | {row[latency]:.2f} | {row[name]:.1f} | {row[name + SUFFIX]:.1f} |")
    yield "\n".join(lines)
    yield (
        f"Of one seed's network, in PyTorch, from features to prediction with one modality missing, in {clock} on the "
        "machine that trained it (elapsed time on a GPU), in turn with IMDer's networks in one process. Features must "
        f"be extracted before, which is not counted. Network evaluations to recover a modality: {row['nfe']:.0f}; "
        f"operations a clip: {row['flops_per_clip']:.3g}; weights: {row['num_parameters']:.0f}."
    )
