"""Intervals of qualities and of the picks' differences, against SciPy and Holm, on clips whose scores are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small_studies import info, row

from imer_ray.evaluation.significance import holm, paired_p_value
from imer_ray.results.schema import Objective
from imer_ray.results.study import load
from imer_ray.results.writer import write_results
from imer_ray.tuning.study.uncertainty import Sample, compare, uncertainty

NUM_CLIPS = 40  # each is a group of its own, so that the jackknife of a mean is exact
CLIPS = torch.arange(NUM_CLIPS)


def quality(values):
    """A quality that is a mean over clips."""
    return lambda clips: float(torch.as_tensor(values)[clips].mean())


def sample(values):
    return Sample(values.mean(), (values.sum() - values) / (len(values) - 1))


@pytest.fixture
def study(tmp_path):
    """Three points on the front, slower ones better; the fastest was run with two seeds."""
    rows = [row(i, quality=0.2 + 0.1 * i, speed=-1.0 - i) for i in range(3)]
    write_results(tmp_path / "results.parquet", [*rows, {**rows[2], "seed": 2, "repeat": 1}], info())
    return load(tmp_path)


def test_a_quality_with_one_seed_has_students_interval_over_clips(study):
    rng = np.random.default_rng(0)
    scores = [rng.normal(size=NUM_CLIPS) for _ in range(4)]
    seeds = [{1: quality(scores[0])}, {1: quality(scores[1])}, {1: quality(scores[2]), 2: quality(scores[3])}]
    found = uncertainty(study, seeds, CLIPS)
    half = stats.t.ppf(0.975, NUM_CLIPS - 1)
    assert found.half_widths == pytest.approx({f"{i}.0": half * stats.sem(scores[i]) for i in range(2)})
    assert [(pair.first, pair.second) for pair in found.pairs] == [("0.0", "1.0"), ("0.0", "2.0"), ("1.0", "2.0")]
    # the third pick's second seed has no partner, so that the pair is compared on the first
    assert found.pairs[1].difference == pytest.approx(scores[0].mean() - scores[2].mean())


def test_what_clips_share_does_not_keep_picks_from_being_told_apart(study):
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 10, NUM_CLIPS)  # clips differ by far more than systems
    first, worse = hard + 0.1 * rng.normal(size=NUM_CLIPS), hard - 1
    found = uncertainty(study, [{1: quality(first)}, {1: quality(worse)}, {1: quality(first)}], CLIPS)
    apart = {(pair.first, pair.second): pair.is_told_apart for pair in found.pairs}
    assert apart == {("0.0", "1.0"): True, ("0.0", "2.0"): False, ("1.0", "2.0"): True}
    assert found.half_widths["0.0"] > 2, "although the intervals overlap"
    equal = found.pairs[1]
    assert (equal.difference, equal.half_width) == (0.0, 0.0)


def test_nothing_is_known_of_evicted_evaluations_few_clips_or_the_worst_setting(study, tmp_path):
    seeds = [{1: quality(np.arange(NUM_CLIPS, dtype=float))}] * 3
    assert uncertainty(study, None, CLIPS) is None and uncertainty(study, seeds, CLIPS[:1]) is None
    worst = Objective(name="quality", metric="valid.worst.MAE", label="MAE", reference=3.0)
    rows = [{**row(i, quality=0.2 + 0.1 * i, speed=-1.0 - i), "valid.worst.MAE": 0.2 + 0.1 * i} for i in range(3)]
    (tmp_path / "worst").mkdir()
    objectives = (worst, info().objectives[1])
    write_results(tmp_path / "worst/results.parquet", rows, info(objectives=objectives))
    assert uncertainty(load(tmp_path / "worst"), seeds, CLIPS) is None


def test_a_quality_that_is_unknown_without_some_clip_has_no_interval_and_no_pairs(study):
    def needs_the_first(clips):
        return 1.0 if 0 in clips else math.nan

    steady = quality(np.random.default_rng(2).normal(size=NUM_CLIPS))
    found = uncertainty(study, [{1: needs_the_first}, {1: steady}, {1: steady}], CLIPS)
    assert found.half_widths.keys() == {"1.0", "2.0"}
    assert [(pair.first, pair.second) for pair in found.pairs] == [("1.0", "2.0")]


@given(st.integers(0, 10_000), st.lists(st.floats(-0.8, 0.8), min_size=2, max_size=4))
def test_a_difference_is_told_apart_exactly_where_holm_rejects(seed, levels):
    rng = np.random.default_rng(seed)
    picks = {str(i): {1: sample(rng.normal(level, 1, NUM_CLIPS))} for i, level in enumerate(levels)}
    pairs = {f"{pair.first}{pair.second}": pair for pair in compare(picks)}
    raw = {}
    for name in pairs:
        one, other = (picks[pick][1] for pick in name)
        raw[name] = paired_p_value(np.array([one.value - other.value]), (one.replicates - other.replicates)[None])
    rejected = {name: p_value <= 0.05 for name, p_value in holm(raw).items()}
    assert {name: pair.is_told_apart for name, pair in pairs.items()} == rejected


def test_points_without_a_common_seed_are_not_compared():
    steady = sample(np.arange(NUM_CLIPS, dtype=float))
    assert compare({"a": {1: steady}, "b": {2: steady}}) == []
