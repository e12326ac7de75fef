"""Predictions and recovered latents on a GPU, which is pretended, are those of a CPU."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from experiments import experiment, of_model
from pattern_models import DIMS, NUM_FRAMES, SMALL, model_of
from pretended_gpu import GPU, pretended_gpu

from imer_ray.data.missing import Fixed
from imer_ray.data.synthetic import Synthetic
from imer_ray.evaluation.comparison import Trained
from imer_ray.evaluation.feature_latents import latents_of
from imer_ray.evaluation.predict import draw_protocol


def test_a_model_predicts_and_recovers_where_it_is(tmp_path: Path) -> None:
    """1e-4, as for a real one (`tests/models/test_compiled.py`): PyTorch takes another kernel of attention there. Few
    steps of DDPM do not enlarge what that rounds, as few of Euler and Maruyama's do."""
    words = ("diffusion.sampler=ddim", "diffusion.sampler.eta=1", "diffusion.num_steps=3", "diffusion.num_draws=2")
    config, (model, _) = of_model(experiment(*SMALL, *words)), model_of(*words)
    sizes = {f"dim_{m}": dim for m, dim in DIMS.items()}
    dataset = Synthetic(num_train=8, num_valid=8, num_test=12, num_frames=NUM_FRAMES, **sizes).load()
    made_by = (dataset, "test", Fixed(("lav", "a")))
    here = Trained(tmp_path, copy.deepcopy(model), config, dataset, False)
    expected = draw_protocol(here.model, *made_by, here.inference, 7, here.device)
    with pretended_gpu():
        there = Trained(tmp_path, model.to(GPU), config, dataset, False, str(GPU))
        found = draw_protocol(there.model, *made_by, there.inference, 7, there.device)
        rows = latents_of(there, "test")
    for setting, drawn in expected.items():
        torch.testing.assert_close(found[setting].draws, drawn.draws, rtol=0, atol=1e-4)
    assert len(rows) == 36  # of 12 clips and three modalities
    for row, other in zip(rows, latents_of(here, "test"), strict=True):
        assert row["Clip"] == other["Clip"] and row["Recovered"] == pytest.approx(other["Recovered"], abs=1e-4)
