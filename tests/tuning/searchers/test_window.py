"""What a sampler sees of a long study: what its choice of good trials depends on, and no more than it can afford."""

import itertools
import random

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.samplers._tpe.sampler import _split_trials, default_gamma_multiobjective
from optuna.trial import TrialState, create_trial

from imer_ray.tuning.searchers import _window
from imer_ray.tuning.searchers._window import NUM_BEST, NUM_LATEST, Window, window

SPACE = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def study(num_trials, draw, share_infeasible=0.0, seed=0):
    """Complete trials, each with objectives ``draw(rng)``; some violate a constraint."""
    rng = random.Random(seed)
    made = optuna.create_study(directions=["minimize", "minimize"], sampler=RandomSampler(seed=0))
    for _ in range(num_trials):
        violation = rng.random() if rng.random() < share_infeasible else -1.0
        params = {"x": rng.random(), "y": rng.random()}
        made.add_trial(
            create_trial(params=params, distributions=SPACE, values=draw(rng), constraints={"limit": violation})
        )
    return made


def numbers(trials):
    return [trial.number for trial in trials]


def one_front(rng):
    x = rng.random()
    return [x, 1 - x]


def few_values(rng):
    return [float(rng.randrange(6)), float(rng.randrange(6))]


def unrelated(rng):
    return [rng.random(), rng.random()]


def getting_worse(rng, count=itertools.count()):  # noqa: B008 - it goes on counting
    return [rng.random() + (trials := next(count)), rng.random() + trials]


@pytest.mark.parametrize("share_infeasible", [0.0, 0.5, 0.98])
@pytest.mark.parametrize("draw", [few_values, one_front, getting_worse, unrelated])
def test_what_tpe_takes_for_good_are_the_best_of_all_trials(draw, share_infeasible):
    long = study(900, draw, share_infeasible)
    trials = long.get_trials(deepcopy=False)
    seen = window(long)
    good_of_seen, _ = _split_trials(long, seen, default_gamma_multiobjective(len(seen)))
    good_of_all, _ = _split_trials(long, trials, len(good_of_seen))
    assert numbers(good_of_seen) == numbers(good_of_all)
    assert numbers(trials[-NUM_LATEST:]) == numbers(seen)[-NUM_LATEST:]


def test_as_many_are_seen_of_ten_times_as_many_trials():
    for num_trials in (600, 6000):
        seen = window(study(num_trials, unrelated))
        assert NUM_LATEST < len(seen) < NUM_LATEST + 3 * NUM_BEST


def test_short_studies_are_seen_whole_and_failed_trials_are_not():
    short = study(NUM_LATEST - 2, one_front)
    failed, running = short.ask(SPACE), short.ask(SPACE)
    short.tell(failed, state=TrialState.FAIL)
    assert numbers(window(short)) == [*range(NUM_LATEST - 2), running.number]


def test_in_whatever_order_trials_end_the_same_are_seen():
    """What was noted of earlier trials must not outlive one that ends late, or that had waited."""
    rng = np.random.default_rng(1)
    growing = optuna.create_study(directions=["minimize", "minimize"], sampler=RandomSampler(seed=1))
    running = []
    for number in range(80):
        if number % 9 == 0:
            growing.enqueue_trial({"x": 0.5, "y": 0.5})
        running.append(growing.ask(SPACE))
        if len(running) > 12:
            growing.tell(running.pop(rng.integers(len(running))), rng.random(2).tolist())
        fresh = optuna.create_study(directions=["minimize", "minimize"])
        fresh._storage = growing._storage
        assert numbers(window(growing, 4, 8)) == numbers(window(fresh, 4, 8))


@pytest.mark.slow
def test_a_small_window_finds_as_much_as_none(monkeypatch):
    """ZDT1 (Zitzler, Deb and Thiele, 2000) with ten variables, 200 trials: hypervolume up to (1.1, 6), five seeds.

    A window of 60 hides more than half of the trials at the end. Seeds differ by 0.45 (standard deviation), so that the
    tolerance is the median's standard error.
    """
    from imer_ray.results.hypervolume import hypervolume

    def found(sampler, seed):
        searched = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        for _ in range(200):
            trial = searched.ask({f"x{i}": FloatDistribution(0, 1) for i in range(10)})
            x = [trial.params[f"x{i}"] for i in range(10)]
            g = 1 + sum(x[1:])
            searched.tell(trial, [x[0], g * (1 - (x[0] / g) ** 0.5)])
        return hypervolume([trial.values for trial in searched.get_trials(deepcopy=False)], (1.1, 6.0))

    def tpe(seed):
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)

    monkeypatch.setattr(_window, "window", lambda study: window(study, NUM_BEST, 60))
    whole = np.array([found(tpe(seed), seed) for seed in range(5)])
    seen = np.array([found(Window(tpe(seed)), seed) for seed in range(5)])
    assert np.median(seen) >= np.median(whole) - 0.25
