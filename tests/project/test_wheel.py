"""What pip installs is whole: package, options, search spaces, clusters and types, away from any checkout."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from installations import Installation

ROOT = Path(__file__).parents[2]
INSIDE = ("search_spaces", "clusters")  # at the top of a checkout, within imer_ray where it is installed
FIND = (
    "import imer_ray, imer_ray.config.compose as c, imer_ray.files as f, imer_ray.tuning.space.file as s;"
    "print(imer_ray.__file__, s.find('default'), f.shipped_folder('clusters'), *c.options('diffusion/sampler'))"
)


def files(folder: Path) -> set[str]:
    found = (path.relative_to(ROOT) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def content(wheels: dict[str, Path]) -> set[str]:
    with zipfile.ZipFile(wheels["wheel"]) as archive:
        return set(archive.namelist())


def test_the_wheel_has_imer_ray_and_nothing_beside_it(content: set[str]) -> None:
    tops = {name.partition("/")[0] for name in content}
    (about,) = tops - {"imer_ray"}
    assert about.startswith("imer_ray-") and about.endswith(".dist-info")


def test_the_wheel_has_every_file_of_the_package(content: set[str]) -> None:
    ours = files(ROOT / "imer_ray") | {f"imer_ray/{name}" for folder in INSIDE for name in files(ROOT / folder)}
    assert {name for name in content if name.startswith("imer_ray/")} == ours
    kinds = {("imer_ray/py.typed", ""), ("imer_ray/conf/", ".yaml"), ("imer_ray/search_spaces/", ".yaml")}
    kinds |= {("imer_ray/clusters/", ".yaml"), ("imer_ray/", ".css"), ("imer_ray/", ".html"), ("imer_ray/", ".js")}
    assert all(any(name.startswith(at) and name.endswith(end) for name in ours) for at, end in kinds)


def test_an_editable_installation_copies_nothing(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["editable"]) as archive:
        assert not [name for name in archive.namelist() if name.startswith("imer_ray/")]


def test_the_package_finds_its_options_spaces_and_clusters(installation: Installation, tmp_path: Path) -> None:
    for name in INSIDE:  # the user's own
        (tmp_path / name).mkdir()
        (tmp_path / name / "default.yaml").write_text("not: ours")
    done = installation.run("-c", FIND, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    package, space, clusters, *samplers = done.stdout.split()
    own = installation.site / "imer_ray"
    home = own if own.is_dir() else ROOT
    assert Path(package).parent == (own if own.is_dir() else ROOT / "imer_ray")
    assert (Path(space), Path(clusters)) == (home / "search_spaces/default.yaml", home / "clusters")
    assert Path(space).is_file() and (home / "clusters/aws.yaml").is_file()
    assert {"ddim", "heun"} <= set(samplers)
