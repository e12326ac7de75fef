"""The engine knows nothing of what its stages compute: it runs where the packages of the domain are not installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from toy_stages import notes

CODE = """
import asyncio, json, sys

DOMAIN = ("torch", "ray", "hydra", "omegaconf", "optuna", "pandas", "matplotlib", "plotly")

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in DOMAIN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())

from toy_stages import toy
from imer_ray.stages.broker import Broker
from imer_ray.stages.run import execute, run_graph
from imer_ray.stages.store import Store

first, log = sys.argv[1:]
one = toy("one", x=1, log=log)
two = toy("two", x=2, log=log, inputs={"one": one})
three = toy("three", "count", num_epochs=3, log=log, inputs={"two": two})
computed = [(result.name, result.reused, dict(result.metrics)) for result in run_graph(three, Store(first))]

async def shared():
    store = Store(first)
    async def launch(stage):
        return await asyncio.to_thread(execute, stage, store)
    broker, more = Broker(store, launch), toy("four", x=4, log=log, inputs={"two": two})
    while (status := (await broker.wait([more], "w", 1.0))[more.key]).state in ("waiting", "running"):
        pass
    return dict(status.metrics), broker.stats()["stages"]

print(json.dumps([computed, *asyncio.run(shared()), sorted(set(DOMAIN) & set(sys.modules))]))
"""


def test_a_graph_of_three_stages_runs_without_torch(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    words = [sys.executable, "-c", CODE, str(tmp_path / "stages"), str(tmp_path / "log")]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    computed, fourth, stages, loaded = json.loads(done.stdout)
    assert computed == [
        ["one", False, {"value": 1}],
        ["two", False, {"value": 3}],
        ["three", False, {"total": 6}],
    ]
    assert fourth == {"value": 7} and stages["four"]["computed"] == 1 and "two" not in stages
    assert len(notes(tmp_path / "log")) == 2 + 3 + 1
    assert loaded == []
