"""A cluster, a store behind a proxy, and what is counted of the searches that run there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pandas as pd
import plain_s3
import pytest
import ray
from driver import search
from found_rows import rows
from processes import family, title
from proxy import Proxy
from ray._private import services
from ray._private.state import actors
from ray.cluster_utils import Cluster
from s3_server import ACCESS
from toy_hardware import hardware
from waiting import until

from imer_ray.results.pareto import pareto_front
from imer_ray.scaling.cluster import TRIAL_SLOT, start
from imer_ray.stages.store import Store

HERE = Path(__file__).parent
NUM_NODES = 2
START_SECONDS = 300.0  # of a node
SPACE = """\
training.recognise.learning_rate: {choice: [0.003, 0.001, 0.0003]}
diffusion.num_steps: {choice: [1, 2]}
"""
WORDS = [
    *("data.num_train=96", "data.num_valid=48", "data.num_test=32", "bank.num_steps=1", "evaluate.max_points=1"),
    *("training.encode.num_epochs=4", "training.pretrain.num_epochs=4", "training.recognise.num_epochs=4"),
    *("training.encode.batch_size=16", "training.pretrain.batch_size=16", "training.recognise.batch_size=16"),
    *("diffusion.backbone=mixer", "diffusion.sharing=shared", "speed.max_repeats=1", "speed.max_seconds=0"),
    *("study.num_trials=6", "study.slots=2", "study.searcher=random", "study.prefix_trials=1", "study.loggers=[]"),
    *("study.speed=flops", "scaling.num_workers=0", "scaling.train_stages=[]"),
]


@dataclass(frozen=True, kw_only=True)
class Line:
    """What a stage noted, see `noted_systems.stages`."""

    what: str
    key: str
    pid: int
    node: str
    epoch: int

    @classmethod
    def of(cls, text: str) -> Line:
        what, key, pid, node, epoch = text.split()
        return cls(what=what, key=key, pid=int(pid), node=node, epoch=int(epoch))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a search found, left and cost.

    Attributes:
        weights: key and file of each safetensors file in the store -> its checksum.
        lines: what its stages noted.
    """

    rows: pd.DataFrame
    weights: dict[tuple[str, str], str]
    lines: list[Line]
    seconds: float

    @property
    def front(self) -> pd.DataFrame:
        return self.rows[pareto_front(self.rows[["objective.quality", "objective.speed"]].to_numpy())]

    def count(self, what: str) -> Counter[str]:
        """Of each stage."""
        return Counter(line.key for line in self.lines if line.what == what)

    @property
    def runs(self) -> int:
        """How often a stage began."""
        return self.count("begin").total()

    def redone(self, whole: Outcome) -> float:
        """Epochs' worth of steps beyond those of an undisturbed search."""
        usual, epochs = whole.count("step"), whole.count("epoch")
        steps = self.count("step")
        return sum(max(0, steps[key] - usual[key]) * epochs[key] / usual[key] for key in usual)


class World:
    """Searches, one after another, on one cluster: a head without CPUs, where drivers are, and nodes with one each."""

    def __init__(self, folder: Path, cluster: Cluster, proxy: Proxy) -> None:
        self.folder, self.cluster, self.proxy = folder, cluster, proxy
        self.log = folder / "log"
        self.log.touch()
        (folder / "space.yaml").write_text(SPACE)
        self.draining: set[str] = set()

    def words(self, name: str, stages: str) -> list[str]:
        """What a driver of this cluster is told."""
        return [*self.alone(name, stages, self.folder), f"scaling.address={self.cluster.address}"]

    def alone(self, name: str, stages: str, root: Path) -> list[str]:
        """What a driver is told that is to start a Ray of its own."""
        own = [f"space={self.folder}/space.yaml", f"study.root={root}", f"study.name={name}"]
        return [*WORDS, *own, f"study.stages={stages}"]

    def lines(self, first: int = 0) -> list[Line]:
        return [Line.of(text) for text in self.log.read_text().splitlines()[first:]]

    def search(
        self, name: str, stages: str, *more: str, moments: Sequence[int] = (), act: Callable[[Line], Any] | None = None
    ) -> Outcome:
        """Search, and at each moment, a number of lines, do something to the stage that runs then."""
        first, begun, over = len(self.lines()), time.monotonic(), Event()
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self._disturb, first, moments, act, over) if act is not None else None
            try:
                folder = search([*self.words(name, stages), *more])
            finally:
                over.set()
            seconds = time.monotonic() - begun
            if done is not None:
                done.result()
        return self.outcome(folder, stages, first, seconds)

    def outcome(self, folder: Path, stages: str, first: int, seconds: float) -> Outcome:
        weights, store = dict[tuple[str, str], str](), Store(stages)
        for key in self._stages(folder):
            manifest = store.find(key)
            assert manifest is not None, f"{key} is not in {stages}"
            of_stage = {name: record.sha256 for name, record in manifest.files.items()}
            weights |= {(key, name): of_stage[name] for name in of_stage if name.endswith(".safetensors")}
        return Outcome(rows=rows(folder), weights=weights, lines=self.lines(first), seconds=seconds)

    def begin(self, name: str, stages: str, *more: str) -> subprocess.Popen[bytes]:
        """A driver in a process of its own."""
        words = [sys.executable, str(HERE / "driver.py"), *self.words(name, stages), *more]
        return subprocess.Popen(words, start_new_session=True)

    def wait_for(self, first: int, moment: int, is_over: Callable[[], bool]) -> Line:
        """What a stage in the middle of its training notes next, after so many lines since the ``first``."""
        least, found = max(first + moment, len(self.lines())), list[Line]()

        def comes() -> bool:
            found[:] = [line for line in self.lines(least) if line.what == "step"]
            assert found or not is_over(), f"the search ended before line {moment} and a step after it"
            return bool(found)

        until(comes)
        return found[-1]

    def node(self, line: Line) -> Any:
        return next(node for node in self.cluster.worker_nodes if node.node_id == line.node)

    def broker(self) -> int:
        """The process of the broker that runs."""
        head = raylet(self.cluster.head_node)
        return next(pid for pid in family(head) if title(pid).startswith("ray::BrokerActor"))

    def repair(self) -> None:
        """As many nodes as there were, and everything free."""
        for node in list(self.cluster.worker_nodes):
            if node.node_id in self.draining or not title(raylet(node)):
                self.cluster.remove_node(node, allow_graceful=False)
        while len(self.cluster.worker_nodes) < NUM_NODES:
            self.add_node()
        until(lambda: sum(node["Alive"] for node in ray.nodes()) == NUM_NODES + 1, START_SECONDS)

    def add_node(self) -> Any:
        cache = {"IMER_RAY_CACHE": str(self.folder / f"cache-{time.monotonic_ns()}")}
        return self.cluster.add_node(wait=False, num_cpus=1, env_vars=cache, **agents())

    def left_over(self) -> list[str]:
        """What of earlier searches still runs or holds anything."""
        groups = ray.util.placement_group_table().values()
        found = [f"placement group {group['placement_group_id']}" for group in groups if group["state"] != "REMOVED"]
        found += [actor["ActorClassName"] for actor in actors().values() if actor["State"] != "DEAD"]
        free, there = ray.available_resources(), ray.cluster_resources()
        return found + [
            f"{name}: {free.get(name, 0)} of {there[name]}"
            for name in ("CPU", TRIAL_SLOT)
            if free.get(name, 0) < there[name]
        ]

    def _disturb(self, first: int, moments: Sequence[int], act: Callable[[Line], Any], over: Event) -> None:
        for moment in sorted(moments):
            act(self.wait_for(first, moment, over.is_set))

    @staticmethod
    def _stages(folder: Path) -> set[str]:
        found = pd.read_parquet(folder / "results.parquet")["stages"]
        return {key for text in found for key in json.loads(text).values()}


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def agents() -> dict[str, int]:
    """Where a node's agents listen: a raylet that is not told waits for them, but for 15 s only."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: one.getsockname()[1] for name, one in zip(names, free, strict=True)}


def patient(get_node: Callable[..., Any]) -> Callable[..., Any]:
    """Ray gives a node half a minute to come up, in which a busy machine does not start its processes."""

    def get(*where: Any) -> Any:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return get_node(*where)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.2)

    return get


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """Whatever of its processes is left at the end is an error."""
    server = plain_s3.Server()
    with Proxy(server.server_port).running() as proxy, pytest.MonkeyPatch.context() as patch:
        search_path = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
        own = {"PYTHONPATH": os.pathsep.join(search_path), "CHAOS_LOG": str(folder / "log")}
        own |= {"RAY_agent_register_timeout_ms": "300000", "RAY_worker_register_timeout_seconds": "300"}
        for name, value in {**ACCESS, **own, "IMER_RAY_CACHE": str(folder / "cache")}.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(services, "get_node", patient(services.get_node))
        few = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # processes
        head = {"num_cpus": 0, "resources": {TRIAL_SLOT: 8}, **few, **agents()}
        cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)  # threads add nodes, too
        made, pids = World(folder, cluster, proxy), set[int]()
        try:
            start(hardware(address=cluster.address))
            made.repair()
            yield made
            pids |= set[int]().union(*(family(raylet(node)) for node in cluster.list_all_nodes()))
        finally:
            ray.shutdown()
            cluster.shutdown()
            server.shutdown()
        until(lambda: not [title(pid) for pid in pids if title(pid)], 30)
