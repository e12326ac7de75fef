"""What the broker's actor knows without Ray."""

import asyncio
from dataclasses import replace

import pytest
from toy_stages import toy

from imer_ray.config.commands import ScalingConfig
from imer_ray.scaling.broker import BrokerActor
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
        found.append(actor._in_group(stage))
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


def test_a_group_holds_small_stages_up_from_when_it_asks_for_its_cpus_until_it_works(tmp_path):
    async def run():
        actor = actor_of(tmp_path)
        held = [not actor._no_group_starts.is_set()]
        await actor.group_starts("group")
        held.append(not actor._no_group_starts.is_set())
        await actor.begin("group", NOWHERE)
        return [*held, not actor._no_group_starts.is_set()]

    assert asyncio.run(run()) == [False, True, False]
