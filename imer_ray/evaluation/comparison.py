"""Several trained systems under one protocol: same clips, same masks, so that their differences are paired."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imer_ray.config.components import Component, with_changes
from imer_ray.config.experiment import ModelConfig
from imer_ray.data.dataset import Dataset
from imer_ray.errors import UserError
from imer_ray.evaluation.bayes_optimum import bayes_optimum
from imer_ray.evaluation.cost import measure
from imer_ray.evaluation.forecasts import clip_metrics
from imer_ray.evaluation.model_folder import load, read_shape, read_statistics
from imer_ray.evaluation.model_manifest import ADVICE
from imer_ray.evaluation.predict import Inference, draw_protocol
from imer_ray.evaluation.score import score
from imer_ray.evaluation.significance import Floats, holm, jackknife, paired_p_value
from imer_ray.evaluation.timing.speedup import reference_frames
from imer_ray.models.model import EmotionModel
from imer_ray.results.schema import AUILC, COSTS, WORST
from imer_ray.results.text_encoder import columns_with_encoder
from imer_ray.training.latents import load_dataset

DEVICE = "cpu"


@dataclass(frozen=True)
class Trained:
    """One system trained with one seed, and the clips that it is scored on.

    ``config`` is the one it was trained with, except for the protocol and where the data lie (or which they are);
    ``device`` is where the model is.
    """

    folder: Path
    model: EmotionModel
    config: ModelConfig
    dataset: Dataset
    is_other_data: bool
    device: str = DEVICE

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def inference(self) -> Inference:
        return Inference.of_model(self.config)


@dataclass(frozen=True)
class Scored:
    """What a trained model reached.

    Attributes:
        metrics: ``<split>.<metric>`` and ``<split>.<setting>.<metric>``, as `score` has them.
        replicates: the same without each group of clips (see `imer_ray.evaluation.significance.jackknife`).
        masks: setting -> hash of the availability masks.
        optimum: metrics of the Bayes optimum under the same masks; empty where it is not known.
    """

    metrics: Mapping[str, float]
    replicates: Mapping[str, Floats]
    masks: Mapping[str, str]
    optimum: Mapping[str, float]


def open_model(folder: Path, protocol: Component, data: Mapping[str, Any], device: str = DEVICE) -> Trained:
    """A model's folder with its clips; ``data`` changes where they lie (``path``), or which they are.

    Other clips than those of its training are standardised by the training clips' statistics, as those were.

    Raises:
        UserError: the folder is no model's, the data are not those of its training, or of other widths or lengths.
    """
    model, trained = load(folder, device)
    same = None if set(data) - {"path"} else trained.data_fingerprint
    chosen = Component.of(with_changes(trained.data.node, data, "data")) if data else trained.data
    config = replace(trained, protocol=protocol, data=chosen, data_fingerprint=same)
    dataset = load_dataset(config)
    is_other = dataset.fingerprint != trained.data_fingerprint
    read = _read_alike(folder, trained, dataset) if is_other else dataset
    return Trained(folder, model, config, read, is_other, device)


def _read_alike(folder: Path, config: ModelConfig, dataset: Dataset) -> Dataset:
    """Other data as the model in ``folder`` reads them."""
    shape = read_shape(folder)
    for what in ("dims", "lengths"):
        wanted, found = shape[what], dict(getattr(dataset, what))
        if wanted != found:
            said = {"dims": "features", "lengths": "frames"}[what]
            raise UserError(f"the model in {folder} reads {_each(wanted)} {said}, and these data have {_each(found)}")
    statistics = read_statistics(folder)
    if statistics is None:
        try:
            statistics = load_dataset(config).statistics
        except UserError as error:
            raise UserError(
                f"the model in {folder} was saved without the statistics of its training clips, by which other clips "
                f"must be standardised, and they cannot be computed again ({error}); train it again"
            ) from error
    return dataset.standardised_by(statistics)


def _each(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{m} {number}" for m, number in numbers.items())


def score_model(trained: Trained, split: str, with_replicates: bool) -> Scored:
    """Score a split; replicates are only needed where systems are compared, and cost fifty scorings.

    Raises:
        UserError: the model predicts what is no number.
    """
    config, dataset = trained.config, trained.dataset
    protocol = config.protocol.build()
    made_by = (protocol, trained.inference, trained.seed, trained.device)
    drawn = draw_protocol(trained.model, dataset, split, *made_by)
    predictions = {setting: of_setting.mean for setting, of_setting in drawn.items()}
    left = {s: dataset.under(protocol, s, split, trained.seed).splits[split] for s in protocol.settings()}
    for setting, values in predictions.items():
        if not bool(torch.isfinite(values[left[setting].recorded.any(1)]).all()):
            raise UserError(
                f"the model in {trained.folder} predicts numbers that are not finite (setting {setting}): its weights "
                f"or settings are damaged; {ADVICE}"
            )
    by_clip = clip_metrics(drawn, trained.model, dataset, split, *made_by)

    def scored(kept: np.ndarray) -> Mapping[str, float]:
        left_out = torch.from_numpy(~kept)
        try:
            some = {setting: values.masked_fill(left_out, math.nan) for setting, values in predictions.items()}
            return score(some, dataset, split, protocol, by_clip)
        except UserError:  # too few clips are left
            return {}

    return Scored(
        metrics=score(predictions, dataset, split, protocol, by_clip),
        replicates=jackknife(scored, dataset.size(split)) if with_replicates else {},
        masks={setting: part.presence[:16] for setting, part in left.items()},
        optimum=bayes_optimum(config, split),
    )


def cost_of(trained: Trained, split: str) -> dict[str, float]:
    """The cost columns of a system, measured beside the IMDer reference; its speedups also with a text encoder on both
    sides (`imer_ray.results.text_encoder`)."""
    inference, speed, device = trained.inference, trained.config.speed, trained.device
    found = measure(trained.model, trained.dataset, split, inference, speed, trained.seed, device)
    found["nfe"] = float(inference.num_evaluations) if trained.model.recovery is not None else 0.0
    with_encoder = columns_with_encoder(found, reference_frames(trained.dataset.lengths))
    return {name: found[name] for name in COSTS} | with_encoder


def check_same_masks(runs: Mapping[str, Mapping[int, Scored]]) -> None:
    """Every system must have read the same modalities of the same clips, per seed and setting; paired tests rest on it.

    Raises:
        ValueError: two systems' masks differ.
    """
    seen: dict[tuple[int, str], tuple[str, str]] = {}
    for system, scored in runs.items():
        for seed, one in scored.items():
            for setting, mask in one.masks.items():
                other, expected = seen.setdefault((seed, setting), (system, mask))
                if mask != expected:
                    raise ValueError(f"{system} and {other} were scored with different masks at {setting}, seed {seed}")


def compare(ours: Mapping[int, Scored], theirs: Mapping[int, Scored], split: str) -> dict[str, float]:
    """{``<split>.<setting>.<metric>``: p-value of no difference}, over the seeds that both were trained with.

    For each metric the settings are corrected for one another (`holm`); the mean over settings and the area under the
    rates are questions of their own, and are not. Of the worst setting there is none: a jackknife needs what changes
    smoothly with the clips.
    """
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return {}
    raw: dict[str, float] = {}
    for key in ours[seeds[0]].replicates:
        sides = [[one[seed] for seed in seeds] for one in (ours, theirs)]
        is_known = all(key in one.metrics and key in one.replicates for side in sides for one in side)
        if is_known and not key.startswith(f"{split}.{WORST}."):
            a, b = (np.array([one.metrics[key] for one in side]) for side in sides)
            left, right = (np.stack([one.replicates[key] for one in side]) for side in sides)
            raw[key] = paired_p_value(a - b, left - right)
    by_setting = [key for key in raw if key.count(".") > 1 and not key.startswith(f"{split}.{AUILC}.")]
    adjusted = dict(raw)
    for metric in dict.fromkeys(key.rpartition(".")[2] for key in by_setting):
        adjusted |= holm({key: raw[key] for key in by_setting if key.endswith(f".{metric}")})
    return adjusted
