"""Budgets: what is counted, when they end a search, and what the next command finds."""

import pytest
from changed import changed

from imer_ray.config.commands import ScalingConfig
from imer_ray.errors import UserError
from imer_ray.tuning import budget
from imer_ray.tuning.budget import LOOK_SECONDS, Budget, CostMeter, GpuMeter, Limits
from imer_ray.tuning.study.study import open_record, plan

SCALING = ScalingConfig(gpus_per_stage=2)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def stats(running=(), **worker_seconds):
    return {"stages": {k: {"worker_seconds": s} for k, s in worker_seconds.items()}, "running": list(running)}


def test_gpu_hours_are_the_seconds_of_all_workers_times_their_gpus():
    told = stats(encode=4 * 90.0, recognise=900.0, running=[{"seconds": 1800.0, "workers": 3}])
    assert GpuMeter(lambda: told, SCALING).read() == pytest.approx(2 * (4 * 90 + 900 + 3 * 1800) / 3600)


def test_a_restarted_broker_counts_on():
    told = [stats(recognise=3600.0), stats(recognise=7200.0), stats(), stats(recognise=1800.0)]
    meter = GpuMeter(lambda: told.pop(0), SCALING)
    assert [meter.read() for _ in range(4)] == pytest.approx([2, 4, 4, 5])


def test_nodes_cost_what_they_are_there_for_whatever_they_do(clock):
    nodes = ["head"]
    meter = CostMeter(lambda: nodes, {"head": 0.4, "worker": 1.2}, clock)
    assert meter.read() == 0
    clock.now += 3600
    assert meter.read() == pytest.approx(0.4)
    nodes += ["worker", "worker"]
    clock.now += 1800
    assert meter.read() == pytest.approx(0.4 + 0.5 * (0.4 + 2 * 1.2))
    nodes[:] = ["head", "unheard of"]  # counts as the dearest
    clock.now += 3600
    assert meter.read() == pytest.approx(1.8 + 0.4 + 1.2)


def test_one_price_is_that_of_every_node(clock):
    meter = CostMeter(lambda: ["local", "local"], 1.5, clock)
    clock.now += 7200
    assert meter.read() == pytest.approx(6.0)


def test_seconds_are_those_of_this_command(clock):
    limit = Budget(Limits(seconds=60), {}, {}, lambda spent: None, started=clock.now, clock=clock)
    clock.now += 59
    assert not limit.is_over() and limit.over is None
    clock.now += 1
    assert limit.is_over() and limit.over == "study.max_seconds=60 is reached; run the same command again to go on"


def test_gpu_hours_and_dollars_add_up_over_commands(clock):
    kept, used = {}, {"gpu_hours": 0.0, "dollars": 0.0}
    meters = {name: lambda name=name: used[name] for name in used}
    before = {"gpu_hours": 3.0, "dollars": 10.0}
    limits = Limits(gpu_hours=4, dollars=100)
    limit = Budget(limits, meters, before, kept.update, started=clock.now, clock=clock)
    assert not limit.is_over() and kept == before
    used.update(gpu_hours=1.5, dollars=2.0)
    assert not limit.is_over()  # it has just looked
    clock.now += LOOK_SECONDS
    assert limit.is_over() and kept == {"gpu_hours": 4.5, "dollars": 12.0}
    assert limit.over.startswith("study.max_gpu_hours=4 is reached: 4.5 GPU-hours are spent in this study;")
    again = Budget(limits, {}, kept, kept.update, started=clock.now, clock=clock)
    again.look()
    assert again.is_over()  # another command finds it spent, whatever it could count itself


def test_without_a_limit_nothing_ends_but_what_is_spent_is_known_later(options):
    searched = plan(changed(options, scaling={"gpus_per_stage": 1}), systems="toy_systems")
    record = open_record(searched)

    class Client:
        def stats(self):
            return stats(recognise=7200.0)

    limit = budget.begin(searched.options.study, searched.options.scaling, record, Client(), 0.0)
    assert not limit.is_over()
    assert open_record(searched).spent == {"gpu_hours": 2.0}


@pytest.mark.parametrize(
    ("study", "scaling", "message"),
    [
        ({"max_cost": 5.0}, {}, "study.max_cost=5 needs the price of a node: scaling.dollars_per_hour=1.2, or"),
        ({"max_gpu_hours": 2.0}, {}, "study.max_gpu_hours=2: stages hold no GPU with scaling.gpus_per_stage=0"),
    ],
)
def test_a_budget_that_nothing_counts_against_is_refused(options, study, scaling, message):
    with pytest.raises(UserError) as raised:
        plan(changed(options, study=study, scaling=scaling), systems="toy_systems")
    assert str(raised.value).startswith(message)
