"""Stage fuse: who trains on what in the adversarial recovery of fused features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imer_ray.data.missing import MODALITIES
from imer_ray.tasks.fuse import build_players, complete_features, fusion_step, groups_of
from imer_ray.training.latent_bank import Bank
from imer_ray.training.losses import training_patterns


def parts(names: Any) -> set[str]:
    return {name.partition(".")[0] for name in names}


def changed_by(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, w in before.items() if not torch.equal(w, after[name])}


def test_the_generator_trains_all_but_the_head(trained: Any) -> None:
    """It starts from the fusion of `encode` and the refiners of `recover`; D is not kept."""
    encoded, fused = trained.weights("encode"), trained.weights("fuse")
    assert parts(changed_by(encoded, fused)) == {"fusion", "missing"}
    assert parts(fused.keys() - encoded.keys()) == {"refiners", "reconstructor"}
    start = build_players(trained.parts, trained.context("fuse"), trained.config.seed)["recogniser"].state_dict()
    assert parts(changed_by(start, fused)) == {"fusion", "missing", "refiners", "reconstructor"}
    for m, name in enumerate(MODALITIES):
        refiner = trained.weights(f"recover[{name}]", f"refiner_{name}.safetensors")
        assert all(torch.equal(w, start[f"refiners.{m}.{key}"]) for key, w in refiner.items())


def test_the_players_groups_are_the_generators_and_the_discriminators(trained: Any) -> None:
    model = build_players(trained.parts, trained.context("fuse"), trained.config.seed)
    names = {id(p): name for name, p in model.named_parameters()}
    generator, discriminator = ({names[id(p)] for p in group} for group in groups_of(model).values())
    assert {name.partition(".")[0] for name in discriminator} == {"discriminator"}
    assert {name.split(".")[1] for name in generator} == {"refiners", "fusion", "missing", "reconstructor"}
    assert not generator & discriminator
    assert generator | discriminator == {name for name, p in model.named_parameters() if p.requires_grad}


def fusion_inputs(trained: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    model = build_players(trained.parts, trained.context("fuse"), trained.config.seed).eval()
    nn.init.normal_(model["recogniser"].reconstructor.out.weight)
    latents, rows = trained.latents(), torch.arange(12)
    available = training_patterns(latents.recorded[rows], torch.Generator().manual_seed(0), complete=False)
    filled = Bank.load(trained.folders["bank"], "train", "cpu").fill(latents.x[rows], available, rows, 0)
    recogniser, frames = model["recogniser"], latents.frames[rows]
    with torch.no_grad():
        F_gt = recogniser.fuse(latents.x[rows], latents.recorded[rows], frames)
    return model, {"filled": filled, "available": available, "frames": frames, "F_gt": F_gt}


def test_the_discriminators_fakes_are_reconstructed_features(trained: Any) -> None:
    """Published, they are the features before R, so that D never meets what R makes."""
    model, given = fusion_inputs(trained)
    recogniser, discriminator = model["recogniser"], model["discriminator"]
    refined = recogniser.refine(given["filled"], given["available"])
    F_lm = recogniser.fuse(refined, given["available"], given["frames"])
    real, fake, before = (discriminator(x).sigmoid() for x in (given["F_gt"], recogniser.reconstructor(F_lm), F_lm))
    found = fusion_step(model, **given, lambda_al=0.5)["discriminator_loss"]
    torch.testing.assert_close(found, -real.log() - (1 - fake).log())
    assert not torch.allclose(found, -real.log() - (1 - before).log(), atol=1e-2)


def test_the_targets_are_those_of_encodes_fusion_and_stand_still(trained: Any) -> None:
    """Published, the target's branch has a gradient, too, which drags it to the recovered one."""
    model, given = fusion_inputs(trained)
    latents, bank = trained.latents(), Bank.load(trained.folders["bank"], "train", "cpu")
    targets = complete_features(model["recogniser"], latents, bank)
    torch.testing.assert_close(targets[0, :12], given["F_gt"])
    F_gt = given.pop("F_gt").requires_grad_()
    values = fusion_step(model, **given, F_gt=F_gt, lambda_al=0.5)
    for loss in ("loss", "discriminator_loss"):
        assert torch.autograd.grad(values[loss].sum(), F_gt, allow_unused=True, retain_graph=True) == (None,)


def test_the_generators_gradient_reaches_every_part_of_it(trained: Any) -> None:
    """As published, fusion and refiners learn from what D says, not only the reconstructor."""
    model, given = fusion_inputs(trained)
    own = [(n, p) for n, p in model["recogniser"].named_parameters() if p.requires_grad]
    adversarial = fusion_step(model, **given, lambda_al=1.0)["loss"].sum()
    gradients = torch.autograd.grad(adversarial, [p for _, p in own], allow_unused=True)
    reached = {n for (n, _), g in zip(own, gradients, strict=True) if g is not None and g.any()}
    assert parts(reached) == {"refiners", "fusion", "missing", "reconstructor"}


def test_what_is_logged_of_the_players_is_of_its_epoch(tmp_path: Path, trained: Any) -> None:
    config = trained.changed(training__fuse__num_epochs=12, loss__lambda_al=0.25)
    folder = trained.run_stage(trained.stages_of(config)["fuse"], tmp_path / "fuse")
    history = json.loads((folder / "history.json").read_text())
    assert len(history) == 12
    for entry in history:  # the mean of every part over one and the same epoch, so the formula holds for the means
        assert entry["loss"] == pytest.approx(0.25 * entry["adversarial"] + 0.75 * entry["reconstruction"], abs=1e-5)
    assert len({entry["loss"] for entry in history}) == 12  # no stale value


def test_every_clip_has_a_missing_pattern_of_its_own_and_none_is_complete() -> None:
    recorded = torch.ones(6000, 3, dtype=torch.bool)
    drawn = training_patterns(recorded, torch.Generator().manual_seed(0), complete=False)
    patterns, counts = drawn.unique(dim=0, return_counts=True)
    assert len(patterns) == 6 and not patterns.all(1).any() and patterns.any(1).all()
    assert ((counts - 1000).abs() < 120).all()  # four standard deviations of 29
    lonely = torch.tensor([[False, True, False]]).expand(50, -1)
    assert torch.equal(training_patterns(lonely, torch.Generator().manual_seed(0), complete=False), lonely)
