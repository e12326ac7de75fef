"""The default searcher's parts against what is known of them, and what it does with what it is told."""

import math
import random
from collections import Counter

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial
from scipy.optimize import check_grad
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

from imer_ray.results.proposals import START_UP
from imer_ray.testing.searchers import SPACE, scores
from imer_ray.tuning.searchers import FIDELITY, ORIGIN, TRIAL, _gaussian_process
from imer_ray.tuning.searchers._encoding import Encoding
from imer_ray.tuning.searchers._gaussian_process import GaussianProcess
from imer_ray.tuning.searchers._maximum import highest
from imer_ray.tuning.searchers.ehvi import ExpectedImprovement, _Model
from imer_ray.tuning.space.space import Parameter, Space

EVERY_KIND = Space(
    name="kinds",
    text="",
    parameters=(
        Parameter(path="process", distribution=CategoricalDistribution(["vp", "ve", "none"]), when={}),
        Parameter(path="sigma", distribution=FloatDistribution(5, 50, log=True), when={"process": ("ve",)}),
        Parameter(path="steps", distribution=IntDistribution(1, 64, log=True), when={"process": ("vp", "ve")}),
        Parameter(path="draws", distribution=CategoricalDistribution([8, 1, 2]), when={"steps": (1, 2)}),
        Parameter(path="rate", distribution=FloatDistribution(0, 1, step=0.25), when={}),
        Parameter(path="width", distribution=IntDistribution(16, 4096, step=2), when={}),
        Parameter(path="only", distribution=IntDistribution(3, 3), when={}),
    ),
)


def test_a_row_stands_for_a_configuration_and_nothing_else():
    encoding, rng = Encoding(EVERY_KIND.parameters), random.Random(0)
    for values in [EVERY_KIND.sample(rng) for _ in range(300)]:
        (row,) = encoding.rows([values])
        again = encoding.values(row)
        assert again == pytest.approx(values) and all(type(again[path]) is type(values[path]) for path in values)
        assert np.array_equal(
            encoding.settled(row[None], rng.random() * np.ones((1, len(row))))[0], row, equal_nan=True
        )


def test_draws_and_climbs_yield_only_configurations_of_the_space():
    encoding, rng = Encoding(EVERY_KIND.parameters), np.random.default_rng(0)
    held = encoding.rows([{"process": "ve"}])[0]
    drawn = encoding.draw(rng.random((50, len(encoding.columns))))
    for place, row in enumerate(highest(lambda rows: rows[:, -2], encoding, drawn, held, rng)[0]):
        values = encoding.values(row)
        assert EVERY_KIND.locate(values) == values
        assert values["process"] == "ve"
        assert place or values["width"] == 4096  # the best is at the end of the range


def test_draws_are_distributed_as_the_space_says():
    parameters = [p for p in EVERY_KIND.parameters if p.path in ("process", "rate")]
    parameters.append(Parameter(path="n", distribution=IntDistribution(1, 3, log=True), when={}))
    encoding = Encoding(parameters)
    rows = encoding.draw((np.arange(12000)[:, None] + 0.5) / 12000 * np.ones((1, 3)))
    found = [Counter(values[p.path] for values in map(encoding.values, rows)) for p in parameters]
    assert sorted(found[0].values()) == [4000] * 3 and sorted(found[1].values()) == [2400] * 5
    assert found[2][1] == pytest.approx(12000 * math.log(2) / math.log(4), abs=2)


OWNERS = np.array([0, 1, 2, 2, 2, 2])  # two numbers, and a category of four


def data(number=40, seed=0):
    rng = np.random.default_rng(seed)
    x, chosen = rng.random((number, 2)), rng.integers(0, 4, number)
    return np.hstack([x, np.eye(4)[chosen] / math.sqrt(2)]), np.sin(5 * x[:, 0]) + x[:, 1] ** 2 + (chosen == 1), OWNERS


def test_a_gaussian_process_predicts_as_scikit_learns_with_the_same_parameters():
    x, y, _ = data()
    ours = GaussianProcess(x, y, OWNERS, np.arange(30))
    theta, slope, variance, noise = np.exp(ours._parameters[:3]), *np.exp(ours._parameters[3:])
    linear = ConstantKernel(slope) * DotProduct(sigma_0=1e-9)
    kernel = linear + ConstantKernel(variance) * Matern(length_scale=1 / np.sqrt(theta[OWNERS]), nu=2.5)
    theirs = GaussianProcessRegressor(kernel, alpha=noise + _gaussian_process.JITTER, optimizer=None)
    mean, scale = y[:30].mean(), y[:30].std()
    theirs.fit(x, (y - mean) / scale)
    new, *_ = data(seed=1)
    expected, spread = theirs.predict(new, return_std=True)
    found, deviation = ours.predict(new)
    np.testing.assert_allclose(found, mean + scale * expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(deviation, scale * spread, rtol=1e-4, atol=1e-6)


def test_a_sum_over_choices_is_known_where_none_was_measured():
    """Sixty sums of six choices, none of them low or high, tell the lowest of four hundred."""
    rng = np.random.default_rng(0)
    effects = np.sort(rng.random((6, 5)), axis=1)
    choices = rng.integers(0, 5, (400, 6))
    sums = effects[np.arange(6), choices].sum(1)
    x = np.hstack([np.eye(5)[choices[:, d]] / math.sqrt(2) for d in range(6)])
    order = np.argsort(sums)
    middle, lowest = rng.permutation(order[100:300])[:60], order[:20]
    process = GaussianProcess(x[middle], sums[middle], np.repeat(np.arange(6), 5), np.arange(60))
    wrong = np.abs(process.predict(x[lowest])[0] - sums[lowest]).mean()
    assert wrong < 0.1 * (sums[middle].mean() - sums[lowest].mean())


def test_its_fit_follows_the_gradient_of_the_density(monkeypatch):
    asked = []
    monkeypatch.setattr(_gaussian_process, "minimize", lambda f, start, **_: asked.append(f) or _Found(start))
    GaussianProcess(*data(), np.arange(40))
    rng = np.random.default_rng(0)
    for _ in range(5):
        at = rng.normal([0, 0, 0, 0, 0, -4], 0.7)
        value, gradient = asked[0](at)
        wrong = check_grad(lambda p: asked[0](p)[0], lambda p: asked[0](p)[1], at)
        assert wrong < 1e-5 * max(abs(value), np.linalg.norm(gradient))


class _Found:
    def __init__(self, x):
        self.x = x


def test_what_is_believed_moves_no_mean_and_leaves_no_doubt():
    process, new = GaussianProcess(*data(), np.arange(40)), data(seed=2)[0]
    before = process.predict(new)
    process.believe(new[:3])
    after = process.predict(new)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-3, atol=1e-3)
    assert (after[1][:3] < 0.5 * before[1][:3]).all() and (after[1] <= before[1] * (1 + 1e-6)).all()


def told(params, values, **more):
    return create_trial(params=params, distributions=dict(SPACE.distributions(params)), values=values, **more)


def searcher(study, seed=0, population=4):
    study.sampler = ExpectedImprovement(seed, population)
    study.sampler.begin(SPACE, 7)
    return study.sampler


def known(fixed, sigmas):
    """vp, which is worst, and ve with these sigmas, of which 16 is best; in both objectives."""
    study = optuna.create_study(directions=["minimize", "minimize"])
    for params in [{"sde": "vp"}] * 2 + [{"sde": "ve", "sigma": sigma} for sigma in sigmas]:
        lost = abs(math.log(params["sigma"] / 16)) if "sigma" in params else 3.0
        study.add_trial(told({**params, **fixed}, [lost, lost]))
    return study


FIXED = {"weight": 0.7, "dropout": 0.1, "width": 0.5, "steps": 8}


def test_conditional_parameters_are_modelled():
    study = known(FIXED, (5.0, 8.0, 11.0, 24.0, 35.0, 50.0))
    searcher(study)
    values = SPACE.suggest(study.ask())
    assert values["sde"] == "ve" and 11 < values["sigma"] < 24


def test_what_is_held_is_modelled_with_the_rest():
    """By itself it would propose ve; where vp is held, it is asked for the best of vp, whose weight should be small."""
    study = known(FIXED, (5.0, 16.0, 50.0))
    for weight in (0.0, 0.15, 0.5, 0.9, 1.0):
        study.add_trial(told({**FIXED, "sde": "vp", "weight": weight}, [2.0 + weight, 2.0 + weight]))
        study.add_trial(told({**FIXED, "sde": "ve", "sigma": 16.0, "weight": weight}, [0.5 - weight, 0.5 - weight]))
    searcher(study).hold({"sde": "vp"})
    values = SPACE.suggest(study.ask())
    assert values["sde"] == "vp" and values["weight"] < 0.3


def test_what_a_given_point_leaves_open_is_proposed_with_it():
    study = known(FIXED, (5.0, 8.0, 11.0, 24.0, 35.0, 50.0))
    study.enqueue_trial({"sde": "ve", **FIXED})
    searcher(study)
    assert 11 < SPACE.suggest(study.ask())["sigma"] < 24


def test_a_stopped_trial_stands_at_the_worst_and_is_on_no_front():
    params = {"sde": "vp", **FIXED}
    good = [told({**params, "weight": weight}, [weight, 1 - weight]) for weight in (0.1, 0.5, 0.9)]
    stopped = told(params, [-9.0, -9.0], constraints={FIDELITY: 0.6})
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.add_trials([*good, stopped])
    model = _Model(Encoding(SPACE.parameters), study.trials, study.trials)
    told_last = [np.array([gp._y[-1] * gp._scale + gp._mean]) for gp in model._objectives]
    told_as = [warp.inverse(value).item() for warp, value in zip(model._warps, told_last, strict=True)]
    assert told_as == pytest.approx([0.9, 0.9])
    assert len(model.front) == 3 and len(model._found) == 3 and not model._constraints


def test_trials_that_run_keep_it_from_proposing_the_same():
    study = optuna.create_study(directions=["minimize", "minimize"])
    rng = random.Random(0)
    for _ in range(20):
        values = SPACE.sample(rng)
        study.add_trial(told(values, scores(values)))
    rows = []
    for number in range(4):  # none of which ends
        searcher(study, seed=3)
        trial = study.ask()
        trial.set_user_attr(TRIAL, number)
        rows.append(SPACE.suggest(trial))
    steps = [math.log2(values["steps"]) / 6 for values in rows]
    assert max(steps) - min(steps) > 0.3  # other parts of the front


def start(study, seed, number, population=8):
    study.sampler = ExpectedImprovement(seed, population)
    study.sampler.begin(SPACE, 7)
    trial = study.ask()
    trial.set_user_attr(TRIAL, number)
    return trial, SPACE.suggest(trial)


def test_the_start_up_fills_the_space_evenly_whatever_the_proposals_seeds():
    study = optuna.create_study(directions=["minimize", "minimize"])
    trials = [start(study, 100 + number, number) for number in range(8)]
    assert all(study.trials[trial.number].user_attrs[ORIGIN] == START_UP for trial, _ in trials)
    values = [values for _, values in trials]
    assert sorted(int(8 * v["weight"]) for v in values) == list(range(8))
    assert sorted(int(8 * v["dropout"]) for v in values) == list(range(8))
    assert Counter(v["sde"] for v in values) == {"vp": 4, "ve": 4}


def test_a_start_up_goes_on_until_something_is_known():
    study = optuna.create_study(directions=["minimize", "minimize"])
    for number in range(12):  # all run
        trial, _ = start(study, number, number)
        assert study.trials[trial.number].user_attrs[ORIGIN] == START_UP
    for trial in study.trials[:2]:
        study.tell(trial.number, scores(trial.params))
    trial, _ = start(study, 12, 12)
    assert ORIGIN not in study.trials[trial.number].user_attrs


def test_without_a_space_it_says_what_is_missing():
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=ExpectedImprovement(0, 4))
    with pytest.raises(RuntimeError, match="told the space"):
        SPACE.suggest(study.ask())
