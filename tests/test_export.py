"""Which point of a study is exported, and what is said where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from small_studies import info, row

from imer_ray import export
from imer_ray.errors import UserError
from imer_ray.results.writer import write_results


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study whose trial 0 has the points 0 to 10, and trial 7 one."""
    monkeypatch.chdir(tmp_path)
    rows = [
        row(trial, point, quality=0.5 - 0.01 * point, speed=-1 + 0.1 * point)
        | {"study": "007", "config": json.dumps({"seed": 100 * trial + point}), "latency_ms_b1": 1.0 + point}
        for trial, point in [*((0, point) for point in range(11)), (7, 0)]
    ]
    write_results(tmp_path / "runs/demo/results.parquet", rows, info(study="007", num_trials=2, space=()))
    return tmp_path / "runs/demo"


@pytest.mark.parametrize(
    ("pick", "seed", "name"),
    [("0.10", 10, "trial_0.10"), ("0.1", 1, "trial_0.1"), ("0", 0, "trial_0"), ("7", 700, "trial_7")],
)
def test_the_point_that_was_typed_is_exported(study: Path, pick: str, seed: int, name: str) -> None:
    export.main([f"pick={pick}"])
    content = yaml.safe_load((study / f"export/{name}.yaml").read_text())
    assert content["config"] == {"seed": seed} and content["imer_ray"]["study"] == "007"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pick=qualty"], "pick=qualty; did you mean quality?: choose quality, speed, knee"),
        (["pick=0.11"], "point 0.11 is not among the complete ones"),
        (["pick=1e0"], "pick=1e0: choose"),
        (["pick=07"], "pick=07: choose"),
        (["pick=7."], "pick=7.: choose"),
        (["pick=-1"], "pick=-1: choose"),
        (["pick=²"], "pick=²: choose"),
        (["pick="], "pick=: choose"),
        ([f"pick={'9' * 5000}"], "pick holds text that no setting has: '999"),
        (["pick=null"], "say what to export"),
        (["pick=0", "max_latency_ms=5"], "say what to export"),
        (["max_latency_ms=fast"], "max_latency_ms must be float, not 'fast'"),
        (["max_latency_ms=-1"], "no point is within -1 ms"),
        (["max_latency_ms=nan"], "no point is within nan ms"),
        (["pick=0", "run=runs/dmo"], "run=runs/dmo: there is no such folder; did you mean runs/demo?"),
        (
            ["pick=0", "run=runs"],
            "run=runs: no results.parquet there, so that it is no study's folder; one is run=runs/d",
        ),
        (["pick=0", "run=runs/demo/results.parquet"], "is a file; give the study's folder, for example run=runs/demo"),
        (["pick=0", "output=runs"], "output=runs is a folder; name a file, for example output=runs/trial_0.yaml"),
        (["pick=0", "output=runs/demo/results.parquet/x.yaml"], "cannot write runs/demo/results.parquet/x.yaml"),
        (["pick=0", "output=/proc/x/y.yaml"], "cannot write /proc/x/y.yaml"),
        (["pick=0", "run="], "run= is empty"),
    ],
)
def test_what_cannot_be_exported_is_one_true_line(study: Path, words: list[str], says: str) -> None:
    with pytest.raises(UserError) as raised:
        export.main(words)
    message = str(raised.value)
    assert says in message and "\n" not in message and len(message) < 300
    assert not list(study.glob("export/*"))


@pytest.mark.parametrize(
    "name", ["a (1)", "trial=3", "数据", "don't", "x, y", "[1]{2}", "100% & $HOME #1", "back\\slash"]
)
def test_a_study_s_folder_may_have_any_name(study: Path, name: str) -> None:
    study.rename(study.parent / name)
    export.main(["pick=7", f"run=runs/{name}", f"output=out/{name}.yaml"])
    assert yaml.safe_load(Path(f"out/{name}.yaml").read_text())["config"] == {"seed": 700}
