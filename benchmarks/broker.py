"""What hundreds of trials cost the broker: ``python benchmarks/broker.py [waiters=300]``; under a minute.

Each waiter asks for six stages at once, as a trial does: one that all share, four that some share, one of its own.
The stages only sleep, in the broker's process, so that nothing but asking and answering is measured. Prints the CPU
seconds that the broker takes for each second, and how long after a stage's end its waiters know of it. Measured with
300 waiters in six processes on two cores that others used as well (load 25 to 35), in turn with what there was before:

                                              broker's CPU   a waiter knows after (median, 95 of 100)
    a call for each stage, every second     0.47, 0.48 cores   1.6 s, 3.7 s   1.9 s, 4.1 s
    a call for all, fewer where nobody ends 0.19, 0.17 cores   0.5 s, 1.8 s   0.7 s, 4.5 s

The last figure is that of a machine at load 60.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray

from imer_ray.scaling.broker import MAX_CALLS
from imer_ray.scaling.handle import BrokerHandle
from imer_ray.stages.broker import Broker
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import StageResult
from imer_ray.stages.store import Store

PROCESSES = 6
SECONDS = {"encode": 4.0, "pretrain": 8.0, "recognise": 8.0, "evaluate": 2.0}
REPORT_SECONDS = 0.5  # as workers do


class StubActor:
    """A broker whose stages sleep; otherwise as `imer_ray.scaling.broker.BrokerActor`."""

    def __init__(self, root: str) -> None:
        self._store = Store(root)
        self._broker = Broker(self._store, self._launch)
        self._committing = 0.0

    async def wait(self, *asked: Any) -> Any:
        return await self._broker.wait(*asked)

    async def leave(self, waiter: str) -> None:
        self._broker.leave(waiter)

    async def cpu_seconds(self) -> float:
        return time.process_time() - self._committing

    async def _launch(self, stage: Stage) -> StageResult:
        seconds = SECONDS[stage.kind]
        for number in range(int(seconds / REPORT_SECONDS)):
            self._broker.progress(stage.key, number, 0, {})
            await asyncio.sleep(REPORT_SECONDS)
        finished = {"finished": time.time()}
        await asyncio.to_thread(self._commit, stage, finished, seconds)
        return StageResult(key=stage.key, name=stage.name, seconds=seconds, reused=False, metrics=finished)

    def _commit(self, stage: Stage, metrics: dict[str, float], seconds: float) -> None:
        started = time.thread_time()
        with self._store.writing(stage.key) as folder:
            self._store.commit(stage, folder, metrics, seconds)
        self._committing += time.thread_time() - started  # which is the work of other processes, otherwise


def stages_of(number: int) -> list[Stage]:
    """A trial's stages: encode shared by all, pretrain by thirty each, recognise by ten, evaluate by none."""

    def stage(name: str, index: int, **inputs: Stage) -> Stage:
        config = {"index": index, "settings": {f"setting_{i}": i for i in range(40)}}  # as large as a real slice
        return Stage(name=name, function="none:none", config=config, data="stub", inputs=inputs)

    encoded = stage("encode", 0)
    networks = {m: stage(f"pretrain[{m}]", number // 30, encode=encoded) for m in "lav"}
    recogniser = stage("recognise", number // 10, encode=encoded, **networks)
    return [encoded, *networks.values(), recogniser, stage("evaluate", number, recogniser=recogniser, **networks)]


class Asker:
    """A process with many waiters."""

    def ask(self, broker: BrokerHandle, numbers: list[int]) -> list[float]:
        """Seconds from a stage's end to the moment at which each waiter knew of it."""

        def delays(number: int) -> list[float]:
            def one(stage: Stage) -> float:
                result = broker.compute(stage, f"trial-{number}", lambda status: None)
                return time.time() - result.metrics["finished"]

            stages = stages_of(number)
            with ThreadPoolExecutor(len(stages)) as pool:
                return list(pool.map(one, stages))

        with ThreadPoolExecutor(max(1, len(numbers))) as pool:
            return [delay for found in pool.map(delays, numbers) for delay in found]


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    waiters = int(options.pop("waiters", "300"))
    if options:
        sys.exit(f"error: unknown option {next(iter(options))}; give waiters=300")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    with tempfile.TemporaryDirectory() as root:
        actor = ray.remote(StubActor).options(num_cpus=0, max_concurrency=MAX_CALLS).remote(root)
        handle = BrokerHandle(actor)
        askers = [ray.remote(Asker).options(num_cpus=0).remote() for _ in range(PROCESSES)]
        ray.get([asker.ask.remote(handle, []) for asker in askers])
        started, spent = time.monotonic(), ray.get(actor.cpu_seconds.remote())
        numbers = [list(range(first, waiters, PROCESSES)) for first in range(PROCESSES)]
        answers = [asker.ask.remote(handle, own) for asker, own in zip(askers, numbers, strict=True)]
        delays = [delay for found in ray.get(answers) for delay in found]
        wall, spent = time.monotonic() - started, ray.get(actor.cpu_seconds.remote()) - spent
    least = SECONDS["encode"] + SECONDS["pretrain"] + SECONDS["recognise"] + SECONDS["evaluate"]
    deciles = statistics.quantiles(delays, n=100)
    print(f"{waiters} waiters x 6 stages: {wall:.1f} s, of which the stages need {least:.0f}")
    print(f"the broker's CPU: {spent:.1f} s, {100 * spent / wall:.0f} % of a core")
    print(f"a waiter knows after {1000 * deciles[49]:.0f} ms (median), {1000 * deciles[94]:.0f} ms (95 of 100)")
    figures = {
        "wall_s": wall,
        "broker_cpu": spent / wall,
        "median_ms": 1000 * deciles[49],
        "p95_ms": 1000 * deciles[94],
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
