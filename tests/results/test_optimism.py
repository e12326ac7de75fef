"""Choosing the best of noisy points flatters them by as much as order statistics say; without noise, by nothing."""

import json

import numpy as np
import pytest

from imer_ray.errors import UserError
from imer_ray.results.optimism import OPTIMISM, Optimism, optimism, read_optimism, write_optimism
from imer_ray.results.pareto import picks

FOUND = Optimism(metric="valid.MAE", num_points=3, num_halves=8, by_pick={"quality": 0.02, "speed": 0.0, "knee": 0.01})


def test_of_equal_points_the_best_is_optimistic_by_the_expected_minimum_of_the_noise():
    """E min of ten standard normal numbers is -1.53875 (Harter, Biometrika 48, 1961, table 1)."""
    r = np.random.default_rng(0)
    sigma, num_halves = 0.03, 4000
    ours, theirs = 0.3 + sigma * r.standard_normal((2, num_halves, 10))
    found = optimism(ours, theirs, np.linspace(0, 1, 10))
    error = 4 * sigma * 1.2 / np.sqrt(num_halves)
    assert found["quality"] == pytest.approx(1.53875 * sigma, abs=error)
    assert found["speed"] == pytest.approx(0.0, abs=error), "the fastest is the fastest on any clips"


def test_without_noise_nothing_is_lost_and_halves_that_change_places_lose_nothing_at_the_fast_end():
    r = np.random.default_rng(1)
    quality, speed = r.random(6), r.random(6)
    same = np.tile(quality, (5, 1))
    assert optimism(same, same, speed) == {"quality": 0.0, "speed": 0.0, "knee": 0.0}
    ours, theirs = r.random((2, 5, 6))
    found = optimism(np.concatenate([ours, theirs]), np.concatenate([theirs, ours]), speed)
    assert found["speed"] == pytest.approx(0.0, abs=1e-12) and found["quality"] > 0


def test_picks_are_the_ends_of_the_front_and_its_knee():
    points = [[0.0, 1.0], [0.1, 0.1], [1.0, 0.0], [0.5, 0.5], [np.nan, -1.0], [0.0, 2.0]]
    assert picks(points) == {"quality": 0, "knee": 1, "speed": 2}
    assert picks([[np.nan, 0.0]]) == {} and picks(np.empty((0, 2))) == {}


def test_what_was_written_is_read_again_for_the_same_metric_only(tmp_path):
    assert read_optimism(tmp_path, "valid.MAE") is None
    write_optimism(tmp_path, FOUND)
    assert read_optimism(tmp_path, "valid.MAE") == FOUND
    assert read_optimism(tmp_path, "valid.Corr") is None


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", json.dumps({"metric": "valid.MAE", "num_points": 3, "num_halves": 8, "by_pick": {"quality": 1}})],
)
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path, content):
    (tmp_path / OPTIMISM).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="optimism.json is damaged"):
        read_optimism(tmp_path, "valid.MAE")
