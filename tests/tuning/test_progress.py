"""One line: rewritten on a terminal, appended ever more rarely elsewhere, true about the front it names."""

import io

import pytest

from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.objectives import objectives
from imer_ray.tuning.progress import ProgressLine, summary

INFO = StudyInfo(
    study="demo",
    objectives=objectives({"quality": "Non0_F1_score", "speed": "latency"}),
    num_trials=24,
    searcher="tpe",
    space=(),
)


def row(trial, f1=0.7, speedup=10.0, point=0, status="complete", reused=1.0, computed=3.0):
    measured = {
        "valid.Non0_F1_score": f1,
        "speedup_vs_imder": speedup,
        "objective.quality": 1 - f1,
        "objective.speed": -len(str(int(speedup))) + 1.0,  # powers of ten
    }
    costs = {"seconds_reused": reused, "seconds_computed": computed}
    return {"trial": trial, "point": point, "status": status, **costs, **(measured if status == "complete" else {})}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("seconds", "most"), [(300, 11), (7200, 25), (36000, 32)])
def test_a_log_gets_few_lines_however_long_it_takes(seconds, most):
    now, stream = [0.0], io.StringIO()
    line = ProgressLine(INFO, 0, stream, lambda: now[0])
    for second in range(seconds):
        now[0] = float(second)
        line.show([row(i) for i in range(min(24, 1 + second * 24 // seconds))], min(23, second * 24 // seconds), 4)
    line.show([row(i) for i in range(24)], 24, 0, last=True)
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= most
    assert lines[-1].startswith("24/24 trials, 0 running | front 24 of 24 points")
    assert "\r" not in stream.getvalue()


def test_a_terminal_has_one_line_that_is_rewritten(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    now, stream = [0.0], Terminal()
    line = ProgressLine(INFO, 0, stream, lambda: now[0])
    for second in range(60):
        now[0] = float(second)
        line.show([row(i) for i in range(second // 10)], second // 10, 2)
    line.show([row(i) for i in range(24)], 24, 0, last=True)
    text = stream.getvalue()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert all(len(part) <= 100 for part in text.split("\r"))


def test_the_summary_names_the_best_of_each_objective_and_what_was_reused():
    rows = [row(0, 0.7, 10.0), row(0, 0.6, 100.0, point=1, reused=99.0), row(1, 0.5, 10.0), row(2, status="failed")]
    text = summary(rows, INFO)
    assert ", 1 failed | front 2 of 3 points, hypervolume 0.300 | " in text  # 0.2 * 1 + 0.1 * (2 - 1)
    assert "best Non0_F1_score 0.700, speedup_vs_imder 100" in text
    assert text.endswith("reused 25 %")  # of the trials' own computing time


def test_before_the_first_point_there_is_nothing_to_sum_up():
    assert summary([], INFO) == ""
    assert summary([row(0, status="failed")], INFO) == ", 1 failed"


def test_time_left_counts_only_this_run(capsys):
    now, stream = [0.0], io.StringIO()
    line = ProgressLine(INFO, 12, stream, lambda: now[0])
    now[0] = 30.0
    line.show([row(0)], 15, 4)
    assert stream.getvalue().strip().endswith("| 1:30 left")  # 3 in 30 s, 9 to go
    now[0] = 90.0
    line.show([row(0)], 12, 4)
    assert "left" not in stream.getvalue().splitlines()[-1]


def test_what_is_being_computed_is_asked_for_only_when_a_line_is_written():
    now, stream, asked = [0.0], io.StringIO(), []
    line = ProgressLine(INFO, 0, stream, lambda: now[0])

    def stages():
        asked.append(now[0])
        return [{"name": "encode", "epoch": 3, "num_epochs": 30}, {"name": "bank", "epoch": 0, "num_epochs": 0}]

    for second in range(30):
        now[0] = float(second)
        line.show([], 0, 4, stages=stages)
    assert stream.getvalue() == "0/24 trials, 4 running | computing encode 3/30, bank\n"
    assert asked == [20.0]
    line.show([], 0, 0, last=True, stages=stages)
    assert stream.getvalue().splitlines()[-1] == "0/24 trials, 0 running"
