"""What is known of a front's qualities: written, read, refused, and put beside the points."""

import json
import math
from dataclasses import asdict, replace

import pytest
from small_studies import info, row

from imer_ray.errors import UserError
from imer_ray.results.seeds import bounds
from imer_ray.results.study import load
from imer_ray.results.uncertainty import UNCERTAINTY, Difference, Uncertainty, read_uncertainty, write_uncertainty
from imer_ray.results.writer import write_results

METRIC = "valid.Non0_F1_score"
PAIR = Difference(first="0.0", second="1.0", difference=0.01, half_width=0.02)
FOUND = Uncertainty(metric=METRIC, half_widths={"0.0": 0.03, "1.0": 0.05}, pairs=(PAIR,))


def test_it_comes_back_as_it_was_written_and_only_for_its_own_metric(tmp_path):
    assert read_uncertainty(tmp_path, METRIC) is None
    write_uncertainty(tmp_path, FOUND)
    assert read_uncertainty(tmp_path, METRIC) == FOUND
    assert read_uncertainty(tmp_path, "valid.MAE") is None
    further = replace(FOUND, rivals=(replace(PAIR, second="masked"),), num_folds=5, num_clips=1145)
    write_uncertainty(tmp_path, further)
    assert read_uncertainty(tmp_path, METRIC) == further


def test_one_that_knows_nothing_of_further_clips_is_read(tmp_path):
    old = {name: value for name, value in asdict(FOUND).items() if name in ("metric", "half_widths", "pairs")}
    (tmp_path / UNCERTAINTY).write_text(json.dumps(old))
    assert read_uncertainty(tmp_path, METRIC) == FOUND


@pytest.mark.parametrize(
    "changed",
    [
        {"half_widths": [1]},
        {"half_widths": {"0.0": "wide"}},
        {"half_widths": {"0.0": math.nan}},
        {"pairs": [{"first": "0.0"}]},
        {"pairs": [{"first": "0.0", "second": "1.0", "difference": math.inf, "half_width": 0.1}]},
        {"pairs": None},
        {"rivals": [{"first": "0.0", "second": "masked", "difference": "much", "half_width": 0.1}]},
        {"num_folds": "many"},
        {"other": 1},
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, changed):
    write_uncertainty(tmp_path, FOUND)
    content = json.loads((tmp_path / UNCERTAINTY).read_text())
    (tmp_path / UNCERTAINTY).write_text(json.dumps(content | changed))
    with pytest.raises(UserError, match=r"uncertainty\.json is damaged"):
        read_uncertainty(tmp_path, METRIC)


def test_a_point_has_its_interval_over_seeds_or_with_one_seed_over_clips(tmp_path):
    rows = [row(i, quality=0.2 + 0.1 * i, speed=-1.0 - i) for i in range(3)]
    again = row(1, quality=0.5, speed=-2.0, seed=2, repeat=1)
    write_results(tmp_path / "results.parquet", [*rows, again], info())
    write_uncertainty(tmp_path, FOUND)
    low, high = bounds(METRIC)
    points = load(tmp_path).points.set_index("trial")
    assert (points[low][0], points[high][0]) == pytest.approx((0.77, 0.83))
    assert points[high][1] - points[low][1] > 1, "Student's with two seeds, which is far wider than 0.1"
    assert math.isnan(points[low][2]) and math.isnan(points[high][2])
    speeds = bounds("speedup_vs_imder")
    assert points.loc[[0, 2], list(speeds)].isna().all(axis=None), "clips say nothing of speed"


@pytest.mark.parametrize(("difference", "is_told_apart"), [(0.0, False), (0.02, False), (0.021, True), (-0.021, True)])
def test_a_difference_is_told_apart_where_its_interval_leaves_out_0(difference, is_told_apart):
    found = Difference(first="a", second="b", difference=difference, half_width=0.02)
    assert found.is_told_apart is is_told_apart
    same = Difference(first="a", second="b", difference=0.0, half_width=0.0)
    assert not same.is_told_apart
