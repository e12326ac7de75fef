"""Models that were never trained but are real, written to folders: to be read, asked and scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from experiments import experiment, of_model
from torch import nn

from imer_ray.data.dataset import Dataset
from imer_ray.evaluation.model_folder import save
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.models.recovery import build_recovery
from imer_ray.training.latents import load_dataset

SMALL = ("data.num_train=8", "data.num_valid=8", "data.num_test=60", "diffusion.num_steps=1", "data.num_frames=4")


def save_model(
    folder: Path,
    seed: int,
    *overrides: str,
    recovers: bool = True,
    weights: int = 0,
    small: tuple[str, ...] = SMALL,
    at_the_end: tuple[str, ...] = (),
) -> Dataset:
    """Write ``folder/<seed>``, whose weights follow from ``weights`` and the seed; the data that it would be of."""
    config = experiment(*small, *overrides, f"seed={seed}")
    dataset = load_dataset(config)
    config = of_model(replace(config, data_fingerprint=dataset.fingerprint))
    parts = Parts.of(config)
    torch.manual_seed(100 * weights + seed)
    latent_dim, num_frames = parts.encoder.latent_dim, parts.encoder.length(min(dataset.lengths.values()))
    model = EmotionModel(
        build_encoder(parts.encoder, dataset.dims, dataset.lengths),
        build_recovery(parts.diffusion, latent_dim, num_frames) if recovers else None,
        build_recogniser(latent_dim, parts.fusion, parts.refiner if recovers else None),
    )
    for parameter in model.parameters():  # a network that starts as zeros would hide what it reads
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.05)
    shape = {"dims": dataset.dims, "lengths": dataset.lengths, "label_kind": dataset.label_kind}
    shape |= {"at_the_end": sorted(dataset.at_the_end | {*at_the_end}), "feature_names": dict(dataset.feature_names)}
    save(folder / str(seed), model, config, shape, dataset.statistics)
    return dataset
