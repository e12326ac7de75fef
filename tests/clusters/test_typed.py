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
PAGES = [ROOT / "docs" / "how-to" / f"{name}.md" for name in "cluster slurm kubernetes lab-machines clouds".split()]
ANSWERS = {
    "aws cloudformation describe-stacks": "s3://bucket/studies",
    "curl -s https://ifconfig.me": "198.51.100.7",
    "kubectl get pods": "pod/imer-ray-head",
}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


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
    for file in (ROOT / "clusters").iterdir():
        (folder / "clusters" / file.name).write_text(file.read_text())
    (folder / ".venv" / "bin").mkdir(parents=True)  # as `python -m venv` leaves it
    (folder / ".venv" / "bin" / "python").symlink_to(folder / ".stubs" / "python")
    return folder


@pytest.fixture(scope="module")
def runs(home: Path) -> dict[str, Typed]:
    """Page -> all that it has one type, in one shell, as somebody would who copies block after block."""
    return {page.stem: typed("\n".join(blocks(page)), home, ANSWERS) for page in PAGES}


def searches(run: Typed) -> list[list[str]]:
    """The settings of every search that would run."""
    given = [call for call in run.calls if call[:3] == ["python", "-m", "imer_ray.search"] or call[0] == "sbatch"]
    return [call[3:] if call[0] == "python" else call[call.index("clusters/slurm.sh") + 1 :] for call in given]


@each_page
def test_every_line_reaches_a_program(page: Path, runs: dict[str, Typed]) -> None:
    run = runs[page.stem]
    assert run.unknown == [] and run.status == 0, run.errors
    assert len(run.calls) >= len(blocks(page))


@each_page
def test_every_setting_of_the_package_s_commands_is_taken(page: Path, runs: dict[str, Typed]) -> None:
    """Of what arrives at them, not of what stands on the page."""
    for call in runs[page.stem].calls:
        if call[:2] == ["python", "-m"] and call[2].startswith("imer_ray."):
            name = call[2].removeprefix("imer_ray.")
            if (schema := console.COMMANDS.get(name, (name, None))[1]) is not None:
                compose(schema, name, [word for word in call[3:] if "=" in word])


def test_every_search_knows_its_settings(runs: dict[str, Typed]) -> None:
    found = {name: [compose(SearchConfig, "search", words) for words in searches(run)] for name, run in runs.items()}
    assert {name: len(options) for name, options in found.items()} == {
        **{
            "cluster": 1,
            "slurm": 1,
            "kubernetes": 0,
            "lab-machines": 1,
        },  # kubernetes: in the file, see test_kuberay.py
        **{"clouds": 3},
    }
    assert all(options.scaling.gpus_per_stage > 0 for name in found if name != "cluster" for options in found[name])


def test_the_searches_in_clouds_keep_everything_in_their_bucket(runs: dict[str, Typed]) -> None:
    buckets = ["s3://bucket/studies", "gs://imer-ray-my-project", "abfs://ourstudies.blob.core.windows.net/studies"]
    options = [compose(SearchConfig, "search", words) for words in searches(runs["clouds"])]
    assert [one.study.stages for one in options] == [f"{bucket}/stages" for bucket in buckets]
    copied = [call[-1] for call in runs["clouds"].calls if call[:2] in (["aws", "s3"], ["azcopy", "sync"])]
    assert "s3://bucket/studies/demo" in copied and "https://ourstudies.blob.core.windows.net/studies/demo" in copied


@each_page
def test_it_begins_with_one_command_and_ends_with_the_pareto_page(page: Path, runs: dict[str, Typed]) -> None:
    first, last = blocks(page)[0], blocks(page)[-1]
    assert len(first.replace("\\\n", " ").strip().splitlines()) == 1
    assert page.read_text().split("```bash")[0].strip().count("\n") == 0  # nothing before it but the title
    assert re.fullmatch(r"xdg-open \S*runs/demo/report/index\.html", last.strip().splitlines()[-1])


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


@pytest.mark.parametrize("bucket", ["s3://b", "gs://b", "abfs://a.blob.core.windows.net/b", "runs/here"])
def test_nothing_is_begun_that_would_replace_what_cannot_be_read(home: Path, bucket: str) -> None:
    run = typed(f"STUBS_CLOSED=1 bash clusters/search-and-keep.sh {bucket} study.name=demo", home, {})
    assert run.status != 0 and not searches(run)


def test_a_lost_backslash_would_be_found(home: Path) -> None:
    text = (
        'ray job submit -- bash -c "python -m imer_ray.search study.name=demo\n    scaling.num_workers=0; aws s3 sync"'
    )
    run = typed(text, home, ANSWERS)
    assert run.status == 0 and run.unknown == ["scaling.num_workers=0"]
