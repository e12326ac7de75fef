"""Commands end with one clear line and a status; --help lists every key with its default."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from imer_ray import cli
from imer_ray.config.commands import ExportConfig, SearchConfig
from imer_ray.errors import UserError


def end_of(main, monkeypatch, capsys, *arguments, schema=ExportConfig):
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.run(main, schema)
    out, err = capsys.readouterr()
    return end.value.code, out, err


def raising(error):
    def main(overrides):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("no such data"), 2, "error: no such data\n"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 2, "error: no space left for runs/x; free some"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 2, "error: no space left; free some space, then run the same"),
        (KeyboardInterrupt(), 130, "interrupted; what was finished is kept"),
    ],
)
def test_what_went_wrong_is_one_line_and_a_status(monkeypatch, capsys, error, status, message):
    code, out, err = end_of(raising(error), monkeypatch, capsys)
    assert (code, out) == (status, "")
    assert err.startswith(message) and err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(errno.EIO, "the disk broke")])
def test_a_bug_keeps_its_traceback(monkeypatch, error):
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(type(error)):
        cli.run(raising(error), ExportConfig)


def test_a_command_gets_its_arguments(monkeypatch, capsys):
    code, out, err = end_of(lambda overrides: print(overrides), monkeypatch, capsys, "a=1", "b=2")
    assert (code, out, err) == (0, "['a=1', 'b=2']\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_says_what_the_command_does_and_every_key(monkeypatch, capsys, flag):
    from imer_ray.search import main

    code, out, _ = end_of(main, monkeypatch, capsys, flag, schema=SearchConfig)
    assert code == 0
    assert out.startswith("Search for the quality/speed Pareto front: ``python -m imer_ray.search")
    lines = [line.strip() for line in out.splitlines()]
    assert "study.num_trials=24" in lines
    assert "study.searcher=ehvi  (ehvi, gp, nsga2, nsga3, random, tpe)" in lines
    assert "study.loggers=[tensorboard]  (mlflow, tensorboard, wandb)" in lines
    assert "diffusion.parametrization=v  (eps, x0, v, score, velocity, edm)" in lines
    assert any(line.startswith("diffusion.sde=") and "imder_ve, sub_vp, ve, vp" in line for line in lines)
    assert "scaling.address=null" in lines


WAITING = """
import sys
from imer_ray import cli

def main(overrides):
    try:
        print("ready", flush=True)
        for word in sys.stdin:
            print(word, end="", flush=True)
    finally:
        print("put away", flush=True)

cli.run(main, None)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_puts_its_things_away_and_says_one_line(number):
    def heed():  # whatever started the tests ignores, as a shell does with SIGINT for what it starts with &
        signal.signal(number, signal.SIG_DFL)

    words = [sys.executable, "-c", WAITING]
    with subprocess.Popen(words, stdin=-1, stdout=-1, stderr=-1, text=True, preexec_fn=heed) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(timeout=200) == 130
        out, err = process.stdout.read(), process.stderr.read()
    assert out == "put away\n"
    assert err.startswith("interrupted; what was finished is kept") and err.count("\n") == 1


def test_a_command_under_nohup_outlives_its_terminal():
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    program = [sys.executable, "-c", WAITING]
    with subprocess.Popen(program, stdin=-1, stdout=-1, text=True, preexec_fn=ignore) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate("still here\n", timeout=200)[0] == "still here\nput away\n"
    assert process.returncode == 0


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "277× 0.1 ± 0 数"), ("ascii", "277x 0.1 +- 0 ?")])
def test_output_that_is_not_utf8_shows_what_it_can(encoding, shown):
    program = "from imer_ray import cli; cli.run(lambda words: print('277× 0.1 ± 0 数'), None)"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=200)
    assert (done.returncode, done.stdout.decode(encoding)) == (0, f"{shown}\n"), done.stderr
