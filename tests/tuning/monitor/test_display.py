"""A table rewritten in place on a terminal, lines ever more rarely elsewhere."""

import io
import re

import pytest

from imer_ray.tuning.monitor.display import Display, Jobs, clock, line
from imer_ray.tuning.monitor.progress import Progress

BEST = {"valid.Non0_F1_score": 0.784, "speedup_vs_imder": 313.4}
STAGES = {
    "running": [{"name": "encode", "epoch": 3, "num_epochs": 30}, {"name": "bank", "epoch": 0, "num_epochs": 0}],
    "waiting": [{"name": name, "why": "which needs 1 GPU"} for name in ("cost", "fuse", "joint", "bank")],
    "elsewhere": [],
}


def at(done, running=4, failed=0, **more):
    points = {"num_points": 3 * done, "front": 1, "hypervolume": 0.5, "best": BEST, "reused": 0.25} if done else {}
    return Progress(num_trials=24, complete=done - failed, failed=failed, running=running, **points, **more)


class Terminal(io.StringIO):
    """Keeps what a terminal would show: printing, line ends, carriage returns, cursor up, clear to the end."""

    def isatty(self):
        return True

    def screen(self):
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[\d*[A-Z]|[\r\n]|[^\r\n\x1b]+", self.getvalue()):
            if part == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif part == "\r":
                column = 0
            elif part == "\x1b[J":
                lines = [*lines[:row], lines[row][:column]]
            elif part.startswith("\x1b["):
                row -= int(part[2:-1])
            else:
                lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
                column += len(part)
        return lines, row


@pytest.fixture
def terminal(monkeypatch):
    for name, value in (("COLUMNS", "70"), ("LINES", "24"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    return Terminal()


def test_what_a_search_waits_for_is_said_unless_it_only_waits_its_turn():
    encode = {"name": "encode", "why": "which another search computes (process 12 on laptop)"}
    elsewhere, hardware = (
        f"waiting for encode, {encode['why']}",
        "waiting for cost, fuse, joint and 1 more, which needs",
    )
    assert line(at(0), {**STAGES, "running": []}) == f"0/24 trials, 4 running | {hardware} 1 GPU"
    both = line(at(0), {**STAGES, "elsewhere": [encode]})
    assert both.endswith(f"| computing encode 3/30, bank | {elsewhere}")
    unsaid = [{"name": "fuse", "why": ""}]
    assert "waiting" not in line(at(0), {"running": [], "waiting": unsaid, "elsewhere": []})


def test_one_line_says_it_all():
    text = line(at(8, failed=1, seconds_left=125.4, stopped=2), STAGES)
    assert text == (
        "10/24 trials, 4 running, 2 stopped, 1 failed | front 1 of 24 points, hypervolume 0.500"
        " | best Non0_F1_score 0.784, speedup_vs_imder 313 | reused 25 % | 2:05 left | computing encode 3/30, bank"
    )
    assert line(at(0)) == "0/24 trials, 4 running"
    assert clock(3725) == "1:02:05"


def test_how_far_the_first_point_is_is_said_until_it_is_there(terminal):
    said = "1 of 5 stages done, about 12 s of computing left"
    assert line(at(0, first_point=said)) == f"0/24 trials, 4 running | first point: {said}"
    assert "first point" not in line(at(1, first_point=said))
    Display(terminal).show(at(0, first_point=said), last=True)
    assert terminal.screen()[0][:2] == ["trials     0 of 24: 4 running", f"first      {said}"]


@pytest.mark.parametrize(("seconds", "most"), [(300, 11), (7200, 25), (36000, 32)])
def test_a_log_gets_few_lines_however_long_it_takes(seconds, most):
    now, stream = [0.0], io.StringIO()
    display = Display(stream, lambda: now[0])
    for second in range(seconds):
        now[0] = float(second)
        if display.due:
            display.show(at(min(23, second * 24 // seconds)), STAGES)
    display.show(at(24, running=0), last=True)
    display.close()
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= most
    assert lines[-1].startswith("24/24 trials, 0 running | front 1 of 72 points")
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_a_dumb_terminal_is_a_log(monkeypatch, terminal):
    monkeypatch.setenv("TERM", "dumb")
    Display(terminal).show(at(1))
    assert "\x1b" not in terminal.getvalue()


def test_a_terminal_shows_one_table_and_ends_below_it(terminal):
    now = [0.0]
    display = Display(terminal, lambda: now[0])
    for second in range(60):
        now[0] = float(second)
        assert display.due
        display.show(at(second // 10, seconds_left=60.0 - second if second > 30 else None), STAGES)
    display.show(at(24, running=0), last=True)
    display.close()
    lines, row = terminal.screen()
    assert [text.split("  ")[0] for text in lines] == ["trials", "front", "best", "reused", ""]
    assert lines[0] == "trials     24 of 24: 24 complete, 0 running" and row == 4
    assert all(len(text) < 70 for text in lines)


def test_what_is_printed_meanwhile_stays_above_the_table(terminal):
    display = Display(terminal)
    display.show(at(3), STAGES)
    terminal.write("the baseline zero could not be scored\n")
    display.show(at(4))
    display.show(at(5))
    display.close()  # as after ctrl-C
    terminal.write("interrupted")
    lines, _ = terminal.screen()
    assert lines[0].startswith("the baseline zero could not be scored")
    assert [text[:6] for text in lines[1:]] == ["trials", "front ", "best  ", "reused", "interr"]


def test_a_table_never_is_higher_than_the_terminal(monkeypatch, terminal):
    monkeypatch.setenv("LINES", "3")
    display = Display(terminal)
    for done in range(5):
        display.show(at(done), STAGES)
    assert len(terminal.screen()[0]) == 3  # two lines and the cursor's


def test_stages_of_one_name_that_wait_are_counted():
    waiting = [{"name": name, "why": "which needs 1 CPU"} for name in ("cost", "encode", "cost", "cost")]
    assert line(at(0), {"waiting": waiting}) == "0/24 trials, 4 running | waiting for 3 cost, encode, which needs 1 CPU"


def test_other_work_is_shown_with_the_stages_it_computes(terminal):
    assert line(Jobs("trained", 3, 10), STAGES) == "3/10 trained | computing encode 3/30, bank"
    display = Display(terminal, clock=lambda: 0.0)
    display.show(Jobs("trained", 3, 10), STAGES)
    assert terminal.screen()[0][:2] == ["trained    3 of 10", "computing  encode 3/30, bank"]


def test_what_was_just_said_otherwise_is_not_followed_by_progress():
    now, stream = [0.0], io.StringIO()
    display = Display(stream, clock=lambda: now[0])
    now[0] = 19.0
    display.postpone()
    now[0] = 38.0
    assert not display.due
    now[0] = 39.0
    assert display.due
