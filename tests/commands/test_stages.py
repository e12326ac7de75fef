"""``python -m imer_ray.stages``: what it lists, what it removes, and what it never removes."""

from __future__ import annotations

import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import small_studies
import yaml

from imer_ray.cli import help_text
from imer_ray.config.commands import StagesConfig
from imer_ray.errors import UserError
from imer_ray.results.schema import Objective, read_results
from imer_ray.results.timeline import read_timeline
from imer_ray.results.writer import write_results
from imer_ray.stages.__main__ import main
from imer_ray.stages.graph import Stage
from imer_ray.stages.store import Store

ROOT = Path(__file__).parents[2]
SPEED = Objective(name="speed", metric="nfe", label="evaluations", reference=100.0)
SECONDS = {"encode": 100.0, "pretrain": 50.0, "evaluate": 1.0}


def graph(number: int) -> Stage:
    """One encode for all, a pretrain for two points each, an evaluate for each."""

    def stage(name: str, x: int, **inputs: Stage) -> Stage:
        return Stage(name=name, function="none:none", config={"x": x}, data="none", inputs=inputs)

    return stage("evaluate", number, network=stage("pretrain[l]", number // 2, encode=stage("encode", 0)))


def row(number: int, quality: float, speed: float) -> dict[str, object]:
    now = datetime.datetime.now(datetime.UTC)
    stages = json.dumps({stage.name: stage.key for stage in graph(number).in_order()})
    values = {"config": json.dumps({"seed": number}), "stages": stages, "nfe": speed, "started": now, "finished": now}
    return small_studies.row(number, 0, quality, speed, **values)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of six points: 0 and 5 on its front, 3 exported; every stage was last used two days ago."""
    monkeypatch.chdir(tmp_path)
    store, then = Store("runs/stages"), os.stat(tmp_path).st_mtime - 2 * 86_400
    for number in range(6):
        for stage in graph(number).in_order():
            if not (tmp_path / "runs/stages" / stage.key).exists():
                with store.writing(stage.key) as folder:
                    (folder / "weights.bin").write_bytes(bytes(10_000))
                    store.commit(stage, folder, {}, SECONDS[stage.kind])
                os.utime(tmp_path / "runs/stages" / stage.key / "artefact.json", (then, then))
    rows = [row(n, quality, speed) for n, (quality, speed) in enumerate([(0.1, 9), *[(0.5, 50)] * 4, (0.4, 2)])]
    info = small_studies.info(objectives=(small_studies.QUALITY, SPEED), num_trials=6, space=())
    write_results(tmp_path / "runs/demo/results.parquet", rows, info)
    export = tmp_path / "runs/demo/export"
    export.mkdir()
    (export / "quality.yaml").write_text(yaml.safe_dump({"imer_ray": {"trial": 3, "point": 0}}))
    (export / "mine.yaml").write_text("a: 1")
    return tmp_path


NEEDED = {stage.key for number in (0, 3, 5) for stage in graph(number).in_order()}


def there(world: Path) -> set[str]:
    return {path.name for path in (world / "runs/stages").iterdir() if not path.name.startswith(".")}


def test_ls_names_size_cost_and_users(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["ls", "sort=cost"])
    lines = capsys.readouterr().out.splitlines()
    first = re.split(r"\s{2,}", lines[1])
    assert first[0] == "encode" and first[1] == graph(0).inputs["network"].inputs["encode"].key
    assert first[2].endswith("kB") and first[3:] == ["1.67 min", first[4], "2 d", "demo*"]
    marks = {line.split()[1]: line.split()[-1] for line in lines[1:11]}
    assert {key for key, mark in marks.items() if mark == "demo*"} == NEEDED
    assert {key for key, mark in marks.items() if mark == "demo"} == there(world) - NEEDED
    totals = {line.split(":")[0]: line.split(":")[1].split()[0] for line in lines[12:]}
    assert totals == {"evaluate": "6", "pretrain": "3", "encode": "1", "all": "10"}


def test_gc_says_what_it_would_do_and_does_it_when_told(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = there(world)
    main(["gc", "max_bytes=0"])
    said = capsys.readouterr().out
    assert there(world) == before and "nothing was removed" in said
    main(["gc", "max_bytes=0", "dry_run=false"])
    assert there(world) == NEEDED
    assert [line for line in capsys.readouterr().out.splitlines() if "stay although max_bytes=0" in line]
    main(["gc", "max_bytes=0", "runs=null", "dry_run=false"])
    assert there(world) == set()


def test_gc_removes_what_is_cheap_before_what_is_dear(world: Path) -> None:
    size = sum(path.stat().st_size for path in (world / "runs/stages").rglob("*") if path.is_file())
    main(["gc", f"max_bytes={size - 1}", "runs=null", "dry_run=false"])
    (gone,) = {stage.key for n in range(6) for stage in graph(n).in_order()} - there(world)
    assert gone in {graph(n).key for n in range(6)}


def test_gc_with_an_age_leaves_what_is_younger(world: Path) -> None:
    before = there(world)
    main(["gc", "max_age_days=3", "dry_run=false"])
    assert there(world) == before
    main(["gc", "max_age_days=1", "dry_run=false"])
    assert there(world) == NEEDED


def test_gc_refuses_rather_than_forget_a_front(world: Path) -> None:
    before, results = there(world), world / "runs/demo/results.parquet"
    for words in (["gc", "runs=nowhere"], ["gc", "root=nowhere"], [], ["collect"], ["gc", "max_bytes=-1"]):
        with pytest.raises(UserError):
            main([*words, *["dry_run=false"] * bool(words)])
    results.write_bytes(results.read_bytes()[:-10])
    with pytest.raises(UserError, match="damaged"):
        main(["gc", "max_bytes=0", "dry_run=false"])
    assert there(world) == before


def test_help_names_every_key() -> None:
    words = {line.split()[0] for line in help_text(main, StagesConfig).splitlines() if line.startswith("  ")}
    assert words >= {"root=runs/stages", "runs=runs", "sort=value", "max_age_days=30.0", "dry_run=True"}


SEARCH = [
    *("study.num_trials=2", "scaling.train_stages=[]", "bank.num_steps=2", "evaluate.max_points=2"),
    *("data.num_train=96", "data.num_valid=64", "data.num_test=64", "speed.max_repeats=1", "speed.reference_steps=1"),
    *(f"training.{stage}.num_epochs=2" for stage in ("encode", "pretrain", "recognise")),
]
EVICT = """
import sys
import time
from imer_ray.stages.__main__ import main
print("ready", flush=True)
while True:
    main(["gc", "runs=" + sys.argv[1], "max_bytes=0", "max_age_days=0", "dry_run=false"])
    time.sleep(0.1)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_beside_gc_loses_nothing_and_computes_nothing_twice(tmp_path: Path) -> None:
    """Nothing is pinned but by the search itself; all that an earlier one left, under no lease, is gone before."""
    (tmp_path / "runs/stages").mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", EVICT, "null"]
    evictor = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert evictor.stdout is not None and evictor.stdout.readline() == "ready\n"
        with open(tmp_path / "evicted", "w") as log:
            tee = subprocess.Popen(["cat"], stdin=evictor.stdout, stdout=log)
            command = [sys.executable, "-m", "imer_ray.search", *SEARCH]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=800)
            assert evictor.poll() is None, "it went round to the end"
    finally:
        evictor.kill()
        evictor.wait()
        tee.wait()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "evicted").read_text().count("freed") > 5
    assert "1 running drivers" in (tmp_path / "evicted").read_text()
    assert set(read_results(tmp_path / "runs/demo/results.parquet")["status"]) == {"complete"}
    computed = [row["key"] for row in read_timeline(tmp_path / "runs/demo/timeline.parquet")]
    assert len(computed) == len(set(computed)) > 10
