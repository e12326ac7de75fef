"""Every system found in the folder: its graph, what shares what, and a small run from clips to metrics."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import imer_ray.systems
from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import STAGE_KINDS
from imer_ray.config.resolve import component_options
from imer_ray.config.tree import replace
from imer_ray.errors import UserError
from imer_ray.evaluation.cost import untrained, with_process
from imer_ray.models.model import EmotionModel
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import load_graph
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_model

SYSTEMS = [m.name for m in pkgutil.iter_modules(imer_ray.systems.__path__) if not m.name.startswith("_")]
SMALL = [
    *("data.num_train=64", "data.num_valid=48", "data.num_test=48", "bank.num_steps=2", "diffusion.num_steps=2"),
    *(f"training.{stage}.num_epochs=1" for stage in ("encode", "pretrain", "impute", "recognise", "joint")),
    *(f"training.{stage}.num_epochs=1" for stage in ("fuse", "classify")),
    *("speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=4"),
]


def _config(*overrides: str) -> dict[str, Any]:
    return compose(SearchConfig, "search", [*SMALL, *overrides]) | {"data_fingerprint": "clips"}


def _graph(config: dict[str, Any], split: str = "valid") -> Stage:
    return load_graph(config, split)


def _keys(config: dict[str, Any]) -> dict[str, str]:
    return {stage.name: stage.key for stage in _graph(config).in_order()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("stages")))


def _small(system: str) -> dict[str, Any]:
    overrides = [f"system={system}"]
    if system == "imder":
        overrides += ["diffusion.sde=imder_ve", "diffusion.parametrization=score", "diffusion.backbone=imder_unet"]
        overrides += ["diffusion.sampler=euler_maruyama"]
    return {**_config(*overrides), "data_fingerprint": None}


def test_every_kind_of_stage_can_be_named_and_no_other() -> None:
    found = {s.kind for name in SYSTEMS for s in _graph(_config(f"system={name}")).in_order()}
    found |= {s.kind for s in _graph(_config("system=decoupled", "distill.method=reflow")).in_order()}
    assert found == set(STAGE_KINDS)
    assert _config("scaling.train_stages=[encode,joint]")["scaling"]["train_stages"] == ["encode", "joint"]
    with pytest.raises(UserError, match=r"scaling\.train_stages=encod: .*did you mean encode\?"):
        _config("scaling.train_stages=[pretrain,encod]")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_small_run_gives_every_pattern_and_cost(system: str, store: Store) -> None:
    config = _small(system)
    first = run_graph(_graph(config), store)
    metrics = first[-1].metrics
    for pattern in ("l", "a", "v", "la", "lv", "av", "lav"):
        assert 0 <= metrics[f"valid.{pattern}.Non0_acc_2"] <= 1
    assert metrics["num_parameters"] > 0 and metrics["speedup_vs_imder"] > 0 and metrics["latency_ms"] > 0
    assert (metrics["nfe"] > 0) == ("network_l" in _graph(config).inputs)
    assert metrics["speedup_low"] <= metrics["speedup_vs_imder"] <= metrics["speedup_high"]
    again = run_graph(_graph(config), store)
    assert all(result.reused for result in again)


@pytest.mark.parametrize("system", SYSTEMS)
def test_cost_is_measured_on_networks_of_the_trained_ones_shapes(system: str, store: Store) -> None:
    """Same modules, shapes and what they can recover, so that the same work is timed; weights do not matter to it."""
    final = _graph(_small(system))
    run_graph(final, store)
    models = []
    for stage, load in ((final, load_model), (final.inputs["cost"], _untrained)):
        inputs = {role: store.open(s.key).folder for role, s in stage.inputs.items()}
        models.append(load(stage.settings, Context(folder=Path(), checkpoint=Path(), inputs=inputs)))
    trained, untrained = ({name: tuple(t.shape) for name, t in model.state_dict().items()} for model in models)
    assert trained == untrained and list(trained)
    parts = [[type(module) for module in model.modules()] for model in models]
    assert parts[0] == parts[1]
    if models[0].recovery is not None:
        assert torch.equal(*(model.recovery.recoverable for model in models))


def _untrained(config: dict[str, Any], context: Context) -> EmotionModel:
    return untrained(with_process(config), load_dataset(config), context)


def test_the_same_seed_predicts_the_same(store: Store, tmp_path: Path) -> None:
    config = {**_config(), "data_fingerprint": None}
    other = Store(str(tmp_path))
    for where in (store, other):
        run_graph(_graph(config), where)
    key = _graph(config).key
    predictions = [load_file(s.open(key).folder / "predictions.safetensors") for s in (store, other)]
    assert all((predictions[0][name] == predictions[1][name]).all() for name in predictions[0])


@pytest.mark.parametrize(
    ("changes", "recomputed"),
    [
        ({"diffusion.num_steps": 4}, {"cost", "evaluate"}),
        ({"diffusion.num_draws": 2}, {"cost", "evaluate"}),
        ({"diffusion.sampler": "heun"}, {"cost", "evaluate"}),
        ({"precision": "bf16"}, {"cost", "evaluate"}),
        ({"compile": "default"}, {"cost", "evaluate"}),
        ({"speed.tolerance": 0.2}, {"cost", "evaluate"}),
        ({"loss.recovery": 0.5}, {"recognise", "evaluate"}),
        ({"training.recognise.num_epochs": 3}, {"recognise", "evaluate"}),
        ({"bank.num_steps": 3}, {"bank", "recognise", "evaluate"}),
        *(
            ({key: value}, {"pretrain[l]", "pretrain[a]", "pretrain[v]", "bank", "recognise", "evaluate"})
            for key, value in [
                ("diffusion.sde", "ve"),
                ("diffusion.sde.schedule", "cosine"),
                ("diffusion.parametrization", "velocity"),
                ("diffusion.sigma_data", 0.5),
                ("diffusion.weighting", "min_snr"),
                ("diffusion.time_sampling", "log_normal"),
            ]
        ),
    ],
)
def test_a_change_recomputes_what_depends_on_it_and_nothing_else(changes: dict, recomputed: set[str]) -> None:
    base = _config()
    before, after = _keys(base), _keys(replace(base, changes, component_options()))
    assert {name for name in before if before[name] != after[name]} == recomputed


def test_decoupled_zero_and_masked_share_the_encoder_on_complete_data() -> None:
    assert len({_keys(_config(f"system={s}"))["encode"] for s in ("decoupled", "masked", "zero")}) == 1


def test_a_bank_of_the_trials_own_sampler_follows_it() -> None:
    base = _config("bank.mode=same")
    after = replace(base, {"diffusion.num_steps": 4}, component_options())
    assert _keys(base)["bank"] != _keys(after)["bank"]


@pytest.mark.parametrize("system", SYSTEMS)
def test_where_data_lie_is_not_part_of_any_key(system: str) -> None:
    config = compose(SearchConfig, "search", [f"system={system}", "data=mosi_utterance"]) | {"data_fingerprint": "x"}
    here, there = ({**config, "data": {**config["data"], "path": path}} for path in ("a.parquet", "b/c.parquet"))
    assert _keys(here) == _keys(there)
