"""In a folder whose files have the names of ours, every command works all the same, however imer_ray was installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from installations import Installation
from small import SMALL

ROOT = Path(__file__).parents[2]
BESIDE = ("analysis", "benchmarks", "clusters", "conf", "search_spaces", "tests")  # folders at the top of a checkout
COMMANDS = {  # with words that each refuses, and how
    "search study.warm_start=[elsewhere] study.num_trials=1": "elsewhere/results.parquet does not exist",
    "train config=decoupled data.name=store data.path=nowhere": "",
    "evaluate model=models": "no trained model in models",
    "predict input=none.parquet": "input=none.parquet: no such file",
    "export run=runs/none pick=knee": "run=runs/none: there is no such folder",
    "analysis runs/none": "runs/none",
    "stages ls runs=null": "root=runs/stages: there is no such folder",
    "convert input=none.pkl output=store": "input=none.pkl: no such file",
    "finetune input=none.parquet output=new.parquet": "input=none.parquet",
    "generate shape=none output=new.pkl": "shape",
}
EACH = """
import contextlib, importlib, io, json, sys
from imer_ray.errors import UserError

heard = {}
for words in json.loads(sys.argv[1]):
    name, *arguments = words.split()
    command = importlib.import_module(f"imer_ray.{name}")
    if hasattr(command, "__path__"):
        command = importlib.import_module(f"imer_ray.{name}.__main__")
    with contextlib.redirect_stderr(io.StringIO()) as heard[words]:
        try:
            command.main(arguments)
        except UserError as error:
            print("error:", error, file=sys.stderr)
print(json.dumps({words: text.getvalue() for words, text in heard.items()}))
"""


def our_names() -> Iterator[str]:
    """What is called anything in imer_ray, but for names that a file of the user would take from another package."""
    taken = {*sys.stdlib_module_names, *packages_distributions(), "imer_ray"}
    for path in (ROOT / "imer_ray").rglob("*.py"):
        name = path.parent.name if path.name == "__init__.py" else path.stem
        of_others = name in taken or path.parent.name == "loggers"  # which are called as what they write for
        if not of_others and not name.startswith("__"):
            yield name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = {*our_names(), *BESIDE}
    assert {"config", "search", "stages", "data", "train", "tree"} <= names
    for name in names:
        if len(name) % 2:
            (tmp_path / f"{name}.py").write_text("raise SystemExit('the file of the user was imported')\n")
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the package of the user was imported')\n")
    (tmp_path / "search_spaces/default.yaml").write_text("the user's")
    (tmp_path / "conf/search.yaml").write_text("the user's")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("how", ["wheel", "editable"])
def test_no_command_sees_them(installations: dict[str, Installation], how: str, folder: Path) -> None:
    done = installations[how].run("-c", EACH, json.dumps(list(COMMANDS)), cwd=folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said == {words: said[words] for words in COMMANDS if said[words].startswith(f"error: {COMMANDS[words]}")}


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute and a half of computing
def test_from_a_search_to_scores(installation: Installation, folder: Path) -> None:
    for words in (
        ["search", "study.num_trials=2", *SMALL],
        ["analysis", "runs/demo"],
        ["export", "run=runs/demo", "pick=knee", "output=knee.yaml"],
        ["train", "config=knee.yaml", "seeds=[1111]", "output=trained", "baselines=[]", "scaling.train_stages=[]"],
        ["evaluate", "model=trained"],
        ["stages", "ls"],
        ["generate", "shape=mosi", "output=clips.pkl"],
        ["convert", "input=clips.pkl", "output=converted"],
    ):
        done = installation.run("-m", f"imer_ray.{words[0]}", *words[1:], cwd=folder)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    assert (folder / "runs/demo/report/index.html").is_file()
