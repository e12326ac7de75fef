"""Tables over seeds, by hand."""

import math

import pytest

from imer_ray.training.table import markdown, summarise


def _result(complete: float, missing: float) -> dict[str, float]:
    return {"test.Non0_acc_2": missing, "test.lav.Non0_acc_2": complete, "test.a.Non0_acc_2": missing, "valid.MAE": 1.0}


def test_mean_and_deviation_over_seeds_in_percent() -> None:
    frame = summarise({"ours": [_result(0.8, 0.5), _result(0.9, 0.7)]}, "test").set_index("Setting")
    assert frame.loc["lav", "Non0_acc_2"] == pytest.approx(85.0)
    assert frame.loc["lav", "Non0_acc_2_std"] == pytest.approx(100 * math.sqrt(2 * 0.05**2))
    assert frame.loc["mean", "Non0_acc_2"] == pytest.approx(60.0)
    assert "MAE" not in frame, "other splits' metrics stay out"


def test_gap_closed_runs_from_zero_filling_to_the_optimum() -> None:
    runs = {"ours": [_result(0.8, 0.65)], "zero": [_result(0.8, 0.6)], "bayes": [_result(0.9, 0.7)]}
    frame = summarise(runs, "test")
    closed = frame[frame["Setting"] == "a"].set_index("Model")["gap_closed"]
    assert closed.to_dict() == pytest.approx({"ours": 50.0, "zero": 0.0, "bayes": 100.0})
    assert "| a | 65.0 ± 0.0 | 60.0 ± 0.0 | 70.0 ± 0.0 | 50 |" in markdown(frame)
