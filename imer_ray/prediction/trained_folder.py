"""From a finished training to a model's folder that answers by itself: calibrated, measured, and with a card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load
from torch import Tensor

from imer_ray.config.experiment import ExperimentConfig, ModelConfig
from imer_ray.config.slices import Evaluate
from imer_ray.data.missing import MODALITIES
from imer_ray.evaluation.comparison import DEVICE
from imer_ray.evaluation.comparison_table import with_costs
from imer_ray.evaluation.model_folder import read_shape, save
from imer_ray.evaluation.model_manifest import README
from imer_ray.evaluation.predict import Inference
from imer_ray.evaluation.score import score
from imer_ray.evaluation.scored_clips import read_predictions
from imer_ray.evaluation.tables import summarise
from imer_ray.evaluation.timing.speedup import reference_frames
from imer_ray.evaluation.validation_file import LABELS, VALIDATION, validation_of
from imer_ray.models.parts import Parts
from imer_ray.prediction.calibration import Calibration, read_calibration
from imer_ray.prediction.coverage import coverage
from imer_ray.prediction.model_card import card
from imer_ray.results.text_encoder import columns_with_encoder
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.store import Store
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_model, load_shape

HISTORY, METRICS_FILE = "history.json", "metrics.csv"


@dataclass(frozen=True)
class Measured:
    """One trained model.

    Attributes:
        folder: where it was written.
        config: what it was trained with.
        metrics: what its evaluate stage measured, the interval's coverage, and speedups with a text encoder.
        predictions: {setting: [N]} of the clips that it was scored on.
    """

    folder: Path
    config: ModelConfig
    metrics: Mapping[str, float]
    predictions: Mapping[str, Tensor]


def write(
    folder: Path, stage: Stage, config: ExperimentConfig, root: str, label: str, metrics: Mapping[str, float]
) -> Measured:
    """Write the folder of a model that is called ``label``, whole or not at all.

    Args:
        stage: its evaluate stage, which measured ``metrics``.
        root: of the stages' store.
    """
    store = Store(root)
    inputs = {role: store.open(s.key).folder for role, s in stage.inputs.items()}
    context = Context(folder=folder, inputs=inputs, checkpoint=folder, device=DEVICE)
    read = Evaluate.read(stage.settings)
    kept = ModelConfig(**vars(config), imputer=read.imputer)  # the system's choice
    model, dataset = load_model(Parts.of(read), context), load_dataset(config)
    at_the_end = [m for m in MODALITIES if m in dataset.at_the_end]
    shape = {**load_shape(context), "at_the_end": at_the_end, "feature_names": dict(dataset.feature_names)}
    validation = validation_of(model, dataset, Inference.of_model(kept), config.seed, DEVICE)
    protocol, scored = config.protocol.build(), read_predictions(store.open(stage.key).folder)
    predictions = {setting: scored[setting] for setting in protocol.settings()}

    tensors = load(validation)
    labels, by_pattern = tensors.pop(LABELS).numpy(), {pattern: x.numpy() for pattern, x in tensors.items()}
    calibration = Calibration.of(labels, by_pattern, dataset.label_kind)
    covered = coverage(calibration, predictions, dataset, read.split, protocol, config.seed)
    metrics = {**metrics, **covered, **columns_with_encoder(metrics, reference_frames(dataset.lengths))}
    table = csv(metrics_table({label: [metrics]}, read.split))
    found = {s.name: store.open(s.key).folder / HISTORY for s in stage.in_order()}
    histories = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}
    files = {
        VALIDATION: validation,
        HISTORY: json.dumps(histories).encode(),
        METRICS_FILE: table,
        README: card(table, label, kept, shape, [config.seed], calibration.notes).encode(),
    }
    save(folder, model, kept, shape, dataset.statistics, files)
    return Measured(folder, kept, metrics, predictions)


def mean_of_seeds(measured: Sequence[Measured], split: str) -> dict[str, float]:
    """What the mean over a model's seeds reaches, as `score` and `coverage` have it.

    Empty where there is one seed only, or where each was scored with modalities of its own away.
    """
    first = measured[0]
    config, dataset, protocol = first.config, load_dataset(first.config), first.config.protocol.build()
    seeds = {m.config.seed for m in measured}
    left = [
        {dataset.under(protocol, s, split, seed).splits[split].presence for seed in seeds} for s in first.predictions
    ]
    calibration = read_calibration([one.folder for one in measured])
    if len(measured) < 2 or any(len(found) > 1 for found in left) or calibration is None:
        return {}
    means = {s: torch.stack([one.predictions[s] for one in measured]).mean(0) for s in first.predictions}
    covered = coverage(calibration, means, dataset, split, protocol, config.seed)
    return {**score(means, dataset, split, protocol), **covered}


def card_of(table: bytes, label: str, measured: Sequence[Measured], others: Sequence[int]) -> str:
    """The card of a model with the seeds that were ``measured``, whose ``metrics.csv`` is ``table``.

    Args:
        others: seeds of earlier trainings, whose models lie there too.
    """
    folders = [one.folder for one in measured]
    calibration = read_calibration(folders)
    notes = [] if calibration is None else list(calibration.notes)
    if others:
        notes.append(f"trained before and not in these figures: seeds {', '.join(map(str, others))}")
    seeds = [one.config.seed for one in measured]
    return card(table, label, measured[0].config, read_shape(folders[0]), seeds, notes)


def metrics_table(runs: Mapping[str, Sequence[Mapping[str, float]]], split: str) -> pd.DataFrame:
    """The table of `summarise` with the cost of each system, mean over its seeds.

    Args:
        runs: system -> what was measured with each seed.
    """
    costs = {system: pd.DataFrame(found).mean().to_dict() for system, found in runs.items()}
    return with_costs(summarise(runs, split), costs)


def csv(frame: pd.DataFrame) -> bytes:
    """A table as ``metrics.csv`` holds it."""
    return frame.to_csv(index=False, float_format="%.4f").encode()
