"""What every system must do: a small run from clips to metrics and cost, and keys that know nothing of places."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from imer_ray.config import plugins
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.slices import Cost, Evaluate
from imer_ray.evaluation.cost import parts_of, untrained
from imer_ray.models.model import EmotionModel
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import graph
from imer_ray.testing.workers import same_steps
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_model

TRAININGS = ("encode", "pretrain", "impute", "recognise", "joint", "fuse", "classify")
SMALL = (
    *("data.num_train=64", "data.num_valid=48", "data.num_test=48", "bank.num_steps=2", "diffusion.num_steps=2"),
    *(f"training.{stage}.num_epochs=1" for stage in TRAININGS),
    *("speed.max_repeats=1", "speed.reference_steps=1", "speed.batch_size=4"),
)
"""Settings under which every stage takes about a second."""


class SystemContract:
    """Tests of the system of the name ``system``.

    Attributes:
        plugin: the package that it is in.
        overrides: what it needs beside the defaults, as a command takes it.
        stages: folder of artefacts that tests of several systems share; by default one that is removed at the end.
    """

    system: ClassVar[str]
    plugin: ClassVar[str | None] = None
    overrides: ClassVar[Sequence[str]] = ()
    stages: ClassVar[Path | None] = None

    def config(self, *words: str) -> ExperimentConfig:
        """A small configuration of the system."""
        plugins.load([] if self.plugin is None else [self.plugin])
        return compose(ExperimentConfig, "experiment", [f"system={self.system}", *self.overrides, *words])

    def store(self) -> Store:
        """Where the artefacts are."""
        return Store(str(self.stages or _temporary()))

    def final(self) -> Stage:
        """The `evaluate` stage of a small run."""
        return graph(self.config(*SMALL), "valid")

    def test_a_small_run_gives_every_pattern_and_cost(self) -> None:
        final, store = self.final(), self.store()
        metrics = run_graph(final, store)[-1].metrics
        for pattern in ("l", "a", "v", "la", "lv", "av", "lav"):
            assert 0 <= metrics[f"valid.{pattern}.Non0_acc_2"] <= 1
        assert metrics["num_parameters"] > 0 and metrics["speedup_vs_imder"] > 0 and metrics["latency_ms"] > 0
        assert (metrics["nfe"] > 0) == ("network_l" in final.inputs)
        assert metrics["speedup_low"] <= metrics["speedup_vs_imder"] <= metrics["speedup_high"]
        assert all(result.reused for result in run_graph(final, store))

    def test_any_number_of_workers_takes_the_same_steps(self) -> None:
        words = (f"training.{stage}.batch_size=21" for stage in TRAININGS)  # 64 clips: the last batch is one clip
        store = self.store()
        with same_steps():
            for stage in graph(self.config(*SMALL, *words), "valid").in_order():
                if stage.kind not in ("cost", "evaluate"):  # which train nothing
                    run_graph(stage, store)

    def test_cost_is_measured_on_networks_of_the_trained_ones_shapes(self) -> None:
        """Same modules, shapes and what they can recover, so that the same work is timed; weights do not matter."""
        final, store = self.final(), self.store()
        run_graph(final, store)
        models: list[EmotionModel] = []
        for stage, load in ((final, _trained), (final.inputs["cost"], _untrained)):
            inputs = {role: store.open(source.key).folder for role, source in stage.inputs.items()}
            models.append(load(stage.settings, Context(folder=Path(), checkpoint=Path(), inputs=inputs)))
        trained, timed = ({name: tuple(t.shape) for name, t in model.state_dict().items()} for model in models)
        assert trained == timed and trained
        parts = [[type(module) for module in model.modules()] for model in models]
        assert parts[0] == parts[1]
        recoveries = [model.recovery for model in models]
        if recoveries[0] is not None and recoveries[1] is not None:
            assert torch.equal(recoveries[0].recoverable, recoveries[1].recoverable)

    def test_where_data_lie_is_not_part_of_any_key(self) -> None:
        places = ("a.parquet", "b/c.parquet")
        configs = (self.config("data=mosi_utterance", f"data.path={path}", "data_fingerprint=x") for path in places)
        here, there = ({stage.key for stage in graph(config, "valid").in_order()} for config in configs)
        assert here == there


def _trained(settings: Mapping[str, Any], context: Context) -> EmotionModel:
    return load_model(Parts.of(Evaluate.read(settings)), context)


def _untrained(settings: Mapping[str, Any], context: Context) -> EmotionModel:
    read = Cost.read(settings)
    return untrained(parts_of(read), read.reconstructor, load_dataset(read), context, read.seed)


@functools.cache
def _temporary() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="imer_ray.testing.")
    _kept.append(folder)  # until this process ends
    return Path(folder.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []
