"""Properties of conditional suggestions, over random spaces."""

import random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from imer_ray.tuning.space.space import Parameter, Space

optuna.logging.set_verbosity(optuna.logging.ERROR)


@st.composite
def distributions(draw):
    match draw(st.sampled_from(["choice", "int", "log int", "step int", "float", "log float", "step float"])):
        case "choice":
            return CategoricalDistribution(draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True)))
        case "int":
            low = draw(st.integers(-5, 5))
            return IntDistribution(low, low + draw(st.integers(1, 20)))
        case "log int":
            low = draw(st.integers(1, 5))
            return IntDistribution(low, low + draw(st.integers(1, 100)), log=True)
        case "step int":
            step = draw(st.integers(2, 4))
            return IntDistribution(1, 1 + step * draw(st.integers(1, 5)), step=step)
        case "float":
            low = draw(st.floats(-3, 3))
            return FloatDistribution(low, low + draw(st.floats(0.1, 5)))
        case "log float":
            low = draw(st.floats(1e-6, 1))
            return FloatDistribution(low, low * draw(st.floats(1.5, 1e6)), log=True)
        case _:
            return FloatDistribution(0.0, 0.25 * draw(st.integers(1, 8)), step=0.25)


@st.composite
def spaces(draw):
    """Up to six parameters, each under conditions on some choices before it."""
    parameters = []
    for i, distribution in enumerate(draw(st.lists(distributions(), min_size=1, max_size=6))):
        choices = [p for p in parameters if isinstance(p.distribution, CategoricalDistribution)]
        parents = draw(st.lists(st.sampled_from(choices), max_size=2, unique_by=id)) if choices else []
        when = {
            p.path: tuple(draw(st.lists(st.sampled_from(p.distribution.choices), min_size=1, unique=True)))
            for p in parents
        }
        parameters.append(Parameter(path=f"p{i}", distribution=distribution, when=when))
    return Space(name="random", text="", parameters=tuple(parameters))


def optuna_values(space, seed):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    values = space.suggest(trial)
    assert trial.params == values
    return values


@pytest.mark.parametrize("draw", [optuna_values, lambda space, seed: space.sample(random.Random(seed))])
@settings(max_examples=60, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31))
def test_a_parameter_has_a_value_if_and_only_if_its_conditions_hold(draw, space, seed):
    values = draw(space, seed)
    for parameter in space.parameters:
        holds = all(values.get(path) in allowed for path, allowed in parameter.when.items())
        assert (parameter.path in values) == holds
    for path, value in values.items():
        assert next(p for p in space.parameters if p.path == path).holds(value)


@settings(max_examples=60, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31))
def test_a_configuration_is_located_where_it_was_drawn(space, seed):
    values = space.sample(random.Random(seed))
    everywhere = {p.path: p.ends()[0] for p in space.parameters}  # a configuration has all paths, used or not
    assert space.locate({**everywhere, **values}) == values
    assert space.distributions(values).keys() == values.keys()


@settings(max_examples=40, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**31))
def test_the_order_of_unrelated_parameters_does_not_change_the_fingerprint(space, seed):
    shuffled = list(space.parameters)
    random.Random(seed).shuffle(shuffled)
    assert Space(name="other", text="#", parameters=tuple(shuffled)).fingerprint == space.fingerprint
    p, *rest = space.parameters
    other = Parameter(path=p.path, distribution=IntDistribution(1000, 2000), when=p.when)
    assert Space(name="random", text="", parameters=(other, *rest)).fingerprint != space.fingerprint


def test_a_value_outside_its_range_lies_outside_the_space():
    space = Space(
        name="s",
        text="",
        parameters=(
            Parameter(path="sde", distribution=CategoricalDistribution(["vp", "ve"]), when={}),
            Parameter(path="steps", distribution=IntDistribution(1, 9, step=4), when={"sde": ("vp",)}),
        ),
    )
    assert space.locate({"sde": "vp", "steps": 5}) == {"sde": "vp", "steps": 5}
    assert space.locate({"sde": "ve", "steps": 99}) == {"sde": "ve"}
    assert space.locate({"sde": "ve"}) == {"sde": "ve"}
    for steps in (0, 4, 13, True, "5", None):
        assert space.locate({"sde": "vp", "steps": steps}) is None
    assert space.locate({"sde": "vp"}) is None
    assert space.locate({"sde": "rohydr", "steps": 5}) is None


def test_uniform_draws_reach_both_ends_of_an_integer_range():
    rng = random.Random(0)
    for log in (False, True):
        parameter = Parameter(path="n", distribution=IntDistribution(1, 4, log=log), when={})
        space = Space(name="s", text="", parameters=(parameter,))
        assert {space.sample(rng)["n"] for _ in range(300)} == {1, 2, 3, 4}
