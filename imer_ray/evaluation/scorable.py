"""Whether data have what training and scoring need, looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.data.dataset import Dataset
from imer_ray.errors import UserError
from imer_ray.evaluation.metrics import REGRESSION_METRICS, TWO_CLASS_METRICS, needed
from imer_ray.evaluation.score import MIN_CLIPS, scored_labels
from imer_ray.results.schema import AUILC, SUMMARIES, WORST
from imer_ray.training.latents import load_dataset
from imer_ray.training.losses import has_label


def check_training(config: ExperimentConfig) -> None:
    """Raise UserError if the clips to learn from have no labels, or the same one all."""
    dataset, name = load_dataset(config), config.data.name
    for split in ("train", "valid"):
        if not bool(_usable(dataset, split).any()):
            raise UserError(f"data {name}: no clip of the {split} split has a label and a recorded modality")
    labels = dataset.labels("train")[_usable(dataset, "train")]
    if len(labels) > 1 and labels.min() == labels.max():
        raise UserError(
            f"data {name}: all {len(labels)} labelled clips of the train split have the label {labels[0]:g}, so that "
            "there is nothing to learn; check the labels"
        )


def check_quality(config: ExperimentConfig, split: str, quality: str, option: str = "study.quality") -> None:
    """Raise UserError unless ``quality``, a metric, ``<setting>.<metric>`` or a summary of settings, such as
    ``worst.<metric>``, can be computed on a split; ``option`` is where it was asked for."""
    setting, _, metric = quality.rpartition(".")
    labels = scored_labels(config, split)
    if setting and setting not in (*labels, *SUMMARIES):
        raise UserError(
            f"{option}={quality}: the protocol has no setting {setting}; choose one of {', '.join(labels)}, or "
            f"{metric} alone for the mean over those in which something is missing, or {WORST}.{metric}"
        )
    incomplete = _incomplete(config, labels)
    chosen = [labels[setting]] if setting in labels else incomplete
    if setting == AUILC and sum(name[0].isdigit() and len(y) >= MIN_CLIPS for name, y in labels.items()) < 2:
        raise UserError(
            f"{option}={quality} is an area over missing rates, and protocol={config.protocol.name} has not two "
            f"that can be scored; choose protocol=random or protocol=frames, or {metric} alone"
        )
    _check(f"{option}={quality}", metric, chosen, config, split)


def check_scoring(config: ExperimentConfig, split: str) -> None:
    """Raise UserError if a split's labels are too few or all the same, so that no score would say anything."""
    found = _incomplete(config, scored_labels(config, split))
    _check(f"the {split} split cannot be scored", _simplest(config), found, config, split)


def meaningless(config: ExperimentConfig, split: str) -> list[str]:
    """The metrics to which a split's labels give no meaning."""
    kind, found = _kind(config), _incomplete(config, scored_labels(config, split))
    every = (*TWO_CLASS_METRICS, *(REGRESSION_METRICS if kind != "binary" else ()))
    return [metric for metric in every if all(needed(metric, y, kind) for y in found)]


def _check(what: str, metric: str, found: Sequence[Tensor], config: ExperimentConfig, split: str) -> None:
    """Raise UserError if a metric has a meaning for none of the settings whose scored labels are given."""
    whose = f"the {split} split of data {config.data.name}"
    found = [y for y in found if len(y) >= MIN_CLIPS]
    if not found:
        raise UserError(f"{what}: no labelled clip of {whose} can be scored under the protocol; give it labelled clips")
    lacks = [needed(metric, y, _kind(config)) for y in found]
    if all(lacks):
        low, high = min(float(y.min()) for y in found), max(float(y.max()) for y in found)
        spread = f"are all {low:g}" if low == high else f"lie in [{low:g}, {high:g}]"
        raise UserError(f"{what}: {metric} needs {lacks[0]}, and those of {whose} {spread}; check the labels")


def _incomplete(config: ExperimentConfig, labels: Mapping[str, Tensor]) -> list[Tensor]:
    """Of the settings in which something is missing; UserError if there are none."""
    complete = config.protocol.build().complete
    found = [y for setting, y in labels.items() if setting not in complete]
    if not found:
        raise UserError(f"protocol={config.protocol.name} leaves nothing missing; give it settings that do")
    return found


def _simplest(config: ExperimentConfig) -> str:
    """The metric that asks least of the labels beside that they differ."""
    return TWO_CLASS_METRICS[0] if _kind(config) == "binary" else "Corr"


def _kind(config: ExperimentConfig) -> str:
    return load_dataset(config).label_kind


def _usable(dataset: Dataset, split: str) -> Tensor:
    """[N]: labelled, and something is recorded."""
    return has_label(dataset.labels(split)) & dataset.recorded(split).any(1)
