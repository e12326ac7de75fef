"""What the broker's actor knows without Ray."""

import asyncio
import functools
from dataclasses import replace
from types import SimpleNamespace

import pytest
from toy_stages import toy

from imer_ray.config.commands import ScalingConfig
from imer_ray.errors import StageStopped
from imer_ray.scaling import broker
from imer_ray.scaling.broker import BrokerActor
from imer_ray.scaling.growth import Growth
from imer_ray.stages.broker import NOWHERE
from imer_ray.stages.lease import Lease
from imer_ray.stages.run import StageResult
from imer_ray.tuning.trial.coordinator import waiter_name


def actor_of(tmp_path, nodes=({"CPU": 8.0, "GPU": 8.0},), **changes):
    settings = replace(ScalingConfig(train_stages=("group",)), **changes)
    return BrokerActor(str(tmp_path), settings, Lease(), lambda: nodes)


def test_what_a_stage_needs_is_said_in_words(tmp_path):
    def needs(stage, **changes):
        actor = actor_of(tmp_path, **changes)
        actor._broker._job(stage)
        return actor._needs(stage)

    group, alone = toy("group"), toy("alone")
    assert needs(alone) == "1 CPU"
    assert needs(alone, cpus_per_stage=2, gpus_per_stage=0.25) == "2 CPUs and 0.25 GPU"
    assert needs(group, gpus_per_stage=1) == "2 workers with 1 CPU and 1 GPU each"
    assert needs(group, num_workers=0) == "1 CPU"
    assert needs(group, nodes=[{"CPU": 1.0}]) == "1 CPU"
    assert needs(group, num_workers=(2, 4), nodes=[{"CPU": 3.0}]) == "3 workers with 1 CPU each"


def in_group(tmp_path, waiter, **asked):
    """Whether a stage that is to run in a group does, if one asks for it."""
    actor, found = actor_of(tmp_path), []

    async def launch(stage):
        found.append(actor._size(stage) > 1)
        return StageResult(key=stage.key, name=stage.name, seconds=0.0, reused=False, metrics={})

    actor._broker._launch = launch
    while not found:
        asyncio.run(actor.wait([toy("group")], waiter, 1.0, **asked))
    return found[0]


@pytest.mark.parametrize("study", ["demo", "beside-x", "baseline"])
def test_a_study_of_any_name_gets_worker_groups(tmp_path, study):
    assert in_group(tmp_path, waiter_name(study, 0))


def test_what_is_wanted_in_the_background_only_gets_none(tmp_path):
    assert not in_group(tmp_path, "baseline-zero", background=True)


@pytest.mark.parametrize(("num_epochs", "grows"), [(12, False), (100, True)])
def test_a_training_goes_on_in_a_group_once_its_epochs_show_that_it_pays(tmp_path, monkeypatch, num_epochs, grows):
    clock, sizes = [0.0], []
    monkeypatch.setattr(broker, "Growth", functools.partial(Growth, now=lambda: clock[0]))
    actor, stage = actor_of(tmp_path, train_stages=("auto",)), toy("encode")

    async def submit(stage, store_root, scaling, run, *size_and_places, holds=True):
        *size, _ = size_and_places
        sizes.append(size[0] if size else 1)
        for epoch in range(0, 5):  # of ten seconds
            clock[0] += 10.0
            if not await actor.progress(stage.key, epoch, num_epochs, {"loss": 1.0}, NOWHERE):
                raise StageStopped("it is to go on with more workers")
        return StageResult(key=stage.key, name=stage.name, seconds=0.0, reused=False, metrics={})

    monkeypatch.setattr(broker.inline, "submit", submit)
    monkeypatch.setattr(broker.ray_train, "submit", submit)
    monkeypatch.setattr(broker.ray, "get_runtime_context", lambda: SimpleNamespace(current_actor=None))

    async def run():
        while (await actor.wait([stage], "w", 1.0))[stage.key].state != "done":
            pass

    asyncio.run(run())
    assert sizes == ([1, 2] if grows else [1])


def test_what_tells_no_loss_never_grows_and_what_is_named_begins_in_a_group(tmp_path):
    actor = actor_of(tmp_path, train_stages=("auto", "pretrain"))
    for kind, size in {"encode": 1, "pretrain": 2}.items():
        actor._broker._job(toy(kind))
        assert actor._size(toy(kind)) == size

    async def told(metrics):
        actor._growth["key"] = SimpleNamespace(pays=lambda *asked: True)
        actor._broker.progress = lambda *told: True
        return await actor.progress("key", 1, 9, metrics, NOWHERE)

    assert asyncio.run(told({"valid_loss": 0.5})) and not asyncio.run(told({"loss": 0.5}))


def test_a_group_holds_small_stages_up_from_when_it_asks_for_its_cpus_until_it_works(tmp_path):
    async def run():
        actor = actor_of(tmp_path)
        held = [not actor._no_group_starts.is_set()]
        await actor.group_starts("group")
        held.append(not actor._no_group_starts.is_set())
        await actor.begin("group", NOWHERE)
        return [*held, not actor._no_group_starts.is_set()]

    assert asyncio.run(run()) == [False, True, False]
