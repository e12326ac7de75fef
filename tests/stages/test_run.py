import subprocess
import sys
from pathlib import Path

import pytest
from toy_stages import notes, toy

from imer_ray.errors import NonFiniteError, StageStopped
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.run import Place, execute, run_graph
from imer_ray.stages.store import Store


def diamond(log):
    a = toy("a", x=1, log=log)
    b, c = toy("b", x=10, log=log, inputs={"a": a}), toy("c", x=100, log=log, inputs={"a": a})
    return toy("d", x=1000, log=log, inputs={"b": b, "c": c})


def test_a_graph_is_computed_once_and_then_reused(tmp_path):
    log, store = str(tmp_path / "log"), Store(tmp_path / "stages")
    first, second = run_graph(diamond(log), store), run_graph(diamond(log), Store(tmp_path / "stages"))
    assert [(r.name, r.reused, r.metrics["value"]) for r in first] == [
        ("a", False, 1),
        ("b", False, 11),
        ("c", False, 101),
        ("d", False, 1112),
    ]
    assert [(r.key, r.seconds, r.metrics) for r in second] == [(r.key, r.seconds, r.metrics) for r in first]
    assert all(r.reused for r in second)
    assert len(notes(log)) == 4


@pytest.mark.slow
def test_what_a_stage_compiles_is_compiled_however_many_ran_in_its_process(tmp_path):
    """PyTorch gives a function up after eight models, and runs it as it is without a word to the stage."""
    stages = [toy("s", "compiled", size=size) for size in range(2, 14)]
    found = [execute(stage, Store(tmp_path)).metrics["graphs"] for stage in stages]
    assert found == [1.0] * len(stages)


def test_progress_is_reported_with_its_stage(tmp_path):
    seen = []

    def report(stage, epoch, num_epochs, metrics):
        seen.append((stage.name, epoch, num_epochs, metrics["total"]))
        return True

    run_graph(toy("count", "count", num_epochs=3, log=str(tmp_path / "log")), Store(tmp_path / "s"), report)
    assert seen == [("count", 1, 3, 1), ("count", 2, 3, 3), ("count", 3, 3, 6)]


def test_a_stopped_stage_goes_on_where_it_stopped(tmp_path):
    log, store = str(tmp_path / "log"), Store(tmp_path / "s")
    stage = toy("count", "count", num_epochs=5, log=log)
    with pytest.raises(StageStopped):
        execute(stage, store, lambda epoch, num_epochs, metrics: epoch < 3)
    assert store.find(stage.key) is None
    assert execute(stage, store).metrics == {"total": 15.0}
    assert [line.split()[0] for line in notes(log)] == ["1", "2", "3", "4", "5"]
    assert not (tmp_path / "s" / ".work" / stage.key).exists()


def test_a_killed_process_is_taken_over_at_its_last_epoch(tmp_path):
    log = str(tmp_path / "log")
    stage = toy("count", "count", num_epochs=5, die_at=3, log=log)
    script = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "from toy_stages import toy\nfrom imer_ray.stages.run import run_graph\n"
        "from imer_ray.stages.store import Store\n"
        f"run_graph(toy('count', 'count', num_epochs=5, die_at=3, log={log!r}), Store({str(tmp_path / 's')!r}))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    store = Store(tmp_path / "s")
    assert store.find(stage.key) is None
    assert execute(stage, store).metrics == {"total": 15.0}
    assert [line.split()[0] for line in notes(log)] == ["1", "2", "3", "4", "5"]
    assert not list((tmp_path / "s").glob(".tmp-*"))


def test_errors_of_the_function_pass_and_nothing_is_committed(tmp_path):
    stage, store = toy("fail", "fail", error="nan", log=str(tmp_path / "log")), Store(tmp_path / "s")
    with pytest.raises(NonFiniteError, match="as expected"):
        run_graph(stage, store)
    assert store.find(stage.key) is None


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(MissingArtefact, match=toy("a", x=1).key):
        execute(toy("b", x=1, inputs={"a": toy("a", x=1)}), Store(tmp_path / "s"))


def test_only_rank_zero_commits(tmp_path):
    store, stage = Store(tmp_path / "s"), toy("a", x=1)
    assert execute(stage, store, place=Place(rank=1, world_size=2)).metrics == {"value": 1}
    assert store.find(stage.key) is None
    execute(stage, store, place=Place(rank=0, world_size=2))
    assert store.find(stage.key) is not None
