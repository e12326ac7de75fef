"""Clips whose modalities have lengths of their own, from the generator through a store and every stage to metrics."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from experiments import experiment

from imer_ray import convert, generate
from imer_ray.data.mmsa_synthetic import MmsaShape, recorded_lengths
from imer_ray.stages.run import StageResult, run_graph
from imer_ray.stages.store import Store
from imer_ray.systems.decoupled import graph
from imer_ray.training.latents import Latents

SIZES = {"train": 48, "valid": 20, "test": 4}
STAGES = ("encode", "pretrain", "recognise")
SMALL = [
    *("data=store", "bank.num_steps=1", "diffusion.num_steps=1", "speed.max_repeats=1", "speed.reference_steps=1"),
    *("speed.batch_size=2", *(f"training.{stage}.num_epochs=1" for stage in STAGES)),
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of MOSI's unaligned shape, but for the number of clips."""
    folder = tmp_path_factory.mktemp("unaligned")
    sizes = [f"shape.num_{split}={count}" for split, count in SIZES.items()]
    generate.main(["shape=mosi", "aligned=false", f"output={folder / 'made.pkl'}", *sizes])
    convert.main([f"input={folder / 'made.pkl'}", f"output={folder / 'store'}"])
    return folder / "store"


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, StageResult]]:
    store = Store(str(tmp_path_factory.mktemp("stages")))
    config = experiment(*SMALL, f"data.path={clips}")
    config = replace(config, data_fingerprint=config.data.build().fingerprint())
    return store, {result.name: result for result in run_graph(graph(config, "valid"), store)}


def test_one_epoch_of_every_stage_ends_in_metrics_of_every_pattern(run: tuple[Store, dict[str, StageResult]]) -> None:
    _, results = run
    for name in ("encode", "pretrain[l]", "pretrain[a]", "pretrain[v]", "recognise"):
        assert math.isfinite(results[name].metrics["train_loss"])
    for pattern in ("l", "a", "v", "la", "lv", "av", "lav"):
        assert 0 <= results["evaluate"].metrics[f"valid.{pattern}.Non0_acc_2"] <= 1
        assert math.isfinite(results["evaluate"].metrics[f"valid.{pattern}.MAE"])


def test_latents_share_the_shortest_modality_s_frames_and_are_present_where_frames_were_recorded(
    clips: Path, run: tuple[Store, dict[str, StageResult]]
) -> None:
    lengths = json.loads((clips / "dataset.json").read_text())["lengths"]
    assert lengths == {"l": 50, "a": 500, "v": 375}
    store, results = run
    shape = MmsaShape(**{f"num_{split}": count for split, count in SIZES.items()})
    for split in ("train", "valid"):
        latents = Latents.load(store.open(results["encode"].key).folder / f"latents_{split}.safetensors")
        assert latents.num_frames == 50
        recorded = recorded_lengths(shape, False, 0, split)
        for i, m in enumerate("lav"):
            # Latent frame j averages frames from floor(j L_m / 50) on: present if that one was recorded.
            first = np.arange(50) * lengths[m] // 50
            wanted = torch.from_numpy(first < recorded[m][:, None])
            assert torch.equal(latents.frames[:, i], wanted)
            assert (latents.x[:, i][~wanted] == 0).all() and (latents.x[:, i][wanted] != 0).any(1).all()
