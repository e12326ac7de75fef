"""Intervals against SciPy; the paired test's size and power by simulation; Holm by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from imer_ray.evaluation.significance import half_width, holm, jackknife, paired_half_width, paired_p_value

VALUES = [0.71, 0.69, 0.74, 0.70, 0.72]


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_interval_is_students(size, level):
    values = VALUES[:size]
    low, high = stats.t.interval(level, size - 1, np.mean(values), stats.sem(values))
    assert half_width(values, level) == pytest.approx((high - low) / 2, rel=1e-9)


def test_one_seed_has_no_interval():
    assert math.isnan(half_width([0.7]))


def test_without_spread_over_clips_it_is_the_paired_t_test_over_seeds():
    ours, theirs = np.array(VALUES), np.array([0.70, 0.70, 0.71, 0.68, 0.70])
    replicates = np.repeat((ours - theirs)[:, None], 50, axis=1)
    assert paired_p_value(ours - theirs, replicates) == pytest.approx(stats.ttest_rel(ours, theirs).pvalue, rel=1e-9)


def test_with_one_seed_it_is_the_t_test_over_clips():
    gains = np.random.default_rng(0).normal(0.1, 1, 80)
    replicates = (gains.sum() - gains) / 79  # the mean without each clip
    expected = stats.ttest_1samp(gains, 0).pvalue
    assert paired_p_value(np.array([gains.mean()]), replicates[None]) == pytest.approx(expected, rel=1e-9)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(1).normal(size=40)
    found = jackknife(lambda kept: {"mean": x[kept].mean()}, len(x))["mean"]
    assert len(found) == 40
    assert np.sqrt(39 * found.var()) == pytest.approx(stats.sem(x), rel=1e-9)


def test_groups_of_clips_are_of_one_size_and_the_same_whoever_asks():
    seen: list[np.ndarray] = []

    def statistic(kept):
        seen.append(kept)
        return {"share": float(kept.mean())} if kept[0] else {}

    found = jackknife(statistic, 686)["share"]
    assert len(found) == 50 and np.isnan(found).sum() == 1, "one group holds the first clip"
    assert (np.sum([~kept for kept in seen], axis=0) == 1).all(), "every clip is left out once"
    first = list(seen)
    jackknife(statistic, 686)
    assert all((a == b).all() for a, b in zip(first, seen[50:], strict=True))


def p_values(effect, seed_std, clip_std, noise_std, count=2000, seeds=5, clips=60):
    """p-values of ``count`` simulated comparisons: d_si = effect + r_s + c_i + e_si, a metric that is a mean."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(count):
        gains = effect + seed_std * rng.normal(size=(seeds, 1)) + clip_std * rng.normal(size=(1, clips))
        gains = gains + noise_std * rng.normal(size=(seeds, clips))
        replicates = (gains.sum(1, keepdims=True) - gains) / (clips - 1)
        found.append(paired_p_value(gains.mean(1), replicates))
    return np.array(found)


# What the training's luck, the choice of clips and both together contribute; the last is what tables of five seeds see.
LAWS = {"seeds": (0.05, 0.0, 0.05), "clips": (0.0, 0.5, 0.05), "noise": (0.0, 0.0, 0.5), "all": (0.03, 0.3, 0.4)}


@pytest.mark.parametrize("law", LAWS)
def test_under_the_null_it_rejects_as_often_as_it_says(law):
    found = p_values(0.0, *LAWS[law])
    for alpha in (0.05, 0.2):
        low, high = stats.binom.interval(1 - 1e-4, len(found), alpha) / np.array(len(found))
        # Pure noise counts once among seeds and once among clips (their covariance is cut at 0): it is careful there.
        assert (0.4 * alpha if law == "noise" else low) <= (found < alpha).mean() <= high
    if law != "noise":
        assert stats.kstest(found, "uniform").pvalue > 1e-4


def test_a_test_over_seeds_alone_would_take_the_luck_of_the_clips_for_a_difference():
    rng, false = np.random.default_rng(3), 0
    for _ in range(500):
        gains = 0.5 * rng.normal(size=(1, 60)) + 0.05 * rng.normal(size=(5, 60))
        false += stats.ttest_1samp(gains.mean(1), 0).pvalue < 0.05
    assert false > 0.5 * 500


def test_it_finds_a_difference_that_is_there():
    assert (p_values(0.2, *LAWS["all"], count=500) < 0.05).mean() > 0.9


def test_equal_systems_do_not_differ_and_what_is_unknown_stays_so():
    assert paired_p_value(np.zeros(3), np.zeros((3, 10))) == 1.0
    assert paired_p_value(np.full(3, 0.1), np.full((3, 10), 0.1)) < 1e-9
    assert math.isnan(paired_p_value(np.array([0.1, math.nan]), np.zeros((2, 10))))


def test_holm_by_hand():
    # sorted .005 (x 4), .01 (x 3), .03 (x 2), .04 (x 1), each at least as large as the one before
    found = holm({"l": 0.01, "a": 0.04, "v": 0.03, "la": 0.005, "lav": math.nan})
    assert {k: round(v, 12) for k, v in found.items() if k != "lav"} == {"l": 0.03, "a": 0.06, "v": 0.06, "la": 0.02}
    assert math.isnan(found["lav"])
    assert holm({"l": 0.6, "a": 0.7}) == {"l": 1.0, "a": 1.0}


def test_holm_keeps_the_rate_of_any_false_rejection():
    rng = np.random.default_rng(5)
    families = [holm(dict(zip("abcdefg", rng.uniform(size=7), strict=True))) for _ in range(2000)]
    rate = np.mean([min(family.values()) < 0.05 for family in families])
    assert (
        stats.binom.interval(1 - 1e-4, 2000, 0.05)[0] / 2000
        < rate
        < stats.binom.interval(1 - 1e-4, 2000, 0.05)[1] / 2000
    )


def test_the_paired_interval_is_students_over_clips_and_over_seeds():
    gains = np.random.default_rng(3).normal(0.1, 1, 40)
    replicates = (gains.sum() - gains) / 39
    low, high = stats.t.interval(0.9, 39, gains.mean(), stats.sem(gains))
    assert paired_half_width(np.array([gains.mean()]), replicates[None], 0.9) == pytest.approx((high - low) / 2)
    values = np.array(VALUES)
    over_seeds = paired_half_width(values, np.repeat(values[:, None], 50, axis=1))
    assert over_seeds == pytest.approx(half_width(VALUES)), "clips that change nothing add nothing"


@pytest.mark.parametrize("num_seeds", [1, 2, 4])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_0_lies_in_the_paired_interval_where_the_test_does_not_reject(num_seeds, level):
    rng, inside = np.random.default_rng(num_seeds), []
    for _ in range(200):
        gains = rng.normal(0.1, 1, size=(num_seeds, 60)) + rng.normal(0, 0.5, size=60)
        sample = gains.mean(1), (gains.sum(1, keepdims=True) - gains) / 59
        inside.append(abs(gains.mean()) <= paired_half_width(*sample, level))
        assert inside[-1] == (paired_p_value(*sample) >= 1 - level)
    assert {True, False} == set(inside)


def test_equal_systems_have_an_interval_without_width_and_what_is_unknown_has_none():
    assert paired_half_width(np.zeros(1), np.zeros((1, 50))) == 0.0
    assert math.isnan(paired_half_width(np.zeros(1), np.full((1, 50), math.nan)))
