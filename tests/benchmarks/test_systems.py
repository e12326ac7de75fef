"""The table of all systems: what is paired with what, and what is said of few seeds."""

import math

import numpy as np
import pytest


def scored(accuracy: float):
    from systems import Scored

    return Scored(accuracy, np.full(50, accuracy))


def test_pairs_and_gaps_are_of_the_seeds_that_both_sides_have() -> None:
    from systems import cells

    accuracies = {
        ("zero", 1): 70.0,
        ("zero", 2): 60.0,
        ("masked", 1): 75.0,
        ("masked", 2): 73.0,
        ("masked", 3): 99.0,
        ("imder", 2): 74.0,
    }
    found = {("plain", system, seed): scored(value) for (system, seed), value in accuracies.items()}
    table = cells(found, {"plain": 80.0})
    imder, masked = table["imder"]["plain"], table["masked"]["plain"]
    assert imder.difference == 1.0 and imder.gap_closed == pytest.approx(70.0) and math.isnan(imder.half_width)
    assert masked.gap_closed == pytest.approx(100 * (5 + 13) / (10 + 20)) and masked.seeds == 3


def test_a_gap_needs_an_optimum_and_a_difference_a_rival() -> None:
    from systems import cells

    table = cells({("official", "zero", 1): scored(60.0)}, {})
    assert table["zero"]["official"].gap_closed is None and math.isnan(table["zero"]["official"].difference)


def test_the_table_says_where_seeds_are_fewer_and_what_was_not_run() -> None:
    from systems import cells, markdown

    found = {("plain", "masked", seed): scored(75.0 + seed) for seed in (1, 2)}
    found |= {("plain", "imder", 1): scored(77.0), ("official", "masked", 1): scored(70.0)}
    lines = markdown(cells(found, {"plain": 80.0}), {"plain": 80.0}).splitlines()
    assert lines[0] == "| | plain | against `masked` | official | against `masked` |"
    assert lines[2] == "| Bayes optimum | 80.0 |  | – |  |"
    assert lines[3] == "| `masked` | 76.5 ± 6.4 |  | 70.0 [1] |  |"
    assert lines[4] == "| `imder` | 77.0 [1] | +1.0 ± 0.0 | – |  |"


def test_the_picture_shows_a_world_in_which_a_system_was_not_run() -> None:
    from systems import FAMILIES, MASKED, cells
    from systems_figure import draw

    found = {("plain", "masked", seed): scored(75.0 + seed) for seed in (1, 2)}
    found |= {("plain", "own", 1): scored(77.0), ("official", "masked", 1): scored(70.0)}
    assert draw(cells(found, {"plain": 80.0}), {"plain": 80.0}, FAMILIES, MASKED).startswith(b"\x89PNG")
