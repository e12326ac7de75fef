"""Which points a walk asks for, given their scores: a pure function, with a stub in place of the stages."""

import dataclasses
import math

import pytest
from changed import changed
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of, typed
from imer_ray.errors import UserError
from imer_ray.results.schema import Objective
from imer_ray.systems import decoupled, imder, zero
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.space.check import Configurations
from imer_ray.tuning.study.study import plan
from imer_ray.tuning.trial.local_search import Grid, axes, free_lines, improved, lines, local_search

SETTINGS = {"objectives": objectives("MAE", "flops"), "tolerance": 0.01, "speed_tolerance": 0.1}


def line(path, *values):
    return tuple({path: value} for value in values)


DOWN, UP, DRAWS = line("steps", 2, 1), line("steps", 8, 16, 32), line("draws", 2)


def waves(lines, scores, max_points, own=(0.5, 0.0)):
    """What a walk asks for, wave by wave, where ``scores`` has each (path, value)'s; all others have the own ones."""
    asked = []

    def ask(points):
        asked.append([change for changes in points for change in changes.items()])
        return [scores.get(change, own) for change in asked[-1]]

    local_search(lines, own, ask, max_points, lambda a, b: improved(a, b, **SETTINGS))
    return asked


def test_a_direction_ends_where_neither_objective_improved():
    scores = {
        ("steps", 8): (0.4, 0.3),
        ("steps", 16): (0.395, 0.6),
        ("steps", 2): (0.6, -0.3),
        ("steps", 1): (0.7, -0.6),
    }
    asked = waves([DOWN, UP, DRAWS], scores, max_points=100)
    # 16 gained 0.005 in quality, which is noise, and lost speed: 32 is not asked for.
    assert asked == [[("steps", 2), ("steps", 8), ("draws", 2)], [("steps", 1), ("steps", 16)]]


def test_a_wave_takes_half_of_what_is_left_and_what_improved_comes_first():
    scores = {("steps", 8): (0.4, 0.3), ("steps", 16): (0.3, 0.6)}
    assert waves([DOWN, UP, DRAWS], scores, max_points=5) == [
        [("steps", 2), ("steps", 8)],
        [("steps", 16)],
        [("steps", 32)],
    ]
    assert waves([DOWN, UP, DRAWS], {}, max_points=5) == [[("steps", 2), ("steps", 8)], [("draws", 2)]]
    assert waves([DOWN, UP, DRAWS], scores, max_points=1) == []


def test_a_failed_point_ends_its_direction():
    assert waves([UP], {("steps", 8): None}, max_points=9) == [[("steps", 8)]]


@pytest.mark.parametrize(
    ("before", "after", "better"),
    [
        ((0.50, 0.0), (0.48, 0.5), True),  # quality by more than 0.01
        ((0.50, 0.0), (0.495, 0.0), False),  # by less: noise
        ((0.50, 0.0), (0.505, -0.05), True),  # equal up to noise, and faster by more than log10(1.1) = 0.041
        ((0.50, 0.0), (0.50, -0.04), False),
        ((0.50, 0.0), (0.90, -0.3), True),  # much worse, but faster: it may be on the front
        ((0.50, 0.0), (0.50, 0.0), False),
    ],
)
def test_improved(before, after, better):
    assert improved(before, after, **SETTINGS) is better


@pytest.mark.parametrize(("third", "after", "better"), [("num_parameters", 5.98, False), ("CRPS", 5.98, True)])
def test_a_further_objective_is_worth_a_step_by_its_own_measure(third, after, better):
    """Costs by ratio, 1.1 or log10 0.041; metrics by 0.01."""
    three = {**SETTINGS, "objectives": objectives("MAE", "flops", [third])}
    assert improved((0.5, 0.0, 6.0), (0.5, 0.0, after), **three) is better


@given(
    st.lists(st.integers(1, 5), max_size=6),
    st.integers(1, 12),
    st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 4)), st.floats(0, 1)),
)
def test_no_point_is_asked_for_twice_nor_past_one_that_was_no_better(lengths, max_points, qualities):
    some = [line(str(i), *range(n)) for i, n in enumerate(lengths)]
    scores = {(str(i), value): (quality, 0.0) for (i, value), quality in qualities.items()}
    asked = [change for wave in waves(some, scores, max_points) for change in wave]
    assert len(asked) == len(set(asked)) <= max_points - 1
    for path, value in asked:
        if value > 0:
            assert (path, value - 1) in asked
            before = scores.get((path, value - 2), (0.5, 0.0)) if value > 1 else (0.5, 0.0)
            assert improved(before, scores.get((path, value - 1), (0.5, 0.0)), **SETTINGS)
    if max_points > sum(lengths):
        assert {path for path, _ in asked} == {str(i) for i in range(len(lengths))}  # every direction is tried once


@pytest.fixture(scope="module")
def composed():
    return compose(SearchConfig, "search", ["data.num_train=8", "data.num_valid=8", "data.num_test=8"])


def grid_of(config, **more):
    speed = Objective(name="speed", metric="nfe", label="", reference=0.0)
    return Grid(axes=more, components=Configurations(tree_of(config, ExperimentConfig)).components, objectives=(speed,))


def test_rays_start_next_to_the_own_value(composed):
    tree = tree_of(changed(composed, diffusion={"num_steps": 6, "condition_dropout": 0.0}), ExperimentConfig)
    grid = {
        "diffusion.num_steps": (1, 2, 4, 8, 16),
        "diffusion.sampler": ("heun", "ddim"),
        "diffusion.guidance": (2.0,),
    }
    assert list(lines(tree, grid))[1:] == [
        line("diffusion.num_steps", 4, 2, 1),
        line("diffusion.num_steps", 8, 16),
        line("diffusion.sampler", "heun"),
    ]
    tree["diffusion"]["condition_dropout"] = 0.1
    assert list(lines(tree, grid))[-1] == line("diffusion.guidance", 2.0)


@pytest.mark.parametrize(
    ("num_steps", "num_draws", "first"),
    [
        (6, 4, {"diffusion.num_steps": 2, "diffusion.num_draws": 1}),
        (6, 1, {"diffusion.num_steps": 2, "diffusion.num_draws": 1}),
        (1, 4, {"diffusion.num_steps": 1, "diffusion.num_draws": 1}),  # never more work than the own point
        (2, 1, None),  # it is the own point
        (1, 1, None),
    ],
)
def test_the_least_work_of_the_grid_comes_first(composed, num_steps, num_draws, first):
    work = {"num_steps": num_steps, "num_draws": num_draws, "condition_dropout": 0.0}
    tree = tree_of(changed(composed, diffusion=work), ExperimentConfig)
    found = list(lines(tree, {"diffusion.num_steps": (2, 4, 8), "diffusion.num_draws": (1, 2, 4)}))
    assert [changes for points in found for changes in points if len(changes) > 1] == ([first] if first else [])
    assert first is None or found[0] == (first,)
    free = free_lines(tree, grid_of(composed, **EVERYTHING), graph_of(decoupled))
    assert first is None or free[0] == (first,)


def graph_of(system):
    return lambda point: system.graph(typed(point, ExperimentConfig), "valid")


EVERYTHING = {
    "diffusion.num_steps": (2, 4),
    "diffusion.num_draws": (1, 2),
    "diffusion.sampler": ("ddim", "heun"),
    "precision": ("fp32", "bf16"),
    "diffusion.sde": ("vp", "ve"),
}


@pytest.mark.parametrize(
    ("system", "mode", "free"),
    [
        (decoupled, "reference", {"diffusion.num_steps", "diffusion.num_draws", "diffusion.sampler", "precision"}),
        (decoupled, "same", {"diffusion.num_draws", "precision"}),  # the bank was drawn with the trial's own sampler
        (imder, "reference", {"diffusion.num_draws", "precision"}),  # trained with its sampler in the loop
        (zero, "reference", {"precision"}),  # samples nothing
    ],
)
def test_only_what_needs_no_other_training_is_free(composed, system, mode, free):
    tree = tree_of(changed(composed, bank={"mode": mode}), ExperimentConfig)
    found = free_lines(tree, grid_of(composed, **EVERYTHING), graph_of(system))
    assert {path for points in found for changes in points for path in changes} == free


def test_axes_are_what_the_settings_list_or_else_the_space(composed, tmp_path):
    searched = plan(changed(composed, study={"root": str(tmp_path)}))
    found = axes(composed.evaluate.grid, searched.space)
    assert found["diffusion.num_steps"] == (1, 2, 4)  # powers of two, of the range 1 to 4
    assert found["diffusion.sampler"] == ("ddim", "dpmpp_2m") and found["diffusion.num_draws"] == (1, 2, 4, 8)
    assert found["precision"] == found["diffusion.guidance"] == ()  # not searched, not listed
    assert axes(changed(composed.evaluate.grid, sampler=()), searched.space)["diffusion.sampler"] == ()
    unsearched = axes(composed.evaluate.grid, dataclasses.replace(searched.space, parameters=()))
    assert unsearched["diffusion.num_steps"] == (1, 2, 4, 8, 16, 32) and unsearched["diffusion.sampler"] == ()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.grid.sampler=[heun,ddpm]", "evaluate.grid: sampler: ddpm is unknown; choose among ddim"),
        ("evaluate.grid.num_steps=[0,1]", r"evaluate.grid: num_steps must be at least 1, not \[0, 1\]"),
        ("evaluate.grid.precision=[fp16]", "evaluate.grid: precision: fp16 is unknown"),
        ("evaluate.grid.guidance=[-1]", "evaluate.grid: guidance must be 0 or positive"),
        ("evaluate.max_points=0", "evaluate: max_points must be at least 1"),
        ("evaluate.tolerance=-1", "evaluate: tolerance must be 0 or positive"),
        ("evaluate.step_factors=[2]", "evaluate.step_factors: unknown key"),
    ],
)
def test_a_grid_that_cannot_be_walked_is_refused(override, message):
    with pytest.raises(UserError, match=message):
        compose(SearchConfig, "search", [override])


def test_speeds_tolerance_is_that_of_a_logarithm():
    assert improved((0.0, 0.0), (0.0, -math.log10(1.1) - 1e-9), **SETTINGS)
    assert not improved((0.0, 0.0), (0.0, -math.log10(1.1) + 1e-9), **SETTINGS)
