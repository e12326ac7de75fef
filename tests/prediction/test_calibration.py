"""Intervals that hold what they promise, and probabilities that never fall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import beta, binom, kstest

from imer_ray.data.missing import PATTERNS
from imer_ray.data.synthetic import Synthetic
from imer_ray.errors import UserError
from imer_ray.evaluation.model_folder import SHAPE
from imer_ray.evaluation.validation_file import LABELS, VALIDATION
from imer_ray.prediction.calibration import MIN_CLIPS, Calibration, Logistic, Spread, rank, read_calibration
from imer_ray.training.latents import batches

LIMITS = (-3.0, 3.0)


def of(labels: NDArray, values: NDArray, kind: str = "regression", **others: NDArray) -> Calibration:
    """Of a model that predicts ``values`` under every pattern but the ``others``."""
    return Calibration.of(labels, {**dict.fromkeys(PATTERNS, values), **others}, kind)


def test_the_rank_is_the_smallest_that_keeps_the_promise() -> None:
    for n in range(1, 5000):
        exact = math.ceil(Fraction(n + 1) * Fraction(19, 20))
        assert rank(n) == exact
        assert Fraction(2 * exact - n - 1, n + 1) >= Fraction(9, 10) > Fraction(2 * exact - n - 3, n + 1)
    assert rank(MIN_CLIPS) == MIN_CLIPS and rank(MIN_CLIPS - 1) == MIN_CLIPS, "one clip fewer, and none will do"


def test_the_ends_are_residuals_of_these_places() -> None:
    residuals = np.random.default_rng(0).permutation(np.arange(1.0, 40.0))  # 1 to 39: k = 38
    assert Spread.of(residuals) == Spread(2.0, 38.0)
    assert Spread.of(residuals[:18]) == Spread(-math.inf, math.inf)


def skewed(rng: np.random.Generator, count: int) -> tuple[NDArray, NDArray]:
    """Predictions, and labels that are above them more often than below, and the farther the larger they are."""
    values = rng.uniform(-2, 2, count)
    return values, np.clip(values + (0.2 + 0.1 * np.abs(values)) * (rng.exponential(1, count) - 0.5), *LIMITS)


@pytest.mark.parametrize("n", [19, 59, 229])
def test_a_clip_like_the_validation_clips_is_covered_as_often_as_promised(n: int) -> None:
    rng, draws, covered = np.random.default_rng(n), 2000, 0
    for _ in range(draws):
        values, labels = skewed(rng, n + 1)
        spread = Spread.of(labels[:-1] - values[:-1])
        low, high = Calibration("regression", {"la": spread}, {}).interval("la", values[-1:])
        covered += bool(low[0] <= labels[-1] <= high[0])
    promised = (2 * rank(n) - n - 1) / (n + 1)
    # Labels at the range's ends are covered by the cut too, so that a little more than promised may be.
    assert binom.ppf(1e-4, draws, promised) <= covered <= binom.ppf(1 - 1e-4, draws, promised + 0.01)


def test_the_coverage_of_one_draw_is_as_spread_as_the_documentation_says() -> None:
    rng, n = np.random.default_rng(0), 229
    spreads = [Spread.of(rng.uniform(size=n)) for _ in range(1000)]
    k = rank(n)
    assert kstest([s.high - s.low for s in spreads], beta(2 * k - n - 1, 2 * n + 2 - 2 * k).cdf).pvalue > 0.01
    assert beta(2 * k - n - 1, 2 * n + 2 - 2 * k).std() == pytest.approx(0.02, abs=0.001)


def test_with_two_thousand_validation_clips_every_pattern_covers_88_to_92_percent_of_20000() -> None:
    data = Synthetic(num_train=64, num_valid=2000, num_test=20_000)
    dataset, oracle = data.load(), data.oracle()

    def best(split: str) -> Mapping[str, NDArray]:
        return {
            pattern: np.concatenate(
                [oracle.predict(b, mask.expand(len(b), 3)).mean.numpy() for b in batches(dataset, split, "cpu", 4096)]
            )
            for pattern, mask in PATTERNS.items()
        }

    calibration = Calibration.of(dataset.labels("valid").numpy(), best("valid"), "regression")
    truth = dataset.labels("test").numpy()
    for pattern, values in best("test").items():
        low, high = calibration.interval(pattern, values)
        assert 0.88 <= ((low <= truth) & (truth <= high)).mean() <= 0.92, pattern
        chance = calibration.probability_positive(pattern, values)
        order = np.argsort(chance).reshape(20, -1)  # twenty groups of as many clips, from unlikely to likely
        assert np.abs((truth > 0)[order].mean(1) - chance[order].mean(1)).mean() < 0.03, pattern


numbers = st.floats(-1e3, 1e3, width=32)
sets = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        arrays(
            np.float64, n, elements=st.one_of(st.just(math.nan), st.floats(-3, 3), st.sampled_from([0.0, -1.0, 1.0]))
        ),
        arrays(np.float64, n, elements=st.one_of(st.just(math.nan), numbers, st.just(0.5))),
    )
)


@given(sets, arrays(np.float64, 9, elements=numbers))
def test_whatever_the_clips_intervals_are_within_the_range_and_nothing_falls_as_the_prediction_rises(
    clips: tuple[NDArray, NDArray], asked: NDArray
) -> None:
    calibration, asked = of(*clips), np.sort(asked)
    low, high = calibration.interval("v", asked)
    chance = calibration.probability_positive("v", asked)
    assert (low >= -3).all() and (high <= 3).all() and (low <= high).all()
    assert ((chance >= 0) & (chance <= 1)).all()
    for rising in (low, high, chance):
        assert (np.diff(rising) >= 0).all()
    again = of(*clips)
    assert again == calibration, "nothing is drawn"


def platt_loss(weights: NDArray, values: NDArray, positive: NDArray) -> float:
    up, down = positive.sum(), (~positive).sum()
    t = np.where(positive, (up + 1) / (up + 2), 1 / (down + 2))
    z = weights[0] * values + weights[1]
    return float((np.logaddexp(0, z) - t * z).sum())


@pytest.mark.parametrize("kind", ["overlapping", "separable", "far", "rare"])
def test_the_logistic_fit_is_the_optimum_with_smoothed_targets(kind: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, 200)
    noise = 0.0 if kind == "separable" else 1.0
    positive = values + noise * rng.normal(0, 1, 200) > (1.8 if kind == "rare" else 0)
    values = 1e4 + 1e-2 * values if kind == "far" else values
    fit = Logistic.fit(values, positive)
    centred = values - values.mean()
    slope, intercept = fit.slope, fit.intercept + fit.slope * values.mean()
    scale = 1 / values.std()
    best = minimize(lambda w: platt_loss(w * [scale, 1], centred, positive), [0.0, 0.0], tol=1e-12)
    assert platt_loss(np.array([slope, intercept]), centred, positive) <= best.fun + 1e-6
    assert slope / scale == pytest.approx(best.x[0], rel=1e-3) and slope > 0


def test_known_odds_are_found_again() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0, 1.5, 50_000)
    fit = Logistic.fit(values, rng.random(50_000) < expit(1.7 * values - 0.4))
    assert fit.slope == pytest.approx(1.7, abs=0.05) and fit.intercept == pytest.approx(-0.4, abs=0.05)


def test_where_the_sign_falls_as_the_prediction_rises_the_share_of_positives_is_all_that_is_said() -> None:
    values = np.linspace(-1, 1, 30)
    fit = Logistic.fit(values, values < -0.4)
    smoothed = (9 * (10 / 11) + 21 * (1 / 23)) / 30
    assert fit.slope == 0 and fit(np.array([-9.0, 9.0])) == pytest.approx([smoothed] * 2)


def test_labels_of_zero_have_no_sign_but_count_for_the_interval() -> None:
    rng = np.random.default_rng(3)
    values, labels = skewed(rng, 100)
    more = of(np.append(labels, np.zeros(100)), np.append(values, np.full(100, -2.0)))
    fewer = of(labels, values)
    assert more.logistics == fewer.logistics and more.spreads != fewer.spreads


def test_a_pattern_with_too_few_clips_has_what_all_have_together_and_it_is_said() -> None:
    rng = np.random.default_rng(4)
    values, labels = skewed(rng, 100)
    rare = np.where(np.arange(100) < 7, values + 1, np.nan)
    calibration = of(labels, values, v=rare)
    everyone = np.concatenate([np.tile(labels - values, 6), (labels - rare)[:7]])
    assert calibration.spreads["v"] == Spread.of(everyone) and calibration.spreads["a"] == Spread.of(labels - values)
    few, signs = calibration.notes
    assert few == "v: 7 labelled validation clips, where an interval needs 19: it is that of all patterns together"
    assert signs.startswith("v: ") and "of the rarer sign, where a probability needs 10" in signs


def test_fewer_than_nineteen_clips_in_all_tell_nothing_and_the_interval_is_the_whole_range() -> None:
    values, labels = skewed(np.random.default_rng(5), 18)
    calibration = of(np.sign(labels), values, "binary")
    low, high = calibration.interval("lav", np.array([0.3, 7.0]))
    assert low.tolist() == [-1, -1] and high.tolist() == [1, 1]
    assert any("18 of all patterns, where an interval needs 19: it is the whole range" in n for n in calibration.notes)


def seed_folder(folder: Path, labels: NDArray, values: NDArray, kind: str = "regression") -> Path:
    folder.mkdir()
    tensors = {LABELS: labels, **dict.fromkeys(PATTERNS, values)}
    save_file({name: x.astype("f4") for name, x in tensors.items()}, folder / VALIDATION)
    sizes = '{"l": 2, "a": 2, "v": 2}'
    (folder / SHAPE).write_text(f'{{"dims": {sizes}, "lengths": {sizes}, "label_kind": "{kind}"}}')
    return folder


def test_of_several_seeds_the_mean_is_calibrated(tmp_path: Path) -> None:
    values, labels = skewed(np.random.default_rng(6), 50)
    error = np.random.default_rng(7).normal(0, 1, 50)
    folders = [seed_folder(tmp_path / str(sign), labels, values + sign * error) for sign in (1, -1)]
    both, one = read_calibration(folders), read_calibration(folders[:1])
    assert both is not None and one is not None
    assert both.spreads["l"].high == pytest.approx(Spread.of(labels - values).high, abs=1e-6), "the errors cancel"
    assert one.spreads["l"].high > both.spreads["l"].high


def test_of_two_classes_predictions_are_logits_and_the_interval_is_of_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    logits = rng.normal(0, 3, 4000)
    labels = np.where(rng.random(4000) < expit(logits), 1.0, -1.0)
    read = read_calibration([seed_folder(tmp_path / "1", labels[:2000], logits[:2000], "binary")])
    assert read is not None
    low, high = read.interval("av", logits[2000:])
    assert 0.88 <= ((low <= labels[2000:]) & (labels[2000:] <= high)).mean() <= 0.95
    (low_of_sure,), (high_of_sure,) = read.interval("av", np.array([9.0]))
    assert low_of_sure > -1 and high_of_sure == 1, "where it is sure, one of the two labels is left"
    assert read.probability_positive("av", logits) == pytest.approx(expit(logits), abs=0.05)


def test_a_folder_of_an_older_version_has_no_calibration(tmp_path: Path) -> None:
    values, labels = skewed(np.random.default_rng(8), 50)
    new, old = (seed_folder(tmp_path / name, labels, values) for name in ("new", "old"))
    (old / VALIDATION).unlink()
    assert read_calibration([new, old]) is None and read_calibration([new]) is not None


def test_seeds_that_were_validated_on_different_clips_have_no_common_interval(tmp_path: Path) -> None:
    values, labels = skewed(np.random.default_rng(9), 50)
    folders = [seed_folder(tmp_path / str(end), labels[:end], values[:end]) for end in (50, 49)]
    with pytest.raises(UserError, match="50 and .*49 were validated on different clips"):
        read_calibration(folders)
