"""What every sampler must do: on a conditional problem with two objectives whose front is known, with constraints."""

import functools
import itertools
import math
import subprocess
import sys
from importlib import import_module

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.samplers._nsgaiii._elite_population_selection_strategy import _generate_default_reference_point
from optuna.trial import create_trial
from searchers_found import SAMPLERS, every_sampler

import imer_ray.testing.searchers as contract
from imer_ray.results.hypervolume import hypervolume
from imer_ray.testing.searchers import POPULATION, SPACE
from imer_ray.tuning.searchers import FIDELITY, nsga3
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix
from imer_ray.tuning.searchers.gp import ImputedGP, _filled


def search(sampler, seed, num_trials, most_steps=math.inf, wrap=lambda sampler: sampler, score=contract.scores):
    build = import_module(f"imer_ray.tuning.searchers.{sampler}").build
    return contract.search(lambda *words: wrap(build(*words)), seed, num_trials, most_steps, score)


@every_sampler
class TestEverySearcher(contract.SearcherContract):
    @pytest.fixture(autouse=True)
    def _build(self, sampler):
        self.searcher = import_module(f"imer_ray.tuning.searchers.{sampler}")


def reached(study):
    corner = (1,) * len(study.directions)
    return hypervolume(np.array([trial.values for trial in study.get_trials(deepcopy=False)]), corner)


@functools.cache
def reached_at_random():
    return np.median([reached(search("random", seed, 60)) for seed in range(8)])


@pytest.mark.parametrize(
    ("sampler", "seeds", "num_trials", "share"),
    [
        pytest.param("ehvi", 2, 40, 1.3, marks=pytest.mark.slow),
        ("tpe", 3, 60, 1.3),
        ("nsga2", 8, 60, 1.05),  # seven generations of eight
        ("nsga3", 8, 60, 1.05),
        pytest.param("gp", 2, 30, 1.3, marks=pytest.mark.slow),
    ],
)
def test_a_sampler_with_a_model_gets_further_than_chance_in_60_trials(sampler, seeds, num_trials, share):
    found = [reached(search(sampler, seed, num_trials)) for seed in range(seeds)]
    assert np.median(found) > share * reached_at_random()


@functools.cache
def reached_at_random_in_three():
    return np.median([reached(search("random", seed, 60, score=contract.three_scores)) for seed in range(6)])


@pytest.mark.parametrize(
    ("sampler", "seeds", "num_trials", "share"),
    [
        ("ehvi", 2, 28, 1.3),
        ("nsga2", 6, 60, 1.05),
        ("nsga3", 6, 60, 1.05),
        pytest.param("gp", 2, 30, 1.2, marks=pytest.mark.slow),
    ],
)
def test_a_third_objective_is_searched_as_well(sampler, seeds, num_trials, share):
    found = [reached(search(sampler, seed, num_trials, score=contract.three_scores)) for seed in range(seeds)]
    assert np.median(found) > share * reached_at_random_in_three()


@pytest.mark.parametrize(("size", "number", "expected"), [(8, 2, 8), (20, 2, 20), (8, 3, 6), (20, 3, 15), (2, 4, 4)])
def test_reference_directions_are_about_as_many_as_a_population(size, number, expected):
    found = math.comb(nsga3.parts(size, number) + number - 1, number - 1)
    assert found == expected and len(_generate_default_reference_point(number, nsga3.parts(size, number))) == found


def test_all_samplers_are_compared_with_chance():
    compared = test_a_sampler_with_a_model_gets_further_than_chance_in_60_trials.pytestmark[0].args[1]
    named = {entry.values[0] if hasattr(entry, "values") else entry[0] for entry in compared}
    assert named == set(SAMPLERS) - {"random"}


@pytest.mark.parametrize("sampler", ["ehvi", "tpe", "nsga2", "nsga3", pytest.param("gp", marks=pytest.mark.slow)])
def test_constraints_are_learnt(sampler):
    """Half of the range is feasible, and so would be 20 of 40 random trials, with a standard deviation of 3."""
    trials = search(sampler, 0, 28 if sampler == "gp" else 48, most_steps=8).trials[POPULATION:]
    assert sum(trial.params["steps"] <= 8 for trial in trials) >= 0.65 * len(trials)


@pytest.mark.slow
def test_gaussian_processes_model_conditional_parameters():
    """All but sigma is right and does not matter: the best sigma, 16, is found although vp trials have none."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    fixed = {"weight": 0.7, "dropout": 0.1, "width": 0.5, "steps": 8}
    for params in [{"sde": "vp"}] * 2 + [{"sde": "ve", "sigma": sigma} for sigma in (5.0, 8.0, 11.0, 24.0, 35.0, 50.0)]:
        values = {**params, **fixed}
        lost = abs(math.log(values["sigma"] / 16)) if "sigma" in values else 3.0
        told = create_trial(params=values, distributions=dict(SPACE.distributions(values)), values=[lost, lost])
        study.add_trial(told)
    study.sampler = ImputedGP(0)
    trial = study.ask(fixed_distributions={})
    values = SPACE.suggest(trial)
    assert values["sde"] == "ve" and 11 < values["sigma"] < 24


def test_gaussian_processes_take_a_stopped_trial_for_the_worst():
    """Whatever is estimated of it; and all trials have every parameter, and each constraint that any violates."""
    told = search("random", 0, 6).trials
    values = told[0].params
    stopped = create_trial(
        params=values,
        distributions=dict(SPACE.distributions(values)),
        values=[-9.0, -9.0],
        constraints={FIDELITY: 0.6},
    )
    *others, last = _filled([*told, stopped], {p.path: p.distribution for p in SPACE.parameters})
    assert last.values == [max(trial.values[i] for trial in told) for i in range(2)]
    assert [trial.values for trial in others] == [trial.values for trial in told]
    assert [trial.constraints for trial in (*others, last)] == [{FIDELITY: 0.0}] * 6 + [{FIDELITY: 0.6}]
    assert all(set(trial.params) == {p.path for p in SPACE.parameters} for trial in others)
    assert {trial.params["sigma"] for trial, own in zip(others, told, strict=True) if "sigma" not in own.params} == {
        math.sqrt(250)
    }


@pytest.mark.parametrize("sampler", ["ehvi", "tpe", "nsga2", "random"])
def test_a_prefix_is_shared_by_as_many_proposals_as_asked_for(sampler):
    study = search(sampler, 1, 24, wrap=lambda built: SharedPrefix(built, {"sde", "sigma"}, 4))
    prefixes = [(trial.params["sde"], trial.params.get("sigma")) for trial in study.trials]
    runs = [len(list(run)) for _, run in itertools.groupby(prefixes)]
    assert len(runs) >= 3 and min(runs[:-1]) >= 4
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 24  # and the rest is drawn anew


def test_a_shared_prefix_leaves_the_rest_to_the_sampler():
    """What follows is drawn as the sampler itself draws it: here at random, from the same seed."""
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=RandomSampler(seed=0))
    first = study.ask()
    first.set_user_attr("trial", 0)
    SPACE.suggest(first)
    study.tell(first, [1.0, 1.0])
    study.sampler = SharedPrefix(RandomSampler(seed=5), {"sde", "sigma"}, 2)
    second = SPACE.suggest(study.ask())
    free = optuna.create_study(sampler=RandomSampler(seed=5)).ask()
    assert {k: second[k] for k in ("sde", "sigma") if k in second} == {
        k: v for k, v in first.params.items() if k in ("sde", "sigma")
    }
    assert second["weight"] == free.suggest_float("weight", 0, 1)


def test_no_sampler_but_optunas_gaussian_processes_loads_torch():
    code = "import sys; from importlib import import_module as load\n"
    code += f"for name in {SAMPLERS}: load('imer_ray.tuning.searchers.' + name).build(0, 4)\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
