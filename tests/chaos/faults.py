"""What is done to a search at some moment: to the stage that runs then, its node, its broker or its store."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from draining import drain
from processes import family, title
from proxy import Proxy
from waiting import until
from world import Line, World, raylet


def kill_node(world: World, line: Line) -> None:
    """All its processes at once, as a machine goes; another node comes in its place. Workers outlive a raylet that is
    killed alone by some steps, and would be taken for a node that lives."""
    _tell(family(raylet(world.node(line))), signal.SIGKILL)
    world.add_node()


def kill_worker(world: World, line: Line) -> None:
    os.kill(line.pid, signal.SIGKILL)


def kill_broker(world: World, line: Line) -> None:
    os.kill(world.broker(), signal.SIGKILL)


def stop_worker(world: World, line: Line, seconds: float) -> None:
    """For good: whoever notices must end it within so many seconds."""
    os.kill(line.pid, signal.SIGSTOP)
    until(lambda: not title(line.pid), seconds)


def pause_worker(world: World, line: Line, seconds: float) -> None:
    _pause({line.pid}, seconds)


def pause_node(world: World, line: Line, seconds: float) -> None:
    _pause(family(raylet(world.node(line))), seconds)


def drain_node(world: World, line: Line) -> None:
    """As a cloud does, which takes the node away; another comes in its place."""
    drain(line.node)
    world.draining.add(line.node)
    world.add_node()


def break_store(proxy: Proxy, line: Line, fault: str, seconds: float) -> None:
    proxy.fault = fault
    time.sleep(seconds)  # the fault itself, and nothing that is waited for
    proxy.restore()


def _pause(pids: set[int], seconds: float) -> None:
    _tell(pids, signal.SIGSTOP)
    try:
        time.sleep(seconds)  # the fault itself, and nothing that is waited for
    finally:
        _tell(pids, signal.SIGCONT)


def _tell(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
