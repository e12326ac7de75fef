"""Tables over seeds, by hand."""

import math

import pytest

from imer_ray.evaluation.tables import markdown, spread, summarise


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
    assert "| a | 65.0 | 60.0 | 70.0 | 50 |" in markdown(frame)


def test_one_seed_has_no_spread_and_says_so_and_several_say_what_theirs_is() -> None:
    one, two = (summarise({"ours": [_result(0.8, 0.65)] * count}, "test") for count in (1, 2))
    assert one[["Non0_acc_2_std", "Non0_acc_2_low", "Non0_acc_2_high"]].isna().all(axis=None)
    assert "±" not in markdown(one) and "±" not in spread(one) and spread(one).startswith("One seed")
    assert (two["Non0_acc_2_std"] == 0).all() and "| 65.0 ± 0.0 |" in markdown(two) and spread(two).startswith("±")
    csv = one.to_csv(index=False, float_format="%.4f").splitlines()
    assert dict(zip(csv[0].split(","), csv[1].split(","), strict=True))["Non0_acc_2_std"] == ""


def test_beside_systems_with_several_seeds_the_optimum_of_one_stands_alone() -> None:
    frame = summarise({"ours": [_result(0.8, 0.6), _result(0.8, 0.7)], "bayes": [_result(0.9, 0.7)]}, "test")
    assert "| a | 65.0 ± 7.1 | 70.0 |" in markdown(frame)
