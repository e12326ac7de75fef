"""Parameters that not every configuration has are drawn in their groups, and only when they exist."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import create_trial

from imer_ray.tuning.searchers._lazy_groups import LazyGroups

UNIT = FloatDistribution(0.0, 1.0)
SHAPES = [("always", "pair_1", "pair_2"), ("always", "alone"), ("always", "also", "pair_1", "pair_2")]


class Recording(RandomSampler):
    """Draws all that it is asked for together, and remembers what that was."""

    def __init__(self):
        super().__init__(seed=0)
        self.asked = []

    def infer_relative_search_space(self, study, trial):
        return dict.fromkeys(sorted({name for shape in SHAPES for name in shape}), UNIT)

    def sample_relative(self, study, trial, search_space):
        self.asked.append(set(search_space))
        return {name: len(self.asked) / 10 for name in search_space}


def study(sampler):
    made = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
    for number in range(30):
        names = SHAPES[number % len(SHAPES)]
        params = {name: (7 * number + i) % 10 / 10 for i, name in enumerate(names)}
        values = [abs(0.3 - params["always"]) + sum(params.values()) / 9, params["always"]]
        made.add_trial(create_trial(params=params, distributions=dict.fromkeys(names, UNIT), values=values))
    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_a_proposal_draws_each_of_its_groups_once_and_no_other(shape):
    sampler = Recording()
    trial = study(LazyGroups(sampler)).ask()
    values = {name: trial.suggest_float(name, 0.0, 1.0) for name in shape}
    assert sampler.asked[0] == {"always"}
    assert sorted(map(sorted, sampler.asked[1:])) == sorted(
        group for group in (["alone"], ["also"], ["pair_1", "pair_2"]) if set(group) <= set(shape)
    )
    assert values.get("pair_1") == values.get("pair_2"), "one draw has both"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_it_draws_of_a_group_is_what_the_sampler_draws_of_it():
    def tpe():
        return TPESampler(seed=3, n_startup_trials=1, multivariate=True, group=True)

    trial = study(LazyGroups(tpe())).ask()
    lazily = {name: trial.suggest_float(name, 0.0, 1.0) for name in SHAPES[0]}
    sampler, known = tpe(), study(RandomSampler())
    number = known.ask().number
    sampler.infer_relative_search_space(known, known.trials[number])
    drawn = {}
    for group in (["always"], ["pair_1", "pair_2"]):
        drawn |= sampler.sample_relative(known, known.trials[number], dict.fromkeys(group, UNIT))
    assert lazily == drawn
