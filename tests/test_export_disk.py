"""A point is exported from a study that may only be read to wherever one may write; a disk that refuses is one line."""

import json
import os
import tempfile
from pathlib import Path

import pytest
import yaml
from small_studies import info, row

from imer_ray.errors import UserError
from imer_ray.export import export
from imer_ray.results.writer import write_results

CONFIG = {"loss": {"recovery": 0.1}}


@pytest.fixture
def run():
    """A study's folder that nobody but root can write to, read by somebody else."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo"
        write_results(path / "results.parquet", [row(0, config=json.dumps(CONFIG))], info(num_trials=1, space=()))
        (Path(folder) / "free").mkdir()
        (Path(folder) / "free" / "folder").mkdir()
        (Path(folder) / "free").chmod(0o777)
        path.chmod(0o555)
        Path(folder).chmod(0o755)
        export(path, "quality", output=f"{folder}/first.yaml")  # imports what else only root may find
        user = os.geteuid()
        os.seteuid(65534 if user == 0 else user)
        try:
            yield path
        finally:
            os.seteuid(user)
            path.chmod(0o755)


def test_a_study_that_may_only_be_read_is_exported_elsewhere(run):
    said = "quality.yaml: permission denied; choose another folder, then .*; output=FILE.yaml writes it elsewhere$"
    with pytest.raises(UserError, match=said) as raised:
        export(run, "quality")
    assert "\n" not in str(raised.value)
    path = export(run, "quality", output=str(run.parent / "free" / "new" / "mine.yaml"))
    assert yaml.safe_load(path.read_text())["config"] == CONFIG
    assert [file.name for file in path.parent.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("demo/results.parquet/mine.yaml", "a file is in the way|not a folder"),
        ("free/" + "x" * 300 + ".yaml", "the name is too long"),
    ],
)
def test_a_place_where_no_file_can_be_is_named(run, output, reason):
    with pytest.raises(UserError, match=f"cannot write .*: ({reason}); choose another folder"):
        export(run, "quality", output=str(run.parent / output))


def test_a_folder_is_no_place_for_a_file(run):
    with pytest.raises(UserError, match="free/folder is a folder; name a file, for example output=.*/quality.yaml"):
        export(run, "quality", output=str(run.parent / "free/folder"))
