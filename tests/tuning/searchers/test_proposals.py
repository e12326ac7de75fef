"""What a searcher proposes where much is known: on a grid of 1,500 configurations, with four trials in flight."""

import functools
import json
from collections import Counter, deque
from importlib import import_module

import numpy as np
import optuna
import pytest
import test_killed_record as killed
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.samplers import GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler
from searchers_found import SAMPLERS, every_sampler

from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.proposals import GIVEN, NEXT_BEST, RANDOM, SEARCHER, START_UP
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.searchers import ORIGIN, TRIAL
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix
from imer_ray.tuning.space.space import Parameter, Space
from imer_ray.tuning.study.record import Record


def choice(path, *choices, **when):
    return Parameter(path=path, distribution=CategoricalDistribution(choices), when=when)


def whole(path, low, high, **when):
    return Parameter(path=path, distribution=IntDistribution(low, high), when=when)


GRID = Space(  # five processes, three backbones, and a hundred ways to use each
    name="grid",
    text="",
    parameters=(
        choice("sde", "vp", "ve"),
        choice("schedule", "cosine", "linear", "sigmoid", sde=("vp",)),
        whole("sigma", 1, 2, sde=("ve",)),
        choice("backbone", "transformer", "mixer", "dit"),
        whole("width", 1, 4),
        whole("steps", 1, 5),
        whole("weight", 1, 5),
    ),
)
PREFIX = {"sde", "schedule", "sigma", "backbone"}
START = 8
NUM_TRIALS = 100
MANY = 150  # of the slow tests
LOST = {"cosine": 0.0, "linear": 0.04, "sigmoid": 0.1, "transformer": 0.0, "mixer": 0.05, "dit": 0.02}


def measure(values):
    """(quality, speed), both minimised: steps, width and backbone buy quality; all else is right or wrong."""
    lost = LOST[values["backbone"]] + LOST.get(values.get("schedule"), 0.03 * values.get("sigma", 0))
    lost += 0.02 * abs(values["weight"] - 2) + 0.05 * abs(values["width"] - 3)
    cost = values["steps"] * {"transformer": 1.0, "mixer": 0.4, "dit": 1.3}[values["backbone"]] + 0.3 * values["width"]
    return 0.2 + lost + 0.4 / values["steps"], np.log(cost / 0.5) / np.log(20)


def record(sampler, seed=1, prefix_trials=1, space=GRID, prefix=PREFIX):
    def build(seed):
        built = import_module(f"imer_ray.tuning.searchers.{sampler}").build(seed, START)
        return built if prefix_trials == 1 else SharedPrefix(built, prefix, prefix_trials)

    return Record(
        optuna.create_study(directions=["minimize", "minimize"]),
        sync=lambda: None,
        space=space,
        objectives=objectives(quality="MAE", speed="nfe"),
        configure=dict,
        identify=lambda config: json.dumps(config, sort_keys=True),
        build_sampler=build,
        seed=seed,
    )


def tell(searched, proposal, error=None):
    quality, speed = measure(proposal.values)
    row = {"trial": proposal.trial, "point": 0, "config": json.dumps(dict(proposal.values)), "error": error}
    searched.tell(proposal.trial, [{**row, "valid.MAE": quality, "nfe": 10**speed - 1}])


def origins(searched):
    return [t.user_attrs[ORIGIN] for t in searched._study.get_trials(deepcopy=False) if TRIAL in t.user_attrs]


@functools.cache
def search(sampler, seed=1, prefix_trials=1, num_trials=NUM_TRIALS):
    """The record, and the proposals in their order."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    searched, running, proposals = record(sampler, seed, prefix_trials), deque(), []
    for _ in range(num_trials):
        proposals.append(searched.ask())
        running.append(proposals[-1])
        if len(running) == 4:
            tell(searched, running.popleft())
    return searched, proposals


SHARES = [
    *((name, NUM_TRIALS, prefix_trials) for name in SAMPLERS if name not in ("ehvi", "gp") for prefix_trials in (1, 3)),
    *(("ehvi", 50, prefix_trials) for prefix_trials in (1, 3)),
    *(pytest.param("ehvi", MANY, prefix_trials, marks=pytest.mark.slow) for prefix_trials in (1, 3)),
    ("gp", START + 6, 1),  # it takes a second a proposal, and several where much is known
    *(pytest.param("gp", MANY, n, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]) for n in (1, 3)),
]


@pytest.mark.parametrize(("sampler", "num_trials", "prefix_trials"), SHARES)
def test_of_what_follows_the_start_up_at_most_a_twentieth_is_drawn_at_random(sampler, num_trials, prefix_trials):
    searched, proposals = search(sampler, 1, prefix_trials, num_trials)
    assert len({json.dumps(dict(proposal.values), sort_keys=True) for proposal in proposals}) == len(proposals)
    came = Counter(origins(searched)[START + 3 :])  # as many may be asked for before the last of the start-up ends
    assert came[RANDOM] <= 0.05 * came.total()
    assert set(came) <= {SEARCHER, NEXT_BEST, RANDOM}


@functools.cache
def plain(sampler, seed, num_trials):
    """Optuna's own, with the settings of ours and nothing around it; a known configuration is a trial as any other."""
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler(seed=seed))
    running, found = deque(), []
    for _ in range(num_trials):
        trial = study.ask()
        found.append(measure(GRID.suggest(trial)))
        running.append((trial, found[-1]))
        if len(running) == 4:
            study.tell(*running.popleft())
    return found


TPE = functools.partial(TPESampler, n_startup_trials=START, multivariate=True, group=True)
NSGA2 = functools.partial(NSGAIISampler, population_size=START)
NSGA3 = functools.partial(NSGAIIISampler, population_size=START)
GP = functools.partial(GPSampler, n_startup_trials=START)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    ("sampler", "optunas", "seeds", "num_trials"),
    [
        pytest.param("ehvi", TPE, 6, MANY, marks=pytest.mark.slow),
        pytest.param("tpe", TPE, 6, MANY, marks=pytest.mark.slow),
        pytest.param("nsga2", NSGA2, 6, MANY, marks=pytest.mark.slow),
        pytest.param("nsga3", NSGA3, 6, MANY, marks=pytest.mark.slow),
        pytest.param("gp", GP, 3, 40, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),  # its model takes seconds
    ],
)
def test_the_hypervolume_rises_as_with_optunas_own_sampler(sampler, optunas, seeds, num_trials):
    """Means over seeds, at half of the trials and at all: not below Optuna's by more than two standard errors."""
    numbers = range(1, seeds + 1)
    proposed = [[measure(p.values) for p in search(sampler, seed, 1, num_trials)[1]] for seed in numbers]
    for count in (num_trials // 2, num_trials):
        ours = [hypervolume(found[:count], (1, 1)) for found in proposed]
        theirs = [hypervolume(plain(optunas, seed, num_trials)[:count], (1, 1)) for seed in numbers]
        error = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / seeds)
        assert np.mean(ours) >= np.mean(theirs) - 2 * error


def test_how_each_proposal_came_about_is_noted_and_kept():
    searched = record("tpe")
    searched.enqueue([{"sde": "ve", "sigma": 1}])
    for _ in range(START + 4):
        tell(searched, searched.ask())
    assert origins(searched)[: START + 1] == [GIVEN] + [START_UP] * (START - 1) + [SEARCHER]


@pytest.mark.parametrize("sampler", ["ehvi", "tpe", pytest.param("gp", marks=pytest.mark.slow)])
def test_where_what_it_proposes_is_known_a_model_chooses_the_best_of_what_is_new(sampler, monkeypatch):
    """Its own proposals are made to be known, finished or failed or running: what it then takes is far better than
    what is drawn at random."""
    searched = record(sampler)
    for number in range(60 if sampler == "tpe" else 40):
        tell(searched, searched.ask(), error="a bug" if number % 4 == 3 else None)
    running = [searched.ask() for _ in range(3)]
    unused = iter([dict(proposal.values) for proposal in running] * 9)
    suggest = Space.suggest

    def known(self, trial):
        return (
            next(unused) if isinstance(trial, optuna.Trial) and ORIGIN not in trial.user_attrs else suggest(self, trial)
        )

    monkeypatch.setattr(Space, "suggest", known)
    chosen = [searched.ask() for _ in range(8)]
    assert origins(searched)[-8:] == [NEXT_BEST] * 8
    rng = np.random.default_rng(0)
    drawn = [measure(GRID.suggest(_Any(rng))) for _ in range(200)]
    assert np.mean([sum(measure(proposal.values)) for proposal in chosen]) < np.quantile(np.sum(drawn, 1), 0.35)


class _Any:
    def __init__(self, rng):
        self.rng = rng

    def suggest_categorical(self, name, choices):
        return choices[self.rng.integers(len(choices))]

    def suggest_int(self, name, low, high, **_):
        return int(self.rng.integers(low, high + 1))


@every_sampler
def test_a_prefix_with_nothing_new_left_is_given_up(sampler):
    """Three shall share a prefix of which there are two: all are found, two by two, and then there are no more."""
    few = Space(name="few", text="", parameters=(choice("sde", "vp", "ve", "edm"), whole("steps", 1, 2)))
    searched, seen = record(sampler, prefix_trials=3, space=few, prefix={"sde"}), []
    while (proposal := searched.ask()) is not None:
        seen.append((proposal.values["sde"], proposal.values["steps"]))
        tell_few = {"trial": proposal.trial, "point": 0, "config": json.dumps(dict(proposal.values)), "error": None}
        searched.tell(proposal.trial, [{**tell_few, "valid.MAE": 1.0, "nfe": float(proposal.values["steps"])}])
    assert len(seen) == len(set(seen)) == 6
    assert all(seen[i][0] == seen[i + 1][0] for i in (0, 2, 4))


def test_a_model_chooses_within_the_prefix_that_is_shared():
    searched, proposals = search("tpe", 1, 3)
    shared = [tuple(proposal.values.get(path) for path in sorted(PREFIX)) for proposal in proposals]
    came = origins(searched)
    assert NEXT_BEST in came
    lengths = [len(list(run)) for run in _runs(shared)]
    assert all(length >= 3 for length in lengths[:-1])


def _runs(items):
    run = []
    for item in items:
        if run and item != run[-1]:
            yield run
            run = []
        run.append(item)
    yield run


@pytest.mark.parametrize("sampler", ["ehvi", "tpe", "nsga2"])
def test_killed_where_little_is_new_a_study_ends_as_if_it_had_not_been(tmp_path, monkeypatch, sampler):
    """Of 72 configurations 14 trials with three points each know most."""
    fewer = (
        choice("sde", "vp", "ve"),
        Parameter(path="sigma", distribution=IntDistribution(10, 20, step=10), when={"sde": ("ve",)}),
    )
    monkeypatch.setattr(
        killed, "SPACE", Space(name="few", text="", parameters=(*fewer, whole("steps", 1, 12), choice("draws", 1, 2)))
    )
    killed.check(tmp_path, sampler, step=29)
