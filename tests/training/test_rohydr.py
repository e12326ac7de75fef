"""RoHyDR's stages: what each trains, on what, and none of the published defects that change results.

One small run of all its stages serves most tests.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from imer_ray.command_schema import SearchConfig
from imer_ray.config import build, component_options, compose, option, options
from imer_ray.config import replace as changed
from imer_ray.data.missing import MODALITIES
from imer_ray.models.imer import build_recogniser
from imer_ray.models.recovery import build_network
from imer_ray.stages.graph import Stage
from imer_ray.systems import rohydr
from imer_ray.training import recover
from imer_ray.training.bank import Bank
from imer_ray.training.context import Context
from imer_ray.training.fuse import build_players, fusion_step, groups_of
from imer_ray.training.latents import Latents
from imer_ray.training.losses import training_patterns
from imer_ray.training.pretrain import load_recovery

SMALL = ["system=rohydr", "data.num_train=40", "data.num_valid=24", "data.num_test=24", "data.num_frames=9"]
SMALL += ["data.dim_l=9", "data.dim_a=4", "data.dim_v=5", "encoder.latent_dim=16", "bank.num_steps=2"]
SMALL += [f"training.{name}.num_epochs=2" for name in ("encode", "pretrain", "fuse", "classify")]
SMALL += [f"training.{name}.batch_size=16" for name in ("encode", "pretrain", "fuse", "classify")]
WEIGHTS = "recogniser.safetensors"


def config_of(*overrides: str) -> dict[str, Any]:
    return compose(SearchConfig, "search", [*SMALL, *overrides]) | {"data_fingerprint": None}


def run_stage(stage: Stage, folder: Path, inputs: dict[str, Path]) -> Path:
    for name in ("artefact", "checkpoint"):
        (folder / name).mkdir(parents=True)
    module, _, function = stage.function.partition(":")
    context = Context(folder=folder / "artefact", checkpoint=folder / "checkpoint", inputs=inputs)
    getattr(importlib.import_module(module), function)(stage.settings, context)
    return folder / "artefact"


class Run:
    """All stages but the evaluation, each in a folder of its own."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.config, self.folders, self.stages = config, {}, {}
        for stage in rohydr.graph(config, "valid").in_order():
            if stage.name != "evaluate":
                self.stages[stage.name] = stage
                inputs = {role: self.folders[s.name] for role, s in stage.inputs.items()}
                self.folders[stage.name] = run_stage(stage, root / stage.name, inputs)

    def context(self, name: str) -> Context:
        inputs = {role: self.folders[s.name] for role, s in self.stages[name].inputs.items()}
        return Context(folder=self.folders[name], checkpoint=self.folders[name], inputs=inputs)

    def weights(self, name: str, file: str = WEIGHTS) -> dict[str, torch.Tensor]:
        return load_file(self.folders[name] / file)

    def latents(self) -> Latents:
        return Latents.load(self.folders["encode"] / "latents_train.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("rohydr"), config_of())


def denoising_inputs(latents: Latents) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    n = 12
    return {
        "latents": latents.x[:n],
        "available": torch.tensor([True, False, True]).expand(n, -1),
        "frames": latents.frames[:n],
        "t": torch.rand(n, generator=generator) * 0.99 + 0.01,
        "eps": torch.randn(latents.x[:n, 1].shape, generator=generator),
    }


def recovery_model(trained: Run) -> nn.ModuleDict:
    """The trained network and refiner of the acoustic modality, as the stage has them."""
    network = build_network(trained.config, trained.latents().num_frames, 1)
    network.load_state_dict(trained.weights("recover[a]", "network_a.safetensors"))
    refiner = build(trained.config["refiner"]).build(trained.config["encoder"]["latent_dim"])
    refiner.load_state_dict(trained.weights("recover[a]", "refiner_a.safetensors"))
    return nn.ModuleDict({"network": network, "refiners": nn.ModuleDict({"a": refiner})})


def weighted(config: dict[str, Any], lambda_g: float) -> dict[str, Any]:
    return changed(config, {"loss.lambda_g": lambda_g}, component_options())


@pytest.mark.parametrize("lambda_g", [0.0, 1.0, 3.0])
def test_recovery_loss_in_closed_form(trained: Run, lambda_g: float) -> None:
    """L_rec is the refiner's error on D(x_t, t), which the sampling side computes by itself here."""
    model, given = recovery_model(trained), denoising_inputs(trained.latents())
    config = weighted(trained.config, lambda_g)
    sde = build(config["diffusion"]["sde"])
    found = recover.recovery_step(model, sde, config, target=1, **given)
    recovery = load_recovery(config, trained.context("bank"), trained.latents().num_frames)
    x_0 = given["latents"][:, 1]
    alpha_t, sigma_t = (s[:, None, None] for s in sde.marginal_prob(given["t"]))
    denoiser = recovery.denoiser(1, given["latents"], given["available"], given["frames"])
    with torch.no_grad():
        refined = model["refiners"]["a"](denoiser(alpha_t * x_0 + sigma_t * given["eps"], given["t"]))
    present = given["frames"][:, 1]
    L_rec = ((refined - x_0).square().mean(2) * present).sum(1) / present.sum(1)
    torch.testing.assert_close(found["recovery"].detach(), L_rec)
    torch.testing.assert_close(found["loss"], (found["diffusion"] + lambda_g * L_rec) / (1 + lambda_g))


def test_training_the_refiner_costs_one_evaluation_and_reaches_the_network_through_it(trained: Run) -> None:
    """Published are 50 evaluations in every batch, all with autograd."""
    model, given = recovery_model(trained), denoising_inputs(trained.latents())
    calls: list[int] = []
    model["network"].register_forward_hook(lambda *_: calls.append(1))
    sde = build(trained.config["diffusion"]["sde"])
    found = recover.recovery_step(model, sde, trained.config, target=1, **given)
    assert len(calls) == 1
    gradients = torch.autograd.grad(found["recovery"].sum(), list(model.parameters()), allow_unused=True)
    named = {
        name for (name, _), g in zip(model.named_parameters(), gradients, strict=True) if g is not None and g.any()
    }
    assert {name.partition(".")[0] for name in named} == {"network", "refiners"}


def test_lambda_g_0_trains_the_network_that_pretrain_trains(trained: Run, tmp_path: Path) -> None:
    stage = rohydr.graph(weighted(trained.config, 0.0), "valid").inputs["network_a"]
    inputs = {"encode": trained.folders["encode"]}
    pure = load_file(run_stage(stage, tmp_path / "recover", inputs) / "network_a.safetensors")
    pretraining = replace(stage, function="imer_ray.training.pretrain:run")
    alone = load_file(run_stage(pretraining, tmp_path / "pretrain", inputs) / "network_a.safetensors")
    other = trained.weights("recover[a]", "network_a.safetensors")
    assert all(torch.equal(pure[name], alone[name]) for name in alone)
    assert not all(torch.equal(other[name], alone[name]) for name in alone)  # lambda_g = 1 does something to it


@pytest.mark.parametrize("name", options("diffusion/sampler"))
def test_samplers_ask_the_network_at_trained_times_only(trained: Run, name: str) -> None:
    """Published, sampling visits t = 0..49 of 1000, from pure noise: nothing that the network ever learned."""
    config = changed(trained.config, {"diffusion.sampler": name}, component_options())
    latents = trained.latents()
    recovery = load_recovery(config, trained.context("bank"), latents.num_frames)
    recovery.requires_grad_(True)  # even then nothing is recorded for autograd
    times: list[torch.Tensor] = []
    recovery.networks[1].register_forward_hook(lambda _, args, out: times.append(args[1]))
    available = torch.tensor([True, False, True]).expand(8, -1)
    sampler, generator = build(option("diffusion/sampler", name)), torch.Generator().manual_seed(0)
    filled, _ = recovery(latents.x[:8], available, latents.frames[:8], sampler, 5, generator)
    t_min, t_max = recovery.sde.t_min, recovery.sde.t_max
    walked = torch.stack(times)
    assert float(walked[0].min()) == pytest.approx(t_max, rel=1e-6)
    assert float(walked.min()) >= t_min * (1 - 1e-6) and float(walked.max()) <= t_max * (1 + 1e-6)
    assert not filled.requires_grad


def test_the_network_reads_its_condition_frame_by_frame(trained: Run) -> None:
    """Published, the condition is its mean over time, which does not change when the frames change places."""
    recovery = load_recovery(trained.config, trained.context("bank"), trained.latents().num_frames)
    given = denoising_inputs(trained.latents())
    outputs = []
    for latents in (given["latents"], given["latents"].flip(2)):
        denoiser = recovery.denoiser(1, latents, given["available"], given["frames"])
        outputs.append(denoiser(given["eps"], given["t"]))
    assert float((outputs[0] - outputs[1]).detach().abs().max()) > 1e-3


def test_the_bank_holds_refined_latents(trained: Run) -> None:
    """Drawn again and refined, they are the bank's, but for half precision."""
    context, latents = trained.context("bank"), trained.latents()
    refiners = recover.load_refiners(trained.config, context)
    with torch.no_grad():
        for refiner in refiners:
            refiner.narrow.bias.add_(1.0)
    shifted = run_with_refiners(trained, refiners)
    bank, other = Bank.load(trained.folders["bank"], "train"), Bank.load(shifted, "train")
    available = torch.tensor([False, True, True]).expand(5, -1)
    before, after = (b.fill(latents.x[:5], available, torch.arange(5), 0) for b in (bank, other))
    torch.testing.assert_close(after[:, 0], before[:, 0] + 1, atol=1e-2, rtol=0)
    torch.testing.assert_close(after[:, 1:], latents.x[:5, 1:], rtol=0, atol=0)


def run_with_refiners(trained: Run, refiners: nn.ModuleList) -> Path:
    """The bank drawn with other refiners."""
    from safetensors.torch import save_file

    root = trained.folders["bank"].parent.parent / "shifted"
    root.mkdir()
    for name, refiner in zip(MODALITIES, refiners, strict=True):
        save_file(refiner.state_dict(), root / f"refiner_{name}.safetensors")
    inputs = dict(trained.context("bank").inputs) | {f"refiner_{name}": root for name in MODALITIES}
    return run_stage(trained.stages["bank"], root / "bank", inputs)


def test_every_parameter_belongs_to_one_stage(trained: Run) -> None:
    """recover: diffusions and refiners; fuse: R and the marks of what is missing; classify: the head."""
    encoded, fused, classified = (trained.weights(name) for name in ("encode", "fuse", "classify"))
    changed_by_fuse = {name for name, w in encoded.items() if not torch.equal(w, fused[name])}
    assert changed_by_fuse == {"missing"}
    assert {name.partition(".")[0] for name in fused.keys() - encoded.keys()} == {"refiners", "reconstructor"}
    for name, m in zip(MODALITIES, range(3), strict=True):
        refiner = trained.weights(f"recover[{name}]", f"refiner_{name}.safetensors")
        assert all(torch.equal(w, fused[f"refiners.{m}.{key}"]) for key, w in refiner.items())
    changed_by_classify = {name for name, w in fused.items() if not torch.equal(w, classified[name])}
    assert {name.partition(".")[0] for name in changed_by_classify} == {"head"}
    start = {
        k: v for k, v in build_players(trained.stages["fuse"].config, trained.context("fuse")).state_dict().items()
    }
    trained_R = [k for k in fused if k.startswith("reconstructor.")]
    assert not all(torch.equal(start[f"recogniser.{k}"], fused[k]) for k in trained_R)


def test_the_players_groups_are_the_generators_and_the_discriminators(trained: Run) -> None:
    model = build_players(trained.stages["fuse"].config, trained.context("fuse"))
    names = {id(p): name for name, p in model.named_parameters()}
    generator, discriminator = ({names[id(p)] for p in group} for group in groups_of(model).values())
    assert {name.partition(".")[0] for name in discriminator} == {"discriminator"}
    assert {name.split(".")[1] for name in generator} == {"missing", "reconstructor"}
    assert generator | discriminator == {name for name, p in model.named_parameters() if p.requires_grad}


def fusion_inputs(trained: Run) -> tuple[Any, dict[str, torch.Tensor]]:
    model = build_players(trained.stages["fuse"].config, trained.context("fuse")).eval()
    nn.init.normal_(model["recogniser"].reconstructor.out.weight)
    latents, rows = trained.latents(), torch.arange(12)
    available = training_patterns(latents.recorded[rows], torch.Generator().manual_seed(0), complete=False)
    filled = Bank.load(trained.folders["bank"], "train").fill(latents.x[rows], available, rows, 0)
    recogniser, frames = model["recogniser"], latents.frames[rows]
    with torch.no_grad():
        F_gt = recogniser.fuse(latents.x[rows], latents.recorded[rows], frames)
    return model, {"filled": filled, "available": available, "frames": frames, "F_gt": F_gt}


def test_the_discriminators_fakes_are_reconstructed_features(trained: Run) -> None:
    """Published, they are the features before R, so that D never meets what R makes."""
    model, given = fusion_inputs(trained)
    recogniser, discriminator = model["recogniser"], model["discriminator"]
    F_lm = recogniser.fuse(given["filled"], given["available"], given["frames"])
    real, fake, before = (discriminator(x).sigmoid() for x in (given["F_gt"], recogniser.reconstructor(F_lm), F_lm))
    found = fusion_step(model, **given, lambda_al=0.5)["discriminator_loss"]
    torch.testing.assert_close(found, -real.log() - (1 - fake).log())
    assert not torch.allclose(found, -real.log() - (1 - before).log(), atol=1e-2)


def test_what_is_logged_of_the_players_is_of_its_epoch(tmp_path: Path, trained: Run) -> None:
    config = changed(trained.config, {"training.fuse.num_epochs": 12, "loss.lambda_al": 0.25}, component_options())
    stage = rohydr.graph(config, "valid").inputs["recogniser"].inputs["fuse"]
    folder = run_stage(stage, tmp_path / "fuse", dict(trained.context("fuse").inputs))
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


def test_a_complete_batch_skips_the_reconstructor_and_an_incomplete_one_does_not(trained: Run) -> None:
    """Published, a first batch without anything missing is an error."""
    recogniser = build_recogniser(trained.config, with_refiners=True, with_reconstructor=True)
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
def test_lambda_c_chooses_between_the_branches(trained: Run, lambda_c: float, branch: str, tmp_path: Path) -> None:
    config = changed(trained.config, {"loss.lambda_c": lambda_c}, component_options())
    stage = rohydr.graph(config, "valid").inputs["recogniser"]
    folder = run_stage(stage, tmp_path / branch, dict(trained.context("classify").inputs))
    for entry in json.loads((folder / "history.json").read_text()):
        assert entry["loss"] == pytest.approx(entry[branch], abs=1e-6)
        assert entry["complete"] != entry["incomplete"]


def test_clips_that_never_recorded_a_modality_are_trained_on(trained: Run, tmp_path: Path) -> None:
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
            folders[name] = run_stage(stage, tmp_path / name, inputs)
    assert all(w.isfinite().all() for w in load_file(folders["classify"] / WEIGHTS).values())


def test_one_network_for_all_modalities_has_a_refiner_for_each(trained: Run, tmp_path: Path) -> None:
    config = changed(trained.config, {"diffusion.sharing": "shared"}, component_options())
    stage = rohydr.graph(config, "valid").inputs["network_a"]
    assert stage.name == "recover[shared]"
    folder = run_stage(stage, tmp_path / "recover", {"encode": trained.folders["encode"]})
    context = Context(folder=folder, checkpoint=folder, inputs={f"refiner_{name}": folder for name in MODALITIES})
    start = recover.build_refiners(config)
    for before, after in zip(start, recover.load_refiners(config, context), strict=True):
        assert before.narrow.weight.eq(0).all() and after.narrow.weight.ne(0).any()  # each has learned
