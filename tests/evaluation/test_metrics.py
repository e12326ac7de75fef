"""MMSA's eight metrics against values worked out by hand and against scikit-learn and scipy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score

from imer_ray.errors import NonFiniteError, UserError
from imer_ray.evaluation.metrics import REGRESSION_METRICS, TWO_CLASS_METRICS, metrics, needed

LABELS = [-3.0, -1.2, -0.4, 0.0, 0.0, 0.6, 1.5, 2.5, 2.8, 3.0]
PREDICTIONS = [-2.6, 0.3, -0.5, -0.1, 0.2, 0.4, 2.5, 4.0, -1.0, 3.5]


def test_values_worked_out_by_hand():
    found = metrics(PREDICTIONS, LABELS)
    # Has0: labels - - - + + + + + + +, predictions - + - - + + + + - +: wrong are the 2nd, 4th and 9th of ten.
    assert found["Has0_acc_2"] == pytest.approx(7 / 10)
    # negative: TP 2, FP 2, FN 1 -> F1 4/7, weight 3/10; non-negative: TP 5, FP 1, FN 2 -> F1 10/13, weight 7/10.
    assert found["Has0_F1_score"] == pytest.approx(0.3 * 4 / 7 + 0.7 * 10 / 13)
    # Non0 leaves out the 4th and 5th: labels - - - + + + + +, predictions - + - + + + - +: 6 of 8.
    assert found["Non0_acc_2"] == pytest.approx(6 / 8)
    # negative: TP 2, FP 1, FN 1 -> 2/3, weight 3/8; positive: TP 4, FP 1, FN 1 -> 4/5, weight 5/8.
    assert found["Non0_F1_score"] == pytest.approx(3 / 8 * 2 / 3 + 5 / 8 * 4 / 5)
    # Rounded labels -3 -1 -0 0 0 1 2 2 3 3 (2.5 goes to the even 2), predictions -3 0 -0 -0 0 0 2 3 -1 3.
    assert found["Mult_acc_7"] == pytest.approx(6 / 10)
    # Clipped to 2 first: labels -2 -1 -0 0 0 1 2 2 2 2, predictions -2 0 -0 -0 0 0 2 2 -1 2.
    assert found["Mult_acc_5"] == pytest.approx(7 / 10)
    assert found["MAE"] == pytest.approx((0.4 + 1.5 + 0.1 + 0.1 + 0.2 + 0.2 + 1.0 + 1.5 + 3.8 + 0.5) / 10)
    assert set(found) == {*TWO_CLASS_METRICS, *REGRESSION_METRICS}


def test_half_rounds_to_even_as_numpy_does():
    assert metrics([0.5, 1.5, 2.5], [0.0, 2.0, 2.0])["Mult_acc_7"] == 1.0
    assert metrics([0.5, 1.5, 2.5], [1.0, 1.0, 3.0])["Mult_acc_7"] == 0.0


def test_a_prediction_of_exactly_zero_is_non_negative_but_not_positive():
    found = metrics([0.0, 0.0], [1.0, -1.0])
    assert found["Has0_acc_2"] == 0.5 and found["Non0_acc_2"] == 0.5
    assert metrics([0.0], [1.0])["Has0_acc_2"] == 1.0 and metrics([0.0], [1.0])["Non0_acc_2"] == 0.0


values = st.floats(-4, 4, width=32).map(lambda x: round(x, 2))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 40).flatmap(lambda n: st.tuples(*[arrays(np.float32, n, elements=values)] * 2)))
def test_agrees_with_scikit_learn_and_scipy(pair):
    y, truth = pair
    found = metrics(y, truth)
    has0, non0 = (truth >= 0, y >= 0), (truth[truth != 0] > 0, y[truth != 0] > 0)
    assert found["Has0_acc_2"] == pytest.approx(accuracy_score(*has0))
    assert found["Has0_F1_score"] == pytest.approx(f1_score(*has0, average="weighted"))
    if len(non0[0]):
        assert found["Non0_acc_2"] == pytest.approx(accuracy_score(*non0))
        assert found["Non0_F1_score"] == pytest.approx(f1_score(*non0, average="weighted"))
    else:
        assert "Non0_acc_2" not in found and "Non0_F1_score" not in found
    if np.ptp(y) > 0.01 and np.ptp(truth) > 0.01:
        assert found["Corr"] == pytest.approx(pearsonr(y.astype(float), truth.astype(float)).statistic, abs=1e-9)
    assert all(math.isfinite(value) for value in found.values())


def test_without_variation_the_correlation_is_zero():
    assert metrics([0.1] * 7, np.linspace(-3, 3, 7))["Corr"] == 0.0
    assert metrics(np.linspace(-3, 3, 7), [1.0] * 7)["Corr"] == 0.0
    assert metrics([1.0], [1.0])["Corr"] == 0.0


def test_the_correlation_survives_any_scale_of_the_predictions():
    truth = np.array([-2.0, 0.5, 1.0, 2.5])
    for scale in (1e-200, 1e-8, 1e8, 1e200):
        assert metrics(-scale * truth, truth)["Corr"] == pytest.approx(-1.0)


def test_binary_labels_give_only_the_two_class_metrics():
    found = metrics(torch.tensor([2.0, -0.3, 0.1]), torch.tensor([1.0, 1.0, -1.0]), "binary")
    assert set(found) == set(TWO_CLASS_METRICS)
    assert found["Non0_acc_2"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_predictions_that_are_not_finite_are_an_error(bad):
    with pytest.raises(NonFiniteError, match="1 of 3"):
        metrics([0.0, bad, 1.0], [0.0, 1.0, 1.0])


def test_nothing_to_score_is_an_error():
    with pytest.raises(UserError, match="no clip"):
        metrics([], [])


def test_labels_that_are_absent_or_too_few_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="without a label"):
        metrics([0.0, 1.0], [0.0, math.nan])
    with pytest.raises(ValueError, match="2 predictions for 1 labels"):
        metrics([0.0, 1.0], [0.0])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([-2.5, -1.0, -0.2, 0.0, 0.3, 1.0, 3.0]), min_size=1, max_size=5))
def test_a_metric_has_a_meaning_unless_some_constant_prediction_reaches_its_best_value(labels):
    """Of the correlation, which is 0 for every constant: unless the labels themselves do not reach 1."""
    for name in (*TWO_CLASS_METRICS, "Mult_acc_5", "Mult_acc_7"):
        constants = [metrics([c] * len(labels), labels) for c in (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)]
        trivial = any(name not in found or found[name] == 1 for found in constants)
        assert (needed(name, labels) is not None) == trivial, name
    assert (needed("Corr", labels) is not None) == (metrics(labels, labels)["Corr"] < 0.999)
    assert needed("MAE", labels) is None


def test_without_labels_no_metric_has_a_meaning():
    for name in (*TWO_CLASS_METRICS, *REGRESSION_METRICS):
        assert needed(name, []) is not None and needed(name, [math.nan] * 3) is not None
    assert "not -1 and 1 only" in needed("MAE", [-1.0, 1.0], "binary")
