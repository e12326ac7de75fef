"""What the pages about clusters tell people to type goes to its programs whole, and the search knows its settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stubs import Typed, typed

from imer_ray import console
from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "clusters" / "README.md"]
ANSWERS = {"aws cloudformation describe-stacks": "s3://bucket/studies"}


def blocks(page: Path) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in somebody's home, where the machines that are logged in to have theirs as well."""
    folder = tmp_path_factory.mktemp("home")
    (folder / ".ray").mkdir()
    (folder / ".ray" / "auth_token").write_text("0123")
    (folder / "imer_ray" / "clusters").mkdir(parents=True)
    (folder / "clusters").symlink_to(folder / "imer_ray" / "clusters")
    for script in (ROOT / "clusters").glob("*.sh"):
        (folder / "clusters" / script.name).write_text(script.read_text())
    return folder


@pytest.fixture(scope="module")
def runs(home: Path) -> dict[str, Typed]:
    """Page -> all that it has one type, in one shell, as somebody would who copies block after block."""
    return {page.name: typed("\n".join(blocks(page)), home, ANSWERS) for page in PAGES}


def searches(run: Typed) -> list[list[str]]:
    commands = [call[1:] for call in run.calls if call[0] == "python"]
    return [words[2:] for words in commands if words[:2] == ["-m", "imer_ray.search"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_line_reaches_a_program(page: Path, runs: dict[str, Typed]) -> None:
    run = runs[page.name]
    assert run.unknown == [] and run.status == 0, run.errors
    assert len(run.calls) >= len(blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_of_the_package_s_commands_is_taken(page: Path, runs: dict[str, Typed]) -> None:
    """Of what arrives at them, not of what stands on the page."""
    for call in runs[page.name].calls:
        if call[:2] == ["python", "-m"] and call[2].startswith("imer_ray."):
            name = call[2].removeprefix("imer_ray.")
            if (schema := console.COMMANDS[name][1]) is not None:
                compose(schema, name, [word for word in call[3:] if "=" in word])


def test_the_search_on_aws_gets_the_gpus_and_the_bucket(runs: dict[str, Typed]) -> None:
    (words,) = searches(runs["README.md"])
    options = compose(SearchConfig, "search", words)
    assert options.scaling.gpus_per_stage > 0 and options.scaling.num_workers == 0
    assert options.study.stages == "s3://bucket/studies/stages"


def test_the_study_is_kept_while_it_runs_and_found_again(tmp_path: Path) -> None:
    """Taken from the bucket before the search, copied to it while that runs, and when it has ended in whichever way."""
    (tmp_path / "clusters").mkdir()
    script = (ROOT / "clusters" / "search-and-keep.sh").read_text()
    (tmp_path / "clusters" / "search-and-keep.sh").write_text(script)
    slow = "export KEEP_SECONDS=0 STUBS_SLEEP=2 STUBS_STATUS=3\n"
    run = typed(f"{slow} bash clusters/search-and-keep.sh s3://b/studies/ study.name=my/demo", tmp_path, {})
    there, here = "s3://b/studies/my/demo", "runs/my/demo"
    copied = [tuple(call[-2:]) if call[0] == "aws" else call[0] for call in run.calls]
    assert copied[:2] == [(there, here), "python"] and copied[-1] == (here, there) and len(copied) > 3
    assert set(copied[2:]) == {(here, there)} and run.status == 3
    (searched,) = (call for call in run.calls if call[0] == "python")
    assert searched[-1] == "study.stages=s3://b/studies/stages"
    assert (tmp_path / here).is_dir()


def test_a_lost_backslash_would_be_found(home: Path) -> None:
    text = (
        'ray job submit -- bash -c "python -m imer_ray.search study.name=demo\n    scaling.num_workers=0; aws s3 sync"'
    )
    run = typed(text, home, ANSWERS)
    assert run.status == 0 and run.unknown == ["scaling.num_workers=0"]
