"""When a stage counts as silent, and that what is silent is ended."""

import asyncio
import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest
from toy_stages import toy

from imer_ray.stages.broker import Broker
from imer_ray.stages.pulse import Process, Pulse, WorkerDied, end_here, watched
from imer_ray.stages.store import Store

RANKS = [Process(host="spot-7", node="n", pid=pid, born=0) for pid in (10, 11)]
DRIVER = Process(host="spot-7", node="n", pid=12, born=0)


def test_what_waits_for_hardware_is_not_silent_however_long():
    pulse = Pulse()
    pulse.passed(1e9)
    assert pulse.silence(300) is None
    for _ in range(100):  # a group's driver lives, and no worker has begun
        pulse.beat(DRIVER, None)
        pulse.passed(100)
    assert pulse.silence(300) is None
    pulse.beat(DRIVER, None)
    pulse.beat(RANKS[0], True)
    pulse.passed(300)
    assert pulse.silence(300) is None, "what was before the first worker began does not count"


def test_every_process_must_live_and_one_rank_must_compute():
    pulse = Pulse()
    for _ in range(4):  # the others wait in a collective for the first rank, which computes
        pulse.beat(DRIVER, None)
        pulse.beat(RANKS[0], True)
        pulse.beat(RANKS[1], False)
        pulse.passed(100)
    assert pulse.silence(300) is None
    for _ in range(4):  # as with a frozen mount
        for process, worked in zip([*RANKS, DRIVER], [False, False, None], strict=True):
            pulse.beat(process, worked)
        pulse.passed(100)
    assert pulse.silence(300) == "process 10 on spot-7 has not computed for 300 s"
    for _ in range(4):
        pulse.beat(DRIVER, None)
        pulse.beat(RANKS[0], True)
        pulse.passed(100)
    assert pulse.silence(300) == "process 11 on spot-7 gave no sign of life for 300 s"


def test_a_stopped_process_is_ended_and_one_that_has_its_number_by_now_is_not():
    child = subprocess.Popen(["sleep", "600"])
    process = replace(Process.here(), pid=child.pid)  # born when we were: another one
    os.kill(child.pid, signal.SIGSTOP)
    process.kill()
    assert child.poll() is None
    born = int(open(f"/proc/{child.pid}/stat").read().rpartition(")")[2].split()[19])
    replace(process, born=born).kill()
    assert child.wait() == -signal.SIGKILL
    replace(process, born=born).kill()  # it is gone, and nothing happens


def test_a_silent_run_is_ended_and_told_as_a_death():
    async def story():
        pulse, gone = Pulse(), asyncio.Event()

        async def end(processes):
            assert processes == {RANKS[0]}
            gone.set()

        async def run():
            pulse.beat(RANKS[0], True)
            await gone.wait()
            raise ConnectionError("the worker is gone")

        with pytest.raises(WorkerDied, match="process 10 on spot-7 gave no sign of life for 0.1 s"):
            await watched(run(), pulse, 0.1, end)

    asyncio.run(story())


def test_a_broker_that_was_stopped_itself_accuses_nobody():
    async def story():
        pulse = Pulse()

        async def run():
            pulse.beat(RANKS[0], True)
            await asyncio.sleep(0)
            time.sleep(1.0)  # nothing is heard meanwhile, and the loop that counts stands still
            pulse.beat(RANKS[0], True)
            return "result"

        assert await watched(run(), pulse, 0.5, end_here) == "result"

    asyncio.run(story())


def test_late_signs_of_an_earlier_run_are_not_taken_for_its_successors(tmp_path):
    async def story():
        async def launch(stage):
            broker.beat(stage.key, broker.run_of(stage.key), RANKS[0], True)
            broker.beat(stage.key, "an earlier one", RANKS[1], True)
            seen.update(broker._jobs[stage.key].pulse.quiet)
            raise WorkerDied("killed")

        seen, stage = {}, toy("a", x=1)
        broker = Broker(Store(tmp_path), launch, max_failures=0)
        while (await broker.wait([stage], "w", 0.05))[stage.key].state != "failed":
            pass
        assert set(seen) == {RANKS[0]}

    asyncio.run(story())
