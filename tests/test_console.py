"""`imer-ray COMMAND` does what `python -m imer_ray.COMMAND` does, explains itself, and completes words."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import imer_ray
from imer_ray import cli, console

ROOT = Path(__file__).parents[1]


def ended(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        console.main(words)
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_the_script_is_installed_under_its_name() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {console.PROGRAM: f"{console.__name__}:main"}


CLIENT = "imer_ray.runtime.client"  # is copied into a model's folder, and run there


def test_every_module_that_runs_as_a_command_is_one() -> None:
    found = {path for path in (ROOT / "imer_ray").rglob("*.py") if '__name__ == "__main__"' in path.read_text()}
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found} - {console.__name__, CLIENT}
    assert modules == {module for module, _ in console.COMMANDS.values()}


def test_help_names_every_command_and_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--help"]):
        status, out, _ = ended(capsys, *words)
        assert status == 0
        for name in console.COMMANDS:
            (line,) = (line for line in out.splitlines() if line.startswith(f"    {name} "))
            assert len(line.split()) > 3, f"{name} has a purpose"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(capsys, "--version")[:2] == (0, f"imer-ray {imer_ray.__version__}\n")


@pytest.mark.parametrize("name", [name for name, (_, schema) in console.COMMANDS.items() if schema is not None])
def test_a_commands_help_lists_every_key_with_its_default_and_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = ended(capsys, name, "--help")
    assert status == 0
    schema = console.COMMANDS[name][1]
    assert schema is not None
    for key, default, allowed in cli.keys(schema, name):
        assert f"  {key}={default}" + (f"  ({', '.join(allowed)})" if allowed else "") in out.splitlines()


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", ["export", "stages", "analysis"])
def test_the_modules_explain_themselves_alike(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `python -m` runs, without a process of its own."""
    named = ended(capsys, {"analysis": "report"}.get(module, module), "--help")
    monkeypatch.setattr(sys, "argv", ["", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(f"imer_ray.{module}", run_name="__main__", alter_sys=True)
    alone = capsys.readouterr().out
    assert (end.value.code or 0, alone) == named[:2]
    assert named[0] == 0 and f"python -m imer_ray.{module}" in alone


def test_a_misspelt_command_is_a_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ended(capsys, "serach", "study.num_trials=3")
    assert (status, out) == (2, "")
    assert err == "error: imer-ray serach: there is no such command; did you mean search?\n"


def test_a_commands_own_error_and_status_are_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(capsys, "export", "pikc=knee")[::2] == (2, "error: pikc: unknown key or option; did you mean pick?\n")
    assert ended(capsys, "report", "nowhere")[0] == 2


OFFERED = {
    "sea": {"search "},
    "search diffusion.sampler.": {"diffusion.sampler.eta=", "diffusion.sampler.spacing="},
    "search diffusion.sampler=pf": {"pf_euler "},
    "search study.loggers=[tensorboard,ml": {r"\[tensorboard,mlflow "},
    "export pi": {"pick="},
}
ASK = """
import json, os, sys
from imer_ray import cli, console
from imer_ray.config.commands import SearchConfig
cli.keys(SearchConfig, "search")  # imports, once for all lines, what a line would
for asked in json.loads(sys.argv.pop()):
    if not (child := os.fork()):
        os.environ.update(asked)
        console.main()
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
def test_the_shell_completes_commands_keys_and_options(tmp_path: Path) -> None:
    """As argcomplete's shell function asks: the line in the environment, the answer in file descriptor 8."""
    lines, asked = [f"imer-ray {line}" for line in OFFERED], []
    for number, line in enumerate(lines):
        words = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\v"}
        words |= {"_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><=;|&(:"}
        asked.append({**words, "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / str(number))})
    subprocess.run([sys.executable, "-c", ASK, json.dumps(asked)], cwd=ROOT, check=True)
    answers = [set((tmp_path / str(number)).read_text().split("\v")) for number in range(len(lines))]
    assert dict(zip(OFFERED, answers, strict=True)) == OFFERED
