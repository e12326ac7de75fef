"""Banks of which each part is drawn by networks that have not seen it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from experiments import experiment
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from imer_ray.config.slices import Fold
from imer_ray.errors import UserError
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import load_function
from imer_ray.systems import graph
from imer_ray.training.latents import Latents, folds

SMALL = [
    "data.num_train=40",
    "data.num_valid=12",
    "data.num_test=12",
    "encoder.latent_dim=8",
    "diffusion.backbone=mixer",
    "diffusion.backbone.num_layers=1",
]
SMALL += ["diffusion.prior=gaussian", "bank.num_steps=1", "bank.folds=2"]
SMALL += [f"training.{name}.num_epochs=1" for name in ("encode", "pretrain")]


@given(st.integers(1, 500), st.integers(1, 20))
def test_folds_part_the_clips_into_runs_of_one_length(num_clips, count):
    found = folds(num_clips, count)
    assert (found.diff() >= 0).all()
    sizes = torch.bincount(found, minlength=count)
    assert sizes.sum() == num_clips and sizes.max() - sizes.min() <= 1


def test_clips_outside_a_fold_are_all_others():
    x = torch.arange(10.0)[:, None, None, None].expand(10, 3, 1, 1)
    latents = Latents(x, x[..., 0] >= 0, x[:, :, 0, 0] >= 0, x[:, 0, 0, 0])
    assert latents.without(Fold(number=1, count=3)).labels.tolist() == [0, 1, 2, 3, 7, 8, 9]
    assert latents.without(None) is latents


def stages(*words: str) -> dict[str, Stage]:
    found = graph(experiment(*SMALL, *words), "valid").in_order()
    return {stage.name: stage for stage in found if stage.kind in ("encode", "prior", "pretrain", "bank")}


def run_all(found: dict[str, Stage], root: Path, folders: dict[str, Path]) -> dict[str, Path]:
    for stage in found.values():
        if stage.key not in folders:
            folder = root / stage.key
            (folder / "checkpoint").mkdir(parents=True)
            inputs = {role: folders[source.key] for role, source in stage.inputs.items()}
            context = Context(folder=folder, checkpoint=folder / "checkpoint", inputs=inputs)
            load_function(stage.function)(stage.settings, context)
            folders[stage.key] = folder
    return {name: folders[stage.key] for name, stage in found.items()}


def drawn(folder: Path) -> torch.Tensor:
    """[N, ...] of a bank's training clips, its one draw."""
    return load_file(folder / "bank_train.safetensors")["recovered"][0].transpose(0, 1)


@pytest.mark.slow
def test_a_fold_is_drawn_by_networks_that_have_not_seen_it(tmp_path: Path) -> None:
    """Other latents of one fold leave the networks that draw it, and so the draws of clips like those before, alone."""
    torch.set_num_threads(1)
    folders: dict[str, Path] = {}
    found = stages()
    first = run_all(found, tmp_path / "one", folders)
    own = folds(40, 2) == 1
    # The same encoder's latents, of which those of the second fold are changed.
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in first["encode"].iterdir():
        if file.is_file():
            (changed / file.name).write_bytes(file.read_bytes())
    latents = Latents.load(first["encode"] / "latents_train.safetensors")
    x = torch.where(own[:, None, None, None], 3 * latents.x.flip(3), latents.x)
    dataclasses.replace(latents, x=x).save(changed / "latents_train.safetensors")
    second = run_all(found, tmp_path / "two", {found["encode"].key: changed})
    for name in found:
        if name.startswith(("prior", "pretrain")):
            a, b = (load_file(next(where[name].glob("*.safetensors"))) for where in (first, second))
            is_same = all(torch.equal(a[key], b[key]) for key in a)
            assert is_same == name.endswith("[2/2]"), name
    before, after = drawn(first["bank"]), drawn(second["bank"])
    assert not torch.equal(before[~own], after[~own])  # by networks of the changed fold
    assert (before[own] != 0).any(-1).any(-1).any(-1).all() and (before[~own] != 0).any(-1).any(-1).any(-1).all()


def test_one_fold_is_the_bank_that_always_was() -> None:
    assert stages("bank.folds=1").keys() == {"encode", "prior", "bank", *(f"pretrain[{m}]" for m in "lav")}
    assert len([name for name in stages("bank.folds=3") if name.startswith("pretrain")]) == 3 * 4
    assert stages("bank.folds=1")["bank"].key != stages()["bank"].key


@pytest.mark.parametrize(("number", "said"), [(0, "must be at least 1"), (21, "must be at most 20")])
def test_a_number_of_folds_that_cannot_be_is_refused(number: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        experiment(f"bank.folds={number}")


def test_folds_of_students_are_refused() -> None:
    words = ("bank.folds=2", "distill.method=reflow")
    with pytest.raises(UserError, match="a student of every fold"):
        experiment(*words, "bank.mode=same")
    assert experiment(*words).bank.folds == 2
