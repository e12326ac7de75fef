"""Points with several seeds: means and intervals worked out by hand, and the front, table, page and export of means."""

import json
import math

import numpy as np
import pytest
import yaml

from imer_ray.analysis import report
from imer_ray.analysis.spread import attainment, surfaces
from imer_ray.analysis.table import render
from imer_ray.errors import UserError
from imer_ray.export import export
from imer_ray.results.study import load

T_1, T_2 = 12.706204736, 4.302652730  # 97.5 % quantile of Student's t with one and two degrees of freedom


def row(trial, seed, f1, speedup, point=0, **more):
    return {
        "study": "demo",
        "trial": trial,
        "point": point,
        "repeat": seed - 1111,
        "seed": seed,
        "status": "complete",
        "config": json.dumps({"seed": seed}),
        "valid.Non0_F1_score": f1,
        "speedup_vs_imder": speedup,
        "nfe": 3.0,
        "objective.quality": 1 - f1,
        "objective.speed": -math.log10(speedup),
        "config.diffusion.num_steps": trial + 1,
        **more,
    }


def rows():
    """A lucky point (trial 0), steady ones, and one that no seed but the study's has."""
    return [
        row(0, 1111, 0.90, 100),
        row(0, 1112, 0.60, 100),
        row(0, 1113, 0.60, 100),
        row(1, 1111, 0.80, 60),
        row(1, 1112, 0.82, 240),
        row(1, 1113, 0.78, 120),
        row(2, 1111, 0.75, 400),
        row(2, 1112, 0.65, 400),
        row(2, 1113, 0.0, 400, status="failed", error="the loss became nan"),
        row(3, 1111, 0.68, 300),
    ]


@pytest.fixture
def run(tmp_path, write_run):
    return write_run(tmp_path / "demo", num_trials=4, rows=rows(), space=("diffusion.num_steps",))


def test_a_point_stands_with_the_mean_over_its_complete_seeds(run):
    points = load(run).points.set_index("trial")
    assert points["num_seeds"].to_dict() == {0: 3, 1: 3, 2: 2, 3: 1}
    f1, speedup = points["valid.Non0_F1_score"], points["speedup_vs_imder"]
    assert f1[0] == pytest.approx(0.7) and f1[2] == pytest.approx(0.7) and f1[3] == 0.68
    assert speedup[1] == pytest.approx(120)  # the geometric mean of 60, 120 and 240
    assert points["objective.speed"][1] == pytest.approx(-math.log10(120))
    assert points["nfe"].tolist() == [3.0] * 4


def test_the_interval_of_a_mean_is_students(run):
    points = load(run).points.set_index("trial")
    low, high = points["valid.Non0_F1_score.low"], points["valid.Non0_F1_score.high"]
    assert (low[1], high[1]) == pytest.approx((0.8 - T_2 * 0.02 / math.sqrt(3), 0.8 + T_2 * 0.02 / math.sqrt(3)))
    half = T_1 * math.sqrt(2) * 0.05 / math.sqrt(2)  # two values a tenth apart
    assert (low[2], high[2]) == pytest.approx((0.7 - half, 0.7 + half))
    assert np.isnan(low[3]) and np.isnan(high[3])
    factor = 2 ** (T_2 / math.sqrt(3))  # log2 of 60, 120 and 240 has standard deviation 1
    low, high = points["speedup_vs_imder.low"], points["speedup_vs_imder.high"]
    assert (low[1], high[1]) == pytest.approx((120 / factor, 120 * factor))
    assert low[0] == high[0] == 100.0  # no spread, no interval, no rounding


def test_the_front_is_that_of_the_means_not_of_the_luckiest_seed(run, tmp_path, write_run):
    front = load(run).front
    assert front["trial"].tolist() == [1, 2]
    own = [r for r in rows() if r["repeat"] == 0]
    assert load(write_run(tmp_path / "own", rows=own)).front["trial"].tolist() == [0, 2]


def test_attainment_counts_the_seeds_whose_front_has_the_point(run):
    study = load(run)
    attained = study.attained.groupby(study.points["trial"]).first()
    # 1111: 0 (0.90, 100x) and 2 (0.75, 400x). 1112: 1 (0.82, 240x), 3 with its mean (0.68, 300x) and 2 (0.65, 400x).
    # 1113: 1 (0.78, 120x) and 2, which failed and stands with its mean (0.70, 400x).
    assert attained.loc[0] == 1 and attained.loc[1] == 2 and attained.loc[2] == 2
    assert np.isnan(attained.loc[3])


def test_three_seeds_have_attainment_surfaces_and_two_have_none(run, tmp_path, write_run):
    found = {level: corners.to_numpy().tolist() for level, corners in surfaces(load(run)).items()}
    assert found == {  # the best, the second best and the worst of the three seeds at each speed
        0.25: [pytest.approx(corner) for corner in ((100, 0.90), (240, 0.82), (400, 0.75))],
        0.5: [pytest.approx(corner) for corner in ((100, 0.82), (120, 0.78), (240, 0.75), (400, 0.70))],
        0.75: [pytest.approx(corner) for corner in ((100, 0.78), (120, 0.75), (240, 0.70), (300, 0.68), (400, 0.65))],
    }
    assert surfaces(load(write_run(tmp_path / "two", rows=[r for r in rows() if r["seed"] < 1113]))) == {}


def test_the_table_has_intervals_and_attainment_only_where_there_are_several_seeds(run, tmp_path, write_run):
    lines = render(load(run)).splitlines()
    assert lines[0] == "Pareto front of demo: 2 of 4 points"
    assert lines[1].count("95 %") == 2 and "on front" in lines[1]
    quality, speed = lines[2:]
    assert quality.split()[:6] == ["quality", "1", "0.800", "0.750–0.850", "120×", "21.4–671"]
    assert "2 of 3" in quality and "2 of 2" in speed
    own = load(write_run(tmp_path / "own", rows=[r for r in rows() if r["repeat"] == 0]))
    assert "95 %" not in render(own) and "on front" not in render(own)


def test_the_page_and_the_figure_show_what_the_seeds_attain(run):
    study = load(run)
    page = report.page(study, [], {})
    assert "What the seeds attain" in page and "2 of 3" in page and "0.750–0.850" in page
    data = json.loads(page.split('id="report" type="application/json">')[1].split("</script>")[0])
    charts = {chart["id"]: chart for chart in data["charts"]}
    (bars,) = [trace for trace in charts["pareto"]["data"] if "error_x" in trace]
    assert len(bars["x"]) == 3  # the points that were run with several seeds
    names = [trace.get("name") for trace in charts["attainment"]["data"]]
    assert names[:3] == [f"{percent} % of the seeds" for percent in (25, 50, 75)]
    labels = [text.get_text() for text in attainment(study).legends[0].get_texts()]
    assert labels == names[:3]


def test_what_is_handed_over_is_chosen_by_its_mean(run):
    exported = yaml.safe_load(export(run, "quality").read_text())["imer_ray"]
    assert (exported["trial"], exported["num_seeds"]) == (1, 3)
    assert exported["measured"]["valid.Non0_F1_score"] == pytest.approx(0.8)
    with pytest.raises(UserError, match="trial 9 is not among the complete ones"):
        export(run, "9")
