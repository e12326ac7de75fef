"""What every searcher must do: on a conditional problem with two objectives whose front is known, with constraints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler

from imer_ray.tuning.searchers import TRIAL
from imer_ray.tuning.searchers._wrapper import begin
from imer_ray.tuning.space.space import Parameter, Space

POPULATION = 8
PROCESS = (
    Parameter(path="sde", distribution=CategoricalDistribution(["vp", "ve"]), when={}),
    Parameter(path="sigma", distribution=FloatDistribution(5, 50, log=True), when={"sde": ("ve",)}),
)
SPACE = Space(
    name="test",
    text="",
    parameters=(
        *PROCESS,
        Parameter(path="weight", distribution=FloatDistribution(0, 1), when={}),
        Parameter(path="dropout", distribution=FloatDistribution(0, 1), when={}),
        Parameter(path="width", distribution=FloatDistribution(0, 1), when={}),
        Parameter(path="steps", distribution=IntDistribution(1, 64, log=True), when={}),
    ),
)


def scores(values: Mapping[str, float]) -> list[float]:
    """The front is {((1 - x)^2, x^2)}: with ve, sigma 16, weight 0.7, dropout 0.1 and width 0.5, at any steps."""
    x = math.log2(values["steps"]) / 6
    lost = math.log10(values["sigma"] / 16) ** 2 if "sigma" in values else 0.3
    lost += (values["weight"] - 0.7) ** 2 + (values["dropout"] - 0.1) ** 2 + (values["width"] - 0.5) ** 2
    return [(1 - x) ** 2 + lost, x**2 + lost]


def three_scores(values: Mapping[str, float]) -> list[float]:
    """With a third objective, the width, that asks for less than the other two."""
    return [*scores(values), values["width"]]


def search(
    build: Callable[[int, int], BaseSampler],
    seed: int,
    num_trials: int,
    most_steps: float = math.inf,
    score: Callable[[Mapping[str, float]], list[float]] = scores,
) -> optuna.Study:
    """As a study asks: with a searcher made anew for each trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * (3 if score is three_scores else 2))
    for number in range(num_trials):
        study.sampler = build(1000 * seed + number, POPULATION)
        begin(study.sampler, SPACE, seed)
        trial = study.ask()
        trial.set_user_attr(TRIAL, number)
        values = SPACE.suggest(trial)
        if most_steps < math.inf:
            trial.set_constraint("steps", values["steps"] / most_steps - 1)
        study.tell(trial, score(values))
    return study


class SearcherContract:
    """Tests of ``searcher``, a module with ``build(seed, population)`` (`imer_ray.tuning.searchers`)."""

    searcher: ClassVar[Any]

    def test_what_breaks_a_constraint_is_on_no_front_and_seeds_decide_all(self) -> None:
        study, again = (search(self.searcher.build, 3, POPULATION + 4, most_steps=8) for _ in range(2))
        assert [t.params for t in study.trials] == [t.params for t in again.trials]
        steps = [trial.params["steps"] for trial in study.best_trials]
        assert steps and max(steps) <= 8 < max(trial.params["steps"] for trial in study.trials)

    def test_three_objectives_are_searched_unless_it_says_that_it_takes_two(self) -> None:
        if getattr(self.searcher, "MAX_OBJECTIVES", 3) >= 3:
            trials = search(self.searcher.build, 7, 2 * POPULATION, score=three_scores).trials
            assert [len(trial.values) for trial in trials] == [3] * 2 * POPULATION

    def test_a_parameter_is_proposed_just_where_it_exists_and_within_its_range(self) -> None:
        for trial in search(self.searcher.build, 5, POPULATION + 4).trials:
            assert ("sigma" in trial.params) == (trial.params["sde"] == "ve")
            for parameter in SPACE.parameters:
                assert parameter.path not in trial.params or parameter.holds(trial.params[parameter.path])
