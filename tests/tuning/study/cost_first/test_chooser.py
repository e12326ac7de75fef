"""Proposals whose cost is known before they are trained."""

import random

import pytest
from records import SPACE, record, row
from searchers_found import every_sampler

from imer_ray.errors import UserError
from imer_ray.results.hypervolume import hypervolume
from imer_ray.tuning.objectives.constraints import parse
from imer_ray.tuning.study.cost_first import NotYet
from imer_ray.tuning.study.cost_first.chooser import CostFirst

LIMIT = "latency_ms_b1 <= 8"


class Costs:
    """A stage `cost` for each number of steps, each measured only after it was asked for ``patience`` times."""

    def __init__(self, patience=0):
        self.patience, self.asked = patience, {}

    def __call__(self, configurations):
        steps = [config["steps"] for config in configurations]
        for number in steps:
            self.asked[number] = self.asked.get(number, -1) + 1
        if min(self.asked[number] for number in steps) < self.patience:
            raise NotYet
        return [{"speedup_vs_imder": 100.0 / number, "latency_ms_b1": float(number)} for number in steps]


def started(folder, costs, constraints=(), sampler="tpe", num_measured=4, **more):
    found = record(folder, sampler, constraints=parse(constraints), **more)
    found.cost_first = CostFirst(SPACE, found.objectives, parse(constraints), costs, num_measured, 4)
    return found


def told(proposal):
    return {**row(proposal), "latency_ms_b1": float(proposal.config["steps"])}


def ask(found):
    while True:
        try:
            return found.ask()
        except NotYet:
            continue


def search(found, num_trials):
    proposals = []
    for _ in range(num_trials):
        proposals.append(ask(found))
        found.tell(proposals[-1].trial, [told(proposals[-1])])
    return [dict(proposal.values) for proposal in proposals]


@every_sampler
def test_no_constraint_on_cost_is_broken_by_what_is_tried(tmp_path, sampler):
    found = started(tmp_path, Costs(), [LIMIT], sampler)
    found.enqueue([{**SPACE.sample(random.Random(1)), "steps": 64}])
    tried = search(found, 16)
    assert max(values["steps"] for values in tried) <= 8
    assert len({tuple(values.items()) for values in tried}) == 16
    assert all(each["feasible"] for each in found.rows)


def test_the_same_without_costs_first_breaks_it(tmp_path):
    assert max(values["steps"] for values in search(record(tmp_path, "tpe", constraints=parse([LIMIT])), 16)) > 8


def test_costs_that_take_a_while_change_nothing_but_when(tmp_path):
    for name in ("at once", "later"):
        (tmp_path / name).mkdir()
    at_once = search(started(tmp_path / "at once", Costs(), [LIMIT]), 12)
    assert at_once == search(started(tmp_path / "later", Costs(patience=3), [LIMIT]), 12)


def test_a_record_taken_up_in_the_middle_goes_on_as_if_it_had_not_been_left(tmp_path):
    for name in ("whole", "left"):
        (tmp_path / name).mkdir()
    whole = search(started(tmp_path / "whole", Costs(), [LIMIT]), 12)
    first = search(started(tmp_path / "left", Costs(), [LIMIT]), 7)
    with pytest.raises(NotYet):  # killed while costs were measured
        started(tmp_path / "left", Costs(patience=3), [LIMIT]).ask()
    assert whole == first + search(started(tmp_path / "left", Costs(), [LIMIT]), 5)


def test_a_constraint_that_nothing_keeps_is_said(tmp_path):
    found = started(tmp_path, Costs(), ["latency_ms_b1 <= 0.5"])
    with pytest.raises(UserError, match=r"no new configuration was found that keeps latency_ms_b1 <= 0\.5"):
        ask(found)


def test_where_cost_cannot_be_measured_the_searcher_proposes(tmp_path):
    found = started(tmp_path, lambda configurations: [None] * len(configurations), [LIMIT])
    assert len(search(found, 8)) == 8


def test_trials_that_were_stopped_are_no_start_up(tmp_path):
    found = started(tmp_path, Costs())
    for _ in range(6):
        proposal = ask(found)
        found.tell(proposal.trial, [{**told(proposal), "status": "stopped", "fidelity": 0.25}])
    assert found.cost_first.choose(found._study, 0, lambda values: True, dict) is None
    search(found, 4)
    assert found.cost_first.choose(found._study, 0, lambda values: True, dict) is not None


def test_few_costs_are_measured_for_a_proposal(tmp_path):
    costs = Costs()
    search(started(tmp_path, costs, num_measured=2), 24)
    assert sum(costs.asked.values()) + len(costs.asked) <= 2 * 20


def test_the_front_is_better_than_without(tmp_path):
    """Quality 0.8 - 0.2 / steps, speed 100 / steps: only the steps matter, and all of them are on the front."""
    volumes = {}
    for name, begin in (("off", lambda folder: record(folder, "tpe")), ("on", lambda folder: started(folder, Costs()))):
        (tmp_path / name).mkdir()
        found = begin(tmp_path / name)
        search(found, 20)
        points = [[each[objective.column] for objective in found.objectives] for each in found.rows]
        volumes[name] = hypervolume(points, [objective.reference for objective in found.objectives])
    assert volumes["on"] > volumes["off"]
