"""Whatever dies, stops, fails or fills up at a random moment, a search ends as one that nobody disturbed.

Moments are shares of what the stages of the undisturbed search note: their beginnings, steps, epochs and ends. After
each search its rows, its front and the weights of all its stages are those of the undisturbed one, no more was computed
again than the scenario allows, and nothing of it runs or holds anything.
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import faults
import pandas as pd
import plain_s3
import pytest
from processes import can_mount
from proxy import Proxy
from waiting import until
from world import HERE, NUM_NODES, Line, Outcome, World
from worlds import s3_server

from imer_ray.stages.__main__ import main as look_after_stages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SEED = 18
LATEST = 0.7  # share of the lines after which nothing new is done: what is left must be able to meet it
SILENCE_SECONDS = 20.0
LEAVING_SHARE = 0.05  # of an epoch that a drained node may cost


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is done ``count`` times to one search, and what each time may cost.

    Attributes:
        act: what is done, see `faults`.
        epochs: that may be computed again.
        runs: of stages that may be broken off.
    """

    name: str
    count: int
    act: Callable[..., Any]
    epochs: float
    runs: int = NUM_NODES
    words: tuple[str, ...] = ()

    @property
    def moments(self) -> list[float]:
        rng = random.Random(f"{SEED} {self.name}")
        return sorted(rng.uniform(0.02, LATEST) for _ in range(self.count))


def outage(fault: str) -> Callable[[World, Line], None]:
    """Of 15 to 40 s."""
    rng = random.Random(f"{SEED} {fault}")
    return lambda world, line: faults.break_store(world.proxy, line, fault, rng.uniform(15, 40))


SCENARIOS = [
    Scenario(name="node killed", count=3, act=faults.kill_node, epochs=1, runs=1),
    Scenario(name="process killed", count=2, act=faults.kill_worker, epochs=1, runs=1),
    Scenario(name="broker killed", count=3, act=faults.kill_broker, epochs=NUM_NODES),
    Scenario(name="S3 refuses", count=2, act=outage("refuse"), epochs=0),
    Scenario(name="S3 answers 503", count=2, act=outage("503"), epochs=0),
    Scenario(name="S3 hangs", count=2, act=outage("hang"), epochs=0),
    Scenario(name="process paused", count=2, act=partial(faults.pause_worker, seconds=30.0), epochs=0, runs=0),
    Scenario(
        name="process stopped",
        count=2,
        act=partial(faults.stop_worker, seconds=2 * SILENCE_SECONDS),
        epochs=1,
        runs=1,
        words=(f"scaling.silence_seconds={SILENCE_SECONDS:g}",),
    ),
    Scenario(name="node paused", count=2, act=partial(faults.pause_node, seconds=30.0), epochs=0, runs=0),
    Scenario(name="node drained", count=2, act=faults.drain_node, epochs=LEAVING_SHARE, runs=1),
]


def stages(world: World, name: str) -> str:
    return plain_s3.uri(world.proxy.port, name.replace(" ", "-"))


@pytest.fixture(scope="module")
def whole(world: World) -> Outcome:
    """The search that nobody disturbs."""
    found = world.search("whole", stages(world, "whole"))
    assert set(found.rows["status"]) == {"complete"} and len(found.rows) == 6
    assert set(found.count("end").values()) == {1}
    return found


@pytest.fixture
def check(world: World, whole: Outcome, table: list[tuple[object, ...]]) -> Callable[..., None]:
    """Compare a search with the undisturbed one, and write a line of the table."""

    def check(name: str, count: int, found: Outcome, epochs: float, runs: int, store: str = "own S3") -> None:
        redone, again = found.redone(whole), found.runs - whole.runs
        pd.testing.assert_frame_equal(found.rows, whole.rows)
        assert found.weights == whole.weights
        table.append((name, store, count, again, round(redone, 2), round(found.seconds - whole.seconds)))
        assert redone <= count * epochs, f"{redone:g} epochs were computed again"
        assert again <= count * runs, f"{again} stages began again"
        until(lambda: not world.left_over())

    world.repair()
    return check


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_search_ends_as_if_nothing_had_happened(world, whole, check, scenario):
    moments = [round(share * len(whole.lines)) for share in scenario.moments]
    act = partial(scenario.act, world)
    found = world.search(scenario.name, stages(world, scenario.name), *scenario.words, moments=moments, act=act)
    check(scenario.name, scenario.count, found, scenario.epochs, scenario.runs)


def moments(whole: Outcome, name: str, count: int) -> list[int]:
    scenario = Scenario(name=name, count=count, act=print, epochs=0)
    return [round(share * len(whole.lines)) for share in scenario.moments]


def has_ended(driver: subprocess.Popen[bytes]) -> bool:
    return driver.poll() is not None


def test_a_driver_that_is_killed_is_followed_by_one_that_ends_as_if_nothing_had_happened(world, whole, check):
    name, first, begun = "driver killed", len(world.lines()), time.monotonic()
    uri, count = stages(world, name), 3
    for moment in moments(whole, name, count):
        driver = world.begin(name, uri)
        try:
            world.wait_for(first, moment, partial(has_ended, driver))
        finally:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        until(lambda: not world.left_over())
    found = world.search(name, uri)
    together = world.outcome(world.folder / name, uri, first, time.monotonic() - begun)
    pd.testing.assert_frame_equal(found.rows, together.rows)
    check(name, count, together, epochs=NUM_NODES, runs=NUM_NODES)


def test_two_searches_on_one_store_compute_each_stage_once(world, whole, check):
    name, others = "two searches", []
    first, uri = len(world.lines()), stages(world, name)
    begin = lambda line: others.append(world.begin("other search", uri))  # noqa: E731
    found = world.search(name, uri, moments=moments(whole, name, 1), act=begin)
    assert others[0].wait(300) == 0
    both = world.outcome(world.folder / "other search", uri, first, found.seconds)
    check(name, 1, found, epochs=0, runs=0)
    check("the other of the two", 0, both, epochs=0, runs=0)


def test_eviction_beside_a_search_takes_nothing_from_it(world, whole, check):
    """As long as the search runs: what a search without a study in ``runs`` leaves behind is anybody's to evict."""
    name, rounds, first = "stages gc beside it", [], len(world.lines())
    uri, least = stages(world, name), whole.count("end").total() - 1
    words = [f"root={uri}", "runs=null", "max_bytes=0", "max_age_days=0", "dry_run=false"]

    def evict(line):
        while sum(line.what == "end" for line in world.lines(first)) < least:
            look_after_stages(["gc", *words])
            rounds.append(len(world.lines()))

    found = world.search(name, uri, moments=moments(whole, name, 1), act=evict)
    assert len(set(rounds)) > 2, "it hardly ran beside the search"
    check(name, 1, found, epochs=0, runs=0)


def test_a_real_model_of_s3_that_answers_503(world, whole, check):
    """Moto instead of our own server, behind a proxy of its own."""
    name, rng = "S3 answers 503", random.Random(f"{SEED} moto")
    with s3_server() as (_, uri):
        with Proxy(int(uri.rpartition(":")[2])).running() as proxy:
            behind = f"{uri.rpartition(':')[0]}:{proxy.port}"
            act = lambda line: faults.break_store(proxy, line, "503", rng.uniform(15, 40))  # noqa: E731
            found = world.search("moto", behind, moments=moments(whole, "moto", 1), act=act)
            check(name, 1, found, epochs=0, runs=NUM_NODES, store="moto")


@pytest.mark.skipif(not can_mount(), reason="only root may mount a small disk (unshare -m)")
def test_a_disk_that_is_full_ends_a_search_in_words_and_the_same_command_goes_on(world, whole, tmp_path, table):
    """All on one disk: the study, its stages, and what they write meanwhile; on a Ray of this machine's own."""
    disk, name, count = tmp_path / "disk", "disk full", 2
    disk.mkdir()
    needed = sum(len(content) for key, (content, _) in plain_s3.OBJECTS.items() if key.startswith("whole/"))
    sizes = [round(share * needed) for share in Scenario(name=name, count=count, act=print, epochs=0).moments]
    words = world.alone("study", str(disk / "stages"), disk)
    driver = shlex.join([sys.executable, str(HERE / "driver.py"), *words])
    first, begun = len(world.lines()), time.monotonic()
    script = [f"mount -t tmpfs -o size={sizes[0]} none {disk}"]
    for size in [*sizes[1:], 2**30]:
        script += [f"{driver}; echo ended with $?", f"mount -o remount,size={size} {disk}"]
    script += [driver, f"cp -r {disk}/study {disk}/stages {tmp_path}"]
    done = subprocess.run(["unshare", "-m", "sh", "-c", "\n".join(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ended with 2") == count
    assert done.stderr.count("no space left") == count and "Traceback" not in done.stderr
    found = world.outcome(tmp_path / "study", str(tmp_path / "stages"), first, time.monotonic() - begun)
    pd.testing.assert_frame_equal(found.rows, whole.rows)
    assert found.weights == whole.weights
    table.append((name, "disk", count, found.runs - whole.runs, round(found.redone(whole), 2), "-"))
    assert found.redone(whole) <= count * NUM_NODES
