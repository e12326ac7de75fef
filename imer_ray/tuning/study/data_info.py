"""What a study says of its clips, so that its results can be judged without them."""

from __future__ import annotations

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.data.dataset import Dataset
from imer_ray.evaluation.score import MIN_CLIPS
from imer_ray.evaluation.timing.speedup import reference_frames
from imer_ray.results.schema import METRIC_PREFIX, SUMMARIES, DataInfo, Objective
from imer_ray.training.losses import has_label
from imer_ray.tuning.trial.coordinator import SPLIT

SIGNED = "Non0"  # metrics of clips whose label is not 0


def describe(config: ExperimentConfig, dataset: Dataset, quality: Objective) -> DataInfo:
    """Sizes and labels of the splits, and how many valid clips quality counts in each setting that it is over."""
    setting, _, metric = quality.metric.removeprefix(METRIC_PREFIX).rpartition(".")
    labels, protocol = dataset.labels(SPLIT), config.protocol.build()
    counted = has_label(labels) & (labels != 0) if metric.startswith(SIGNED) else has_label(labels)
    settings = (
        [setting]
        if setting and setting not in SUMMARIES
        else [s for s in protocol.settings() if s not in protocol.complete]
    )
    left = {s: dataset.under(protocol, s, SPLIT, config.seed).recorded(SPLIT) for s in settings}
    scored = {s: int((available.any(1) & counted).sum()) for s, available in left.items()}
    return DataInfo(
        name=config.data.name,
        fingerprint=dataset.fingerprint,
        frames=reference_frames(dataset.lengths),
        clips={split: dataset.size(split) for split in dataset.splits},
        labelled={split: int(has_label(dataset.labels(split)).sum()) for split in dataset.splits},
        scored={s: count for s, count in scored.items() if count >= MIN_CLIPS},
    )
