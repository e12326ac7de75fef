"""A study with a third objective: its front, hypervolume and picks in three, and where page and terminal show it."""

import math

import numpy as np
import pandas as pd
import pytest
from pages import ENTER, complaints, draw
from small_study import FRONT, OBJECTIVES, report_of, row

from imer_ray.analysis import progress, verdicts
from imer_ray.analysis.charts.front import pareto
from imer_ray.analysis.figures.study import sizes
from imer_ray.analysis.report import build
from imer_ray.analysis.table import render
from imer_ray.errors import UserError
from imer_ray.export import export
from imer_ray.results.pareto import picks
from imer_ray.results.schema import Objective, read_info, read_results
from imer_ray.results.study import load

PARAMETERS = Objective(name="num_parameters", metric="num_parameters", label="log10(parameters)", reference=8.0)
THREE = (*OBJECTIVES, PARAMETERS)


def with_size(trial, f1, speedup, parameters, **more):
    sized = {"num_parameters": parameters, "objective.num_parameters": math.log10(parameters)}
    return row(trial, f1, speedup, **sized, **more)


ROWS = [
    with_size(0, 0.80, 50, 4e6),
    with_size(1, 0.79, 100, 2e6),
    with_size(2, 0.70, 300, 8e6),
    with_size(3, 0.60, 60, 1e5),  # beaten in quality and speed, but the smallest
    with_size(4, 0.60, 50, 5e6),  # beaten in all
]


@pytest.fixture
def three(small):
    return small(ROWS, objectives=THREE)


def test_the_file_has_a_column_and_a_reference_for_it(three):
    frame = read_results(three / "results.parquet")
    assert frame["objective.num_parameters"].tolist() == [math.log10(each["num_parameters"]) for each in ROWS]
    assert read_info(three / "results.parquet").reference == (0.5, 0.0, 8.0)


def test_front_hypervolume_and_picks_are_in_three(three):
    study = load(three)
    assert sorted(study.front["trial"]) == [0, 1, 2, 3]
    assert {name: study.points.loc[index, "trial"] for name, index in study.every_pick.items()} == {
        "quality": 0,
        "speed": 2,
        "knee": 1,
        "num_parameters": 3,
    }
    assert study.stairs["trial"].tolist() == [0, 1, 2]
    boxes = [[0.2, -math.log10(50), math.log10(4e6)], [0.4, -math.log10(60), 5.0]]
    volumes = [math.prod(np.array([0.5, 0.0, 8.0]) - box) for box in boxes]
    shared = math.prod(np.array([0.5, 0.0, 8.0]) - np.maximum(*boxes))
    pair = load(three)
    pair.__dict__["points"] = study.points[study.points["trial"].isin([0, 3])]
    assert progress.hypervolume_over_time(pair)[1][-1] == pytest.approx(sum(volumes) - shared)


def test_terminal_and_page_have_a_column_and_larger_marks_for_more(three, small):
    study = load(three)
    heads = render(study).splitlines()[1].split()
    assert heads == ["pick", "trial", "Non0", "F1", "speedup", "parameters"]
    assert "num_parameters" in render(study)
    marks = sizes(study, study.points, 1.0, (2.0, 4.0))
    by_trial = dict(zip(study.points["trial"], marks, strict=True))
    assert by_trial[3] == 2.0 and by_trial[2] == 4.0 and by_trial[4] == 1.0 and 2.0 < by_trial[1] < by_trial[0] < 4.0
    trace = next(each for each in pareto([study])["data"] if each.get("meta") == "points")
    assert len(set(trace["marker"]["size"])) == 5
    page = build([three])[0].read_text(encoding="utf-8")
    assert "the larger the more parameters" in page and "better in all objectives" in page
    assert report_of(page)["picking"]["objectives"] == [objective.column for objective in THREE]
    assert ["parameters", "100000"] in [list(pair) for pair in report_of(page)["points"]["small/3"]["measured"]]
    two = load(small(FRONT, folder="two"))
    assert set(sizes(two, two.front, 1.0, (3.0, 3.0))) == {3.0}


def test_a_further_objective_is_exported_by_its_name(three):
    assert "trial: 3" in export(three, "num_parameters").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="choose quality, speed, knee, num_parameters, a trial's number"):
        export(three, "num_parameter")


def test_a_baseline_beats_only_what_it_beats_in_all_three(small):
    rival = {"valid.Non0_F1_score": 0.81, "speedup_vs_imder": 400}
    unknown = load(small(ROWS, {"masked": rival}, objectives=THREE, folder="unknown"))
    assert not any("dominates" in said for said in verdicts.rivals(unknown))
    known = load(small(ROWS, {"masked": {**rival, "num_parameters": 1e6}}, objectives=THREE, folder="known"))
    assert list(verdicts.rivals(known))[0].startswith("masked (0.810, 400×) dominates 4 of 5 points")


def test_two_measures_of_one_name_are_told_apart(small):
    worst = Objective(name="worst.Non0_F1_score", metric="valid.worst.Non0_F1_score", label="1 - worst", reference=0.5)
    rows = [
        row(i, 0.8 - i / 10, 50 * (i + 1), **{"valid.worst.Non0_F1_score": 0.6, "objective.worst.Non0_F1_score": 0.4})
        for i in range(2)
    ]
    study = load(small(rows, objectives=(*OBJECTIVES, worst)))
    assert [axis.name for axis in study.axes] == ["Non0 F1", "speedup", "worst Non0 F1"]


@pytest.mark.slow
def test_the_page_picks_among_random_points_as_python_does(opened, small):
    rng = np.random.default_rng(0)
    values = zip(rng.uniform(0.5, 0.9, 60), rng.uniform(1, 500, 60), 10 ** rng.uniform(5, 7, 60), strict=True)
    folder = small([with_size(i, *map(float, each)) for i, each in enumerate(values)], objectives=THREE)
    points = load(folder).points
    opened.get(draw(folder))
    for bound in (None, 1e6):
        kept = points if bound is None else points[points["num_parameters"] <= bound]
        found = picks(kept[[objective.column for objective in THREE]].to_numpy(float), ["num_parameters"])
        for rule, index in found.items():
            bounds = {} if bound is None else {"num_parameters": bound}
            _, picked, _, _ = opened.execute_script(ENTER, [[rule, bounds]])[0]
            assert picked == str(pd.Series(kept.iloc[index])["trial"]), (rule, bound)
    assert complaints(opened) == []
