"""Scores of several settings: their mean, the worst, and the area under a metric's curve over missing rates."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.data.missing import Fixed, Random
from imer_ray.data.missing_frames import Frames
from imer_ray.data.synthetic import Synthetic
from imer_ray.evaluation.score import score, summaries
from imer_ray.evaluation.tables import summarise

DATA = Synthetic(num_train=20, num_valid=10, num_test=40)


def test_the_worst_is_of_the_settings_in_which_something_is_missing_and_turns_round_for_errors() -> None:
    found = {"l": {"MAE": 1.0, "Corr": 0.4}, "a": {"MAE": 1.5, "Corr": 0.1}, "lav": {"MAE": 9.0, "Corr": 0.0}}
    assert summaries(found, {"lav"}) == {"worst.MAE": 1.5, "worst.Corr": 0.1}


def test_the_area_of_a_line_is_its_middle_and_rates_count_by_their_distance() -> None:
    rates = (0.0, 0.1, 0.5, 0.9)
    found = {str(r): {"Corr": 0.8 - 0.5 * r, "MAE": (r > 0.3) * 1.0} for r in rates}
    area = summaries(found, {"0.0"})
    assert area["AUILC.Corr"] == pytest.approx(0.8 - 0.5 * 0.45)
    # Trapezoids of 0, 0, 1, 1 at the rates: 0.4 / 2 + 0.4 of a range of 0.9.
    assert area["AUILC.MAE"] == pytest.approx(0.6 / 0.9)
    assert area["worst.MAE"] == 1.0 and area["worst.Corr"] == pytest.approx(0.35)


@given(st.lists(st.tuples(st.integers(0, 99), st.floats(0, 1)), min_size=2, max_size=8, unique_by=lambda pair: pair[0]))
def test_the_area_lies_between_the_best_and_the_worst_and_does_not_depend_on_the_order(points: list) -> None:
    found = {str(rate / 100): {"MAE": value} for rate, value in points}
    area = summaries(found, ())["AUILC.MAE"]
    values = [value for _, value in points]
    assert min(values) - 1e-12 <= area <= max(values) + 1e-12
    assert summaries(dict(reversed(found.items())), ())["AUILC.MAE"] == pytest.approx(area)


def test_one_rate_and_patterns_have_no_area() -> None:
    assert set(summaries({"0.5": {"MAE": 1.0}}, ())) == {"worst.MAE"}
    assert set(summaries({"l0.2_a0.5_v0.7": {"MAE": 1.0}}, ())) == {"worst.MAE"}


@pytest.mark.parametrize(
    "protocol", [Fixed(), Random(), Frames(), Random(rates={"l": 0.5})], ids=lambda p: type(p).__name__
)
def test_scores_have_every_setting_their_mean_and_their_summaries(protocol: object) -> None:
    dataset = DATA.load()
    g = torch.Generator().manual_seed(0)
    predictions = {s: torch.randn(40, generator=g) for s in protocol.settings()}  # type: ignore[attr-defined]
    found = score(predictions, dataset, "test", protocol)
    incomplete = [s for s in predictions if s not in protocol.complete]  # type: ignore[attr-defined]
    of_each = [found[f"test.{s}.MAE"] for s in incomplete]
    assert found["test.MAE"] == pytest.approx(math.fsum(of_each) / len(of_each))
    assert found["test.worst.MAE"] == max(of_each)
    assert ("test.AUILC.MAE" in found) == (len(incomplete) > 1 and not isinstance(protocol, Fixed))
    rows = summarise({"ours": [found]}, "test").set_index("Setting")
    assert rows.loc["worst", "MAE"] == max(of_each) and "mean" in rows.index
    assert rows.loc["worst", "Non0_acc_2"] == pytest.approx(100 * found["test.worst.Non0_acc_2"])
