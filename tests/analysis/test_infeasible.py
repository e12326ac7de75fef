"""What breaks a study's constraints is measured and shown, but nothing that one could choose."""

import pytest
import small_studies

from imer_ray.analysis.charts.front import pareto
from imer_ray.analysis.figures.study import pareto as figure
from imer_ray.analysis.report import build
from imer_ray.analysis.table import render
from imer_ray.errors import UserError
from imer_ray.export import export
from imer_ray.results.schema import Objective
from imer_ray.results.study import load
from imer_ray.results.writer import write_results

LIMIT = "latency_ms_b1 <= 5"
NFE = Objective(name="speed", metric="nfe", label="log10(1 + NFE)", reference=2.0)
INFO = small_studies.info(
    study="limited", objectives=(small_studies.QUALITY, NFE), space=("diffusion.num_steps",), constraints=(LIMIT,)
)


def row(trial, quality, speed, feasible):
    values = {"config.diffusion.num_steps": 2**trial, "nfe": 10**speed - 1, "latency_ms_b1": 3.0 if feasible else 9.0}
    return small_studies.row(trial, 0, quality, speed, study="limited", repeat=0, feasible=feasible, **values)


@pytest.fixture
def folder(tmp_path):
    """Trial 1 would be alone on the front, but breaks the constraint."""
    rows = [row(0, 0.3, 0.5, True), row(1, 0.1, 0.1, False), row(2, 0.2, 0.7, True)]
    write_results(tmp_path / "results.parquet", rows, INFO)
    return tmp_path


def test_a_point_that_breaks_a_constraint_dominates_nothing_and_is_not_on_the_front(folder):
    study = load(folder)
    assert study.constraints == (LIMIT,)
    assert study.front["trial"].tolist() == [2, 0]
    assert study.infeasible["trial"].tolist() == [1]
    assert render(study).splitlines()[0] == f"Pareto front of limited: 2 of 2 points; 1 point breaks {LIMIT}"


@pytest.mark.parametrize(("pick", "trial"), [("quality", 2), ("speed", 0)])
def test_it_is_not_exported(folder, pick, trial):
    assert f"trial: {trial}" in export(folder, pick).read_text()
    with pytest.raises(UserError, match="trial 1 is not among the complete ones that may be chosen"):
        export(folder, "1")


def test_page_and_figure_show_it_apart(folder):
    (shown,) = [trace for trace in pareto([load(folder)])["data"] if trace.get("name") == "breaks a constraint"]
    assert (shown["x"], shown["y"]) == ([pytest.approx(10**0.1 - 1)], [pytest.approx(0.9)])
    (text,) = shown["text"]
    assert "trial 1" in text and "breaks latency_ms_b1 &lt;= 5" in text
    labels = [text.get_text() for text in figure([load(folder)]).legends[0].get_texts()]
    assert "breaks a constraint" in labels
    page, *_ = build([folder])
    assert "1 point breaks latency_ms_b1 &lt;= 5" in page.read_text()


def test_a_baseline_without_recovery_has_a_place_on_the_axis_of_network_evaluations(folder):
    (folder / "baselines.json").write_text('{"zero": {"valid.Non0_F1_score": 0.6, "nfe": 0.0}}')
    study = load(folder)
    assert not study.speed.log
    low, high = pareto([study])["layout"]["xaxis"]["range"]
    assert min(low, high) < 0 < max(low, high)


def test_where_no_point_keeps_the_constraints_everything_says_so(tmp_path):
    write_results(tmp_path / "results.parquet", [row(0, 0.3, 0.5, False), row(1, 0.1, 0.1, False)], INFO)
    assert render(load(tmp_path)) == f"limited: no point to choose; 2 points break {LIMIT}"
    page, *_ = build([tmp_path])
    assert "There is no point to choose: 2 points break latency_ms_b1 &lt;= 5." in page.read_text()
    with pytest.raises(UserError, match="no point to export: 2 points break latency_ms_b1 <= 5; looser"):
        export(tmp_path, "quality")
