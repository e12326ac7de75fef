"""What every scheduler must do, and what successive halving does beyond."""

import json
from dataclasses import replace
from importlib import import_module, resources
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from imer_ray.config.commands import SearchConfig, StudyConfig
from imer_ray.config.compose import compose
from imer_ray.errors import UserError
from imer_ray.testing import SchedulerContract
from imer_ray.testing.schedulers import KIND, at
from imer_ray.tuning.ray_tune.scheduler import StudyScheduler
from imer_ray.tuning.schedulers import Milestone
from imer_ray.tuning.schedulers._reach import MIN_KNOWN
from imer_ray.tuning.schedulers.asha import ASHA
from imer_ray.tuning.trial.status import STANDING

SCHEDULERS = sorted(
    entry.name[:-3]
    for entry in resources.files("imer_ray.tuning.schedulers").iterdir()
    if entry.name.endswith(".py") and not entry.name.startswith("_")
)
VALUES = st.integers(0, 9).map(float)


def build(name, **settings):
    return import_module(f"imer_ray.tuning.schedulers.{name}").build(StudyConfig(**settings))


def test_a_scheduler_is_a_file_and_the_configuration_offers_them_all():
    assert {"fifo", "asha"} <= set(SCHEDULERS)
    for name in SCHEDULERS:
        assert compose(SearchConfig, "search", [f"study.scheduler={name}"]).study.scheduler == name
    with pytest.raises(UserError, match="study.scheduler=ahsa.*did you mean asha"):
        compose(SearchConfig, "search", ["study.scheduler=ahsa"])


@pytest.mark.parametrize("setting", ["reduction_factor=1", "reduction_factor=.inf", "grace_epochs=0", "brackets=0"])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(UserError, match=f"study.{setting.partition('=')[0]}"):
        compose(SearchConfig, "search", [f"study.{setting}"])


@pytest.mark.parametrize("name", SCHEDULERS)
class TestEveryScheduler(SchedulerContract):
    @pytest.fixture(autouse=True)
    def _build(self, name):
        self.scheduler = import_module(f"imer_ray.tuning.schedulers.{name}")


def test_fifo_compares_nothing():
    assert build("fifo").rungs == ()
    assert build("asha", grace_epochs=2, reduction_factor=4).rungs[:3] == (2, 8, 32)


def test_a_third_goes_on_and_the_stopped_count():
    scheduler = ASHA(3, 3.0)
    decisions = [scheduler.goes_on(at(trial, 3, loss)) for trial, loss in enumerate([5, 4, 6, 3, 7, 4.5, 2])]
    # places: 1 1 1 2 2 2 3; better ones before: 0 0 2 0 4 2 0
    assert decisions == [True, True, False, True, False, False, True]


def test_a_trial_is_judged_once_at_a_rung_and_by_its_first_value():
    scheduler = ASHA(3, 3.0)
    scheduler.goes_on(at(0, 3, 5.0))
    assert scheduler.goes_on(at(1, 3, 4.0))
    scheduler.goes_on(at(2, 3, 1.0))
    scheduler.goes_on(at(3, 3, 1.0))
    assert scheduler.goes_on(at(1, 3, 9.0))  # would be the worst of four


def test_between_rungs_nobody_is_judged():
    scheduler = ASHA(3, 3.0)
    scheduler.goes_on(at(0, 4, 1.0))
    assert scheduler.goes_on(at(1, 4, 9.0))
    scheduler.goes_on(at(2, 9, 1.0))
    assert not scheduler.goes_on(at(3, 9, 9.0))


def test_both_values_count():
    scheduler = ASHA(3, 3.0)
    scheduler.goes_on(at(0, 3, 1.0, speed=1.0))
    assert scheduler.goes_on(at(1, 3, 9.0, speed=0.5))  # worse but faster: the other end of the front
    assert not scheduler.goes_on(at(2, 3, 9.0, speed=1.5))


def test_kinds_of_stages_are_not_mixed():
    scheduler = ASHA(3, 3.0)
    scheduler.goes_on(at(0, 3, 1.0))
    other = "joint"
    assert scheduler.goes_on(Milestone(trial=1, compared={other: {3: 9.0}}, alone=(other,), costs=(1.0,)))


def test_speeds_are_measured_ones_for_all_or_estimates_for_all():
    scheduler = ASHA(3, 3.0)
    scheduler.goes_on(replace(at(0, 3, 5.0, speed=-2.0), estimated_speed=0.5))
    # Beside a measured -2.0 an estimate of 0.3 would be slow; beside an estimate of 0.5 it is fast.
    assert scheduler.goes_on(replace(at(1, 3, 9.0, speed=None), estimated_speed=0.3))
    scheduler.learn(replace(at(1, 3, 9.0, speed=-1.0), estimated_speed=0.3))
    assert not scheduler.goes_on(replace(at(2, 3, 9.0, speed=-1.5), estimated_speed=0.1))


def test_a_trial_of_a_higher_bracket_skips_rungs_and_meets_its_like():
    scheduler = ASHA(1, 2.0, num_brackets=2)  # brackets 0 0 1 0 0 1
    scheduler.goes_on(at(0, 1, 1.0))
    assert not scheduler.goes_on(at(1, 1, 9.0))
    assert scheduler.goes_on(at(2, 1, 9.0))  # is not judged there
    assert scheduler.goes_on(at(2, 2, 9.0))  # the first of its bracket
    assert not scheduler.goes_on(at(5, 2, 10.0))


def judged(scheduler, losses, **more):
    return [scheduler.goes_on(at(trial, 3, loss, **more)) for trial, loss in enumerate(losses)]


def test_a_paused_trial_goes_on_once_it_is_among_the_best_third():
    scheduler = ASHA(3, 3.0)
    assert judged(scheduler, [5, 4, 6]) == [True, True, False]
    assert scheduler.resumed(False) is None  # one place of three, and one that is better
    for trial, loss in enumerate([7, 8, 9, 10], start=3):
        scheduler.goes_on(at(trial, 3, loss))
    assert scheduler.resumed(False) == 2  # three places of seven
    assert scheduler.resumed(False) is None and scheduler.goes_on(at(2, 3, 6.0))  # and is not judged there again


def test_the_highest_rung_goes_first_and_of_a_rung_the_best():
    scheduler = ASHA(3, 2.0)
    scheduler.goes_on(at(0, 6, 1.0))
    assert not scheduler.goes_on(at(1, 6, 2.0))
    for trial, loss in ((2, 4.0), (3, 5.0), (4, 3.0)):
        scheduler.learn(replace(at(trial, 3, loss), stopped=True))
    assert [scheduler.resumed(True) for _ in range(5)] == [1, 4, 2, 3, None]


def test_a_trial_of_an_earlier_run_is_resumed_as_well():
    scheduler = ASHA(3, 3.0)
    scheduler.learn(at(0, 3, 1.0))
    scheduler.learn(replace(at(1, 3, 2.0), stopped=True))
    assert scheduler.resumed(False) is None and scheduler.resumed(True) == 1
    assert scheduler.goes_on(at(1, 3, 2.0))


def test_who_cannot_reach_the_front_is_paused_whatever_its_rank_and_resumed_no_more():
    """Trials ended on a line, quality = loss / 10, and the best of them beats what the others can become."""
    scheduler = ASHA(3, 3.0, reference=(1.0, 2.0))
    for trial in range(MIN_KNOWN):
        loss = 1.0 if trial == 0 else 3.0 + trial
        scheduler.learn(at(trial, 3, loss))
        scheduler.ended(trial, [(loss / 10, 1.0)])
    other = MIN_KNOWN
    assert not scheduler.goes_on(at(other, 3, 2.0))  # the second, and three places; but it would end beside 0.1 at 0.2
    assert scheduler.resumed(False) is None and scheduler.resumed(True) is None
    assert scheduler.goes_on(at(other + 1, 3, 2.0, speed=0.5))  # as good, and faster
    assert scheduler.goes_on(at(other + 2, 3, 0.5))


def test_nothing_is_foretold_of_a_paused_trial_whose_costs_are_not_known_beside_one_of_whom_they_are():
    """The one would end beside a better one that costs as much; the other may turn out to be the fastest."""
    scheduler = ASHA(3, 3.0, reference=(1.0, 2.0))
    for trial in range(MIN_KNOWN):
        scheduler.learn(at(trial, 3, 1.0 + trial))
        scheduler.ended(trial, [(0.1 + trial / 10, 1.0)])
    hopeless, unknown = MIN_KNOWN, MIN_KNOWN + 1
    scheduler.learn(replace(at(hopeless, 3, 2.0), stopped=True))
    scheduler.learn(replace(at(unknown, 3, 3.0, speed=None), stopped=True))
    assert [scheduler.resumed(True) for _ in range(2)] == [unknown, None]


def test_what_an_earlier_run_reached_counts():
    scheduler = ASHA(3, 3.0)
    scheduler.learn(at(0, 3, 1.0))
    assert not scheduler.goes_on(at(1, 3, 2.0))


@pytest.fixture(params=SCHEDULERS)
def adapter(request):
    left = []
    scheduler = StudyScheduler(
        build(request.param), lambda cost: (cost["speed"],) if cost else None, lambda values: 1.0, left.append
    )
    scheduler.left = left
    return scheduler


def trial(number, status=Trial.PENDING):
    return SimpleNamespace(trial_id=f"study_{number:05}", status=status, config={"trial": number, "values": {}})


def report(loss, alone=(KIND,)):
    standing = {"compared": {KIND: {"3": loss}} if loss is not None else {}, "alone": alone, "cost": {"speed": 1.0}}
    return {"stage": "recognise", "epoch": 3, STANDING: json.dumps(standing)}


def test_tune_runs_trials_in_the_order_in_which_they_were_proposed(adapter):
    waiting = [trial(n) for n in (7, 3, 100000, 5)] + [trial(1, Trial.RUNNING)]
    controller = SimpleNamespace(get_live_trials=lambda: set_of(waiting))
    chosen = []
    while (found := adapter.choose_trial_to_run(controller)) is not None:
        assert found is adapter.choose_trial_to_run(controller)  # asking changes nothing
        chosen.append(found.config["trial"])
        found.status = Trial.RUNNING
    assert chosen == [3, 5, 7, 100000]


def set_of(trials):
    return {id(t): t for t in trials}.values()


def test_reports_without_news_stop_no_trial(adapter):
    results = [{}, {"stage": "encode", "epoch": 1}, report(None), {"outcome": "{}"}, {"done": True}]
    for number, result in enumerate(results):
        assert adapter.on_trial_result(None, trial(number), result) == TrialScheduler.CONTINUE
    assert not adapter.stopped and not adapter.left


def test_a_stopped_trial_is_known_and_leaves_its_stages(adapter):
    decisions = [adapter.on_trial_result(None, trial(n), report(float(n))) for n in range(4)]
    stopped = [n for n, decision in enumerate(decisions) if decision == TrialScheduler.STOP]
    assert adapter.left == stopped
    assert adapter.stopped == {f"study_{n:05}" for n in stopped}
    assert bool(stopped) == (adapter.rungs != ())


def test_whatever_happens_to_trials_the_scheduler_takes_it(adapter):
    for event in (adapter.on_trial_add, adapter.on_trial_error, adapter.on_trial_remove):
        event(None, trial(9))
    adapter.on_trial_complete(None, trial(9), {})
    assert adapter.on_trial_result(None, trial(9), report(1.0)) == TrialScheduler.CONTINUE
    assert adapter.__getstate__() == {}
