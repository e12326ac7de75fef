"""A value that its user believes in comes first, often at the beginning, and seldom later; any sampler goes along."""

import itertools
from importlib import import_module

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState, create_trial
from searchers_found import every_sampler

from imer_ray.testing import searchers as contract
from imer_ray.testing.searchers import SPACE
from imer_ray.tuning.searchers import TRIAL
from imer_ray.tuning.searchers._believed import Believed
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix

FADING = 8
NUM_SEEDS = 400


def search(sampler, seed, num_trials, wrap):
    build = import_module(f"imer_ray.tuning.searchers.{sampler}").build
    return contract.search(lambda *words: wrap(build(*words)), seed, num_trials)


def share_after(num):
    """Of proposals that have a believed choice of two, after so many trials."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    for number in range(num):
        study.add_trial(create_trial(state=TrialState.FAIL, user_attrs={TRIAL: number}))
    found = 0
    for seed in range(NUM_SEEDS):
        study.sampler = Believed(RandomSampler(seed=seed), {"sde": "ve", "sigma": 16.0}, seed, FADING)
        trial = study.ask()
        values = SPACE.suggest(trial)
        found += values["sde"] == "ve"
        study.tell(trial, state=TrialState.FAIL)
    return found / NUM_SEEDS


@pytest.mark.parametrize(("num", "share"), [(0, 0.5), (FADING, 0.25), (9 * FADING, 0.05)])
def test_the_share_of_a_belief_falls_as_it_says(num, share):
    """To half of what is left chance has it, too; 0.1 is four standard errors."""
    assert share_after(num) == pytest.approx(share + 0.5 * (1 - share), abs=0.1)


@every_sampler
def test_every_sampler_takes_beliefs_where_they_exist(sampler):
    priors = {"sigma": 16.0, "steps": 8, "weight": 0.7}
    seeds = itertools.count()
    study = search(sampler, 2, 12, wrap=lambda built: Believed(built, priors, next(seeds), 1000))
    trials = study.trials
    assert sum(trial.params["weight"] == 0.7 for trial in trials) >= 3
    assert sum(trial.params["steps"] == 8 for trial in trials) >= 3
    assert all(("sigma" in trial.params) == (trial.params["sde"] == "ve") for trial in trials)


def test_a_shared_prefix_goes_before_a_belief():
    seeds = itertools.count()
    believed = lambda built: Believed(built, {"sde": "ve", "weight": 0.7}, next(seeds), 1000)  # noqa: E731
    study = search("ehvi", 1, 15, wrap=lambda built: SharedPrefix(believed(built), {"sde", "sigma"}, 3))
    prefixes = [(trial.params["sde"], trial.params.get("sigma")) for trial in study.trials]
    runs = [len(list(run)) for _, run in itertools.groupby(prefixes)]
    assert min(runs) >= 3 and sum(trial.params["weight"] == 0.7 for trial in study.trials) >= 4
