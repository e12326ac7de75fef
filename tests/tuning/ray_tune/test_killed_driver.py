"""A search whose driver is killed over and over finds what it would have found; a second driver is refused by name."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from changed import changed

from imer_ray.config.resolve import tree_of
from imer_ray.errors import UserError
from imer_ray.results.pareto import pareto_front
from imer_ray.results.schema import read_results
from imer_ray.search import main as search
from imer_ray.tuning.study.journal import FILE_NAME

HERE = str(Path(__file__).parents[1])
ROOT = str(Path(__file__).parents[3])
NUM_TRIALS = 80
NUM_KILLS = 30
MAX_BYTES, MAX_SECONDS = 4000, 0.3  # what a driver may write before, in bytes of its journal, and then still live
SCALING = {"num_workers": 0, "train_stages": (), "max_failures": 0, "store_seconds": 600.0, "silence_seconds": 300.0}
DRIVER = """\
import json, sys
from imer_ray.config.commands import SearchConfig
from imer_ray.config.resolve import typed
from imer_ray.scaling.cluster import session
from imer_ray.tuning.study.lock import only_driver
from imer_ray.tuning.ray_tune.run import run
from imer_ray.tuning.study.study import open_record, plan

searched = plan(typed(json.loads(sys.argv[1]), SearchConfig), systems="toy_systems")
with only_driver(searched.folder):
    record = open_record(searched)
    with session(searched.stages, searched.options.scaling, searched.options.study.slots) as broker:
        run(searched, record, broker)
"""
HOLDER = """\
import sys, time
from pathlib import Path
from imer_ray.tuning.study.lock import only_driver

with only_driver(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def start(options, root):
    """A driver of the toy study under ``root``, in a process group of its own."""
    study = {"root": str(root), "num_trials": NUM_TRIALS, "slots": 1, "speed": "nfe"}
    wanted = tree_of(changed(options, study=study, scaling=SCALING))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, ROOT])}
    environment.pop("RAY_ADDRESS", None)
    words = [sys.executable, "-c", DRIVER, json.dumps(wanted)]
    return subprocess.Popen(words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)


def found(root):
    frame = read_results(root / "toy" / "results.parquet")
    columns = ["trial", "point", "config", "status", "objective.quality", "objective.speed"]
    front = frame[pareto_front(frame[["objective.quality", "objective.speed"]].to_numpy())]
    return frame[columns].to_dict("records"), front[columns].to_dict("records")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # Ray starts thirty-two times
def test_killed_at_thirty_moments_a_search_ends_with_the_front_of_one_that_was_not(options, tmp_path):
    assert start(options, tmp_path / "whole").wait() == 0
    journal, rng, kills = tmp_path / "killed" / "toy" / FILE_NAME, random.Random(0), 0
    while kills < NUM_KILLS:
        before = journal.stat().st_size if journal.exists() else 0
        wanted = before + rng.randrange(MAX_BYTES)
        driver = start(options, tmp_path / "killed")
        try:
            while driver.poll() is None and not (journal.exists() and journal.stat().st_size > wanted):
                time.sleep(0.002)
            time.sleep(MAX_SECONDS * rng.random())
            assert driver.poll() is None, f"the search ended after {kills} kills"
        finally:
            driver.kill()
            driver.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)  # what it started would die by itself, but not at once
        kills += 1
    assert start(options, tmp_path / "killed").wait() == 0
    rows, front = found(tmp_path / "killed")
    whole_rows, whole_front = found(tmp_path / "whole")
    assert front == whole_front
    assert rows == whole_rows
    assert {row["trial"] for row in rows} == set(range(NUM_TRIALS))


def test_a_second_search_of_a_study_is_refused_by_host_and_process_of_the_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-c", HOLDER, "runs/mine"]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ROOT})
    try:
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(UserError, match=f"process {holder.pid} on {os.uname().nodename}"):
            search(["study.name=mine", "data.num_train=64"])
        assert [path.name for path in Path("runs/mine").iterdir()] == ["driver.lock"]
    finally:
        holder.kill()
        holder.wait()
