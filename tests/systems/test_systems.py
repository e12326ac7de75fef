"""Every system found in the folder: its graph, what shares what, and a small run from clips to metrics."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest
from experiments import changed, experiment
from safetensors.torch import load_file

import imer_ray.systems
from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import STAGE_KINDS, ExperimentConfig
from imer_ray.errors import UserError
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.testing.systems import SMALL, SystemContract

SYSTEMS = [m.name for m in pkgutil.iter_modules(imer_ray.systems.__path__) if not m.name.startswith("_")]
IMDER = ("diffusion.sde=imder_ve", "diffusion.parametrization=score", "diffusion.backbone=imder_unet")


def _config(*overrides: str, fingerprint: str | None = "clips") -> ExperimentConfig:
    return experiment(*SMALL, *overrides, fingerprint=fingerprint)


def _graph(config: ExperimentConfig) -> Stage:
    return graph(config, "valid")


def _keys(config: ExperimentConfig) -> dict[str, str]:
    return {stage.name: stage.key for stage in _graph(config).in_order()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(str(tmp_path_factory.mktemp("stages")))


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "imder"])
class TestEverySystem(SystemContract):
    @pytest.fixture(autouse=True)
    def _system(self, system: str, store: Store) -> None:
        self.system, self.stages = system, Path(store.root)


class TestImder(SystemContract):
    system = "imder"
    overrides = (*IMDER, "diffusion.sampler=euler_maruyama")

    @pytest.fixture(autouse=True)
    def _stages(self, store: Store) -> None:
        self.stages = Path(store.root)

    @pytest.mark.slow
    def test_any_number_of_workers_takes_the_same_steps(self) -> None:
        """Each of its steps samples: it takes as long as all others together."""
        super().test_any_number_of_workers_takes_the_same_steps()


def test_times_of_one_machine_are_not_taken_for_those_of_another() -> None:
    """All else is shared: a store may serve laptops and clusters alike."""
    config = _config()
    here, there = (
        {stage.name: stage.key for stage in graph(config, "valid", machine=name).in_order()} for name in ("A", "B")
    )
    assert {name for name in here if here[name] != there[name]} == {"cost", "evaluate"}
    assert here == {stage.name: stage.key for stage in graph(config, "valid", machine="A").in_order()}
    apart = {name for name, key in _keys(config).items() if key != here[name]}
    assert apart == {"cost", "evaluate"}, "where times do not matter"


def test_seeds_share_one_measurement_where_times_do_not_matter() -> None:
    configs = [_config(f"seed={seed}") for seed in (1, 2)]
    one, other = (_keys(config) for config in configs)
    assert one["cost"] == other["cost"] and one["evaluate"] != other["evaluate"]
    timed = [{stage.name: stage.key for stage in graph(config, "valid", machine="A").in_order()} for config in configs]
    assert timed[0]["cost"] != timed[1]["cost"]


def test_every_kind_of_stage_can_be_named_and_no_other() -> None:
    found = {s.kind for name in SYSTEMS for s in _graph(_config(f"system={name}")).in_order()}
    found |= {
        s.kind
        for s in _graph(_config("system=decoupled", "distill.method=reflow", "diffusion.prior=gaussian")).in_order()
    }
    assert found == set(STAGE_KINDS)
    compose(SearchConfig, "search", ["scaling.train_stages=[encode,joint]"])
    with pytest.raises(UserError, match=r"scaling\.train_stages=encod: .*did you mean encode\?"):
        compose(SearchConfig, "search", ["scaling.train_stages=[pretrain,encod]"])


def test_the_same_seed_predicts_the_same(store: Store, tmp_path: Path) -> None:
    config = _config(fingerprint=None)
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
    before, after = _keys(base), _keys(changed(base, changes))
    assert {name for name in before if before[name] != after[name]} == recomputed


def test_decoupled_zero_and_masked_share_the_encoder_on_complete_data() -> None:
    assert len({_keys(_config(f"system={s}"))["encode"] for s in ("decoupled", "masked", "zero")}) == 1


def test_a_bank_of_the_trials_own_sampler_follows_it() -> None:
    base = _config("bank.mode=same")
    after = changed(base, {"diffusion.num_steps": 4})
    assert _keys(base)["bank"] != _keys(after)["bank"]
