"""Validating a diffusion in parts, so that memory does not grow with the validation split, changes no loss."""

import json

import pytest
import torch
from experiments import experiment

from imer_ray.config.slices import Pretrain
from imer_ray.stages.context import Context
from imer_ray.tasks import pretrain
from imer_ray.training import denoising
from imer_ray.training.latents import Latents


def valid_loss(folder, modality):
    generator = torch.Generator().manual_seed(0)
    (folder / "encode").mkdir(parents=True)
    (folder / "checkpoint").mkdir()
    for split, count in (("train", 8), ("valid", 70)):
        recorded = torch.rand(count, 3, generator=generator) < 0.8
        recorded[0] = True
        frames = recorded[..., None].expand(count, 3, 4).clone()
        latents = torch.randn(count, 3, 4, 32, generator=generator) * frames[..., None]
        Latents(latents, frames, recorded, torch.zeros(count)).save(folder / f"encode/latents_{split}.safetensors")
    (folder / "encode/shape.json").write_text(json.dumps({"label_kind": "regression"}))
    read = Pretrain.of(experiment("training.pretrain.num_epochs=1"), modality=modality)
    context = Context(folder=folder, inputs={"encode": folder / "encode"}, checkpoint=folder / "checkpoint")
    return pretrain.run(read.tree, context)["valid_loss"]


@pytest.mark.parametrize("modality", ["a", "shared"])
def test_the_loss_does_not_depend_on_how_many_clips_are_validated_at_once(tmp_path, monkeypatch, modality):
    whole = valid_loss(tmp_path / "whole", modality)
    sizes = []
    forward = pretrain.denoising_step

    def counted(*given):
        sizes.append(len(given[3]))
        return forward(*given)

    monkeypatch.setattr(denoising, "VALID_ROWS", 100)
    monkeypatch.setattr(pretrain, "denoising_step", counted)
    assert valid_loss(tmp_path / "parts", modality) == pytest.approx(whole, rel=1e-5)
    assert max(sizes) == 100 and sum(sizes) > 400
