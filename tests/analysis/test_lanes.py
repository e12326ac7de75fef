"""Stages in lanes per machine: none over another, all of them there, reuse counted once for each who did not pay."""

from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.analysis import report
from imer_ray.analysis.charts.lanes import lanes as chart
from imer_ray.analysis.figures.canvas import render
from imer_ray.analysis.figures.lanes import lanes as figure
from imer_ray.analysis.lanes import STORE, lanes, packed, statement
from imer_ray.results.schema import UserError
from imer_ray.results.study import load
from imer_ray.results.timeline import read_timeline, write_timeline

START = 1795251600.0  # 21 November 2026, 9 h UTC, when the trials of `write_run` begin


def run(number, start, end, status="computed", host="a", node="n1", stage="pretrain[l]", waiters=()):
    return {
        "run": f"r{number}",
        "stage": stage,
        "kind": stage.partition("[")[0],
        "key": "k" * 32,
        "status": status,
        "host": "" if status == "found" else host,
        "node": "" if status == "found" else node,
        "executor": "inline",
        "started": START + start,
        "finished": START + end,
        "seconds": 5.0 if status == "found" else end - start,
        "epoch": 3,
        "num_epochs": 10,
        "waiters": list(waiters),
    }


RUNS = [
    run(0, 0, 20, stage="encode", waiters=["demo-0", "demo-1", "baseline-zero"]),
    run(1, 20, 50, waiters=["demo-0", "demo-12"]),
    run(2, 20, 30, host="b", status="lost", waiters=["demo-3"]),
    run(3, 25, 55, stage="pretrain[a]", waiters=["demo-0"]),
    run(4, 31, 50, host="b", node="n2", waiters=["demo-3"]),
    run(5, 40, 40, status="found", stage="bank", waiters=["demo-2", "demo-4"]),
]


@pytest.fixture
def study(tmp_path, write_run):
    folder = write_run(tmp_path / "demo", 6)
    write_timeline(folder / "timeline.parquet", RUNS[::-1], "demo")
    return load(folder)


def test_the_file_gives_back_what_was_written_in_the_order_of_time(study):
    assert read_timeline(study.folder / "timeline.parquet") == RUNS


def test_machines_have_lanes_and_a_machine_with_two_nodes_two(study):
    made = lanes(study)
    assert list(made.names) == ["a", "b n1", "b n2", STORE]
    assert made.names == {"a": 0.5, "b n1": 2, "b n2": 3, STORE: 4}  # a ran two at a time
    assert made.runs["place"].tolist() == [0, 0, 2, 1, 3, 4]
    assert made.runs["start"].tolist() == pytest.approx([0, 20 / 60, 20 / 60, 25 / 60, 31 / 60, 40 / 60])
    assert made.kinds == ["pretrain", "encode"]  # what took longest comes first; nothing was computed of bank


def test_reuse_is_whoever_did_not_pay(study):
    made = lanes(study)
    assert made.runs["reused"].tolist() == [2, 1, 0, 0, 0, 2]
    assert made.runs["waiters"][0] == "trial 0, 1, baseline-zero"
    assert statement(made) == (
        "4 stages were computed in 1 min 39 s and reused 3 times; 1 more lay in the store. "
        "Runs that did not finish: 1 lost, after 10 s."
    )


@given(spans=st.lists(st.tuples(st.integers(0, 100), st.integers(1, 30)), max_size=40))
def test_no_bar_lies_over_another_and_there_are_no_more_rows_than_ran_at_once(spans):
    starts, ends = (pd.Series([span[i] for span in spans], dtype=float) for i in (0, 1))
    ends += starts
    rows = packed(starts, ends)
    for row in set(rows):
        own = sorted((start, end) for start, end, r in zip(starts, ends, rows, strict=True) if r == row)
        assert all(end <= start for (_, end), (start, _) in pairwise(own))
    at_once = [((starts <= moment) & (moment < ends)).sum() for moment in starts]
    assert len(set(rows)) == max(at_once, default=0)


def test_a_page_and_a_figure_show_them(study):
    page = report.page(study, [], {})
    assert "What ran where" in page and "reused 3 times" in page
    made = chart(lanes(study))
    assert sum(len(trace["y"]) for trace in made["data"]) == len(RUNS)
    (lost,) = [text for trace in made["data"] for text in trace["hovertext"] if "lost" in text]
    assert "trial 3" in lost and "epoch 3 of 10" in lost
    svg = render(figure(lanes(study)))["svg"].decode()
    assert all(f">{said}</text>" in svg for said in ("encode", "b n2", "cut short", STORE, "2×"))


def test_without_a_timeline_there_is_nothing_to_show_and_a_damaged_one_is_named(tmp_path, write_run):
    folder = write_run(tmp_path / "old", 2)
    assert lanes(load(folder)) is None and figure(None) is None
    (folder / "timeline.parquet").write_bytes((folder / "results.parquet").read_bytes())
    with pytest.raises(UserError, match="timeline.parquet is damaged or no timeline"):
        lanes(load(folder))


def test_of_very_many_runs_the_longest_are_shown(tmp_path, write_run):
    folder = write_run(tmp_path / "demo", 1)
    write_timeline(folder / "timeline.parquet", [run(i, i, i + 1 + i / 1e4) for i in range(3000)], "demo")
    shown = lanes(load(folder)).runs
    assert shown["run"].tolist() == [f"r{i}" for i in range(1000, 3000)]
