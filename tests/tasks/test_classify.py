"""Stage classify: both branches, and what the whole chain of RoHyDR's stages leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from imer_ray.models.model import Recogniser, build_recogniser
from imer_ray.training.latent_bank import Bank
from imer_ray.training.latents import Latents


def whole_recogniser(trained: Any) -> Recogniser:
    parts = trained.parts
    return build_recogniser(parts.encoder.latent_dim, parts.fusion, parts.refiner, with_reconstructor=True)


def test_all_of_the_recogniser_trains(trained: Any) -> None:
    """As published: all but the diffusions."""
    before, after = trained.weights("fuse"), trained.weights("classify")
    changed = {name.partition(".")[0] for name, w in before.items() if not torch.equal(w, after[name])}
    assert changed == {"refiners", "fusion", "missing", "reconstructor", "head"}


def test_drawn_latents_are_refined_where_they_are_read(trained: Any) -> None:
    """The bank holds what the networks drew, for refiners that go on learning."""
    assert trained.stages["bank"].inputs.keys() == {"encode", "network_l", "network_a", "network_v"}
    bank, latents = Bank.load(trained.folders["bank"], "train", "cpu"), trained.latents()
    available = torch.tensor([False, True, True]).expand(5, -1)
    filled = bank.fill(latents.x[:5], available, torch.arange(5), 0)
    recogniser = whole_recogniser(trained)
    recogniser.load_state_dict(trained.weights("classify"))
    refined = recogniser.refine(filled, available)
    assert float((refined - filled)[:, 0].detach().abs().max()) > 1e-3
    torch.testing.assert_close(refined[:, 1:], latents.x[:5, 1:], rtol=0, atol=0)


def test_a_complete_batch_skips_the_reconstructor_and_an_incomplete_one_does_not(trained: Any) -> None:
    """Published, a first batch without anything missing is an error."""
    recogniser = whole_recogniser(trained)
    recogniser.load_state_dict(trained.weights("classify"))
    recogniser.eval()
    latents = trained.latents()
    x, frames = latents.x[:10], latents.frames[:10]
    mixed = latents.recorded[:10].clone()
    mixed[5:, 0] = False
    before = [recogniser(x, available, frames) for available in (latents.recorded[:10], mixed)]
    with torch.no_grad():
        for p in recogniser.reconstructor.parameters():
            p.add_(1.0)
    after = [recogniser(x, available, frames) for available in (latents.recorded[:10], mixed)]
    assert torch.equal(before[0], after[0])
    torch.testing.assert_close(before[1][:5], after[1][:5], rtol=0, atol=0)
    assert float((before[1][5:] - after[1][5:]).detach().abs().min()) > 0
    features = recogniser.fuse(x, latents.recorded[:10], frames)
    torch.testing.assert_close(before[0], recogniser.head(features), rtol=0, atol=0)


@pytest.mark.parametrize(("lambda_c", "branch"), [(0.0, "complete"), (1.0, "incomplete")])
def test_lambda_c_chooses_between_the_branches(trained: Any, lambda_c: float, branch: str, tmp_path: Path) -> None:
    stage = trained.stages_of(trained.changed(loss__lambda_c=lambda_c))["classify"]
    folder = trained.run_stage(stage, tmp_path / branch)
    for entry in json.loads((folder / "history.json").read_text()):
        assert entry["loss"] == pytest.approx(entry[branch], abs=1e-6)
        assert entry["complete"] != entry["incomplete"]


def test_clips_that_never_recorded_a_modality_are_trained_on(trained: Any, tmp_path: Path) -> None:
    """Real data: half of the clips have no vision, some have only one modality."""
    root = tmp_path / "encode"
    root.mkdir()
    for path in trained.folders["encode"].iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    for split in ("train", "valid"):
        latents = Latents.load(trained.folders["encode"] / f"latents_{split}.safetensors")
        recorded = latents.recorded.clone()
        recorded[::2, 2] = False
        recorded[::8, 1] = False
        gone = ~recorded[..., None]
        replace(latents, x=latents.x * ~gone[..., None], frames=latents.frames & ~gone, recorded=recorded).save(
            root / f"latents_{split}.safetensors"
        )
    folders: dict[str, Path] = {"encode": root}
    for name, stage in trained.stages.items():
        if name != "encode":
            inputs = {role: folders[s.name] for role, s in stage.inputs.items()}
            folders[name] = trained.run_stage(stage, tmp_path / name, inputs)
    assert all(w.isfinite().all() for w in load_file(folders["classify"] / "recogniser.safetensors").values())
