"""What a store on S3 costs a search beside one on a disk: ``python benchmarks/store.py [latency=0.05]``; three minutes.

32 trials ask a broker for 300 stages, as of six kinds as the default system has, eight of which run at a time. They
only sleep (0.4 to 2.4 s), leave artefacts of six files and 120 kB, and checkpoints of 200 kB an epoch as trainings do.
The object store is tests/stages/plain_s3.py in a process of its own, which answers each request ``latency`` seconds
later than it can (S3 takes 20 to 100 ms). With ``server=s3_server`` it is moto, which takes milliseconds of a processor
for each request, and on a busy machine is too slow to measure anything else. Each stage's store is a new one, as in the
workers of a search. Then the same trials ask a new broker, which finds all of them.

The last line is JSON: ``s3_time_ratio`` (to be at most 1.3), ``requests_per_reused_stage`` (to be at most 4), and to
judge these by ``requests_per_fetched_stage`` (a machine without a copy needs the files) and
``requests_per_computed_stage``.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from imer_ray.stages.broker import Broker
from imer_ray.stages.claim import Claims
from imer_ray.stages.context import Context
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Begin
from imer_ray.stages.lease import Lease
from imer_ray.stages.run import StageResult, execute
from imer_ray.stages.store import Store
from imer_ray.training.checkpoint import Writer

SERVERS = Path(__file__).parents[1] / "tests" / "stages"
NUM_TRIALS, NUM_STAGES, AT_ONCE = 32, 300, 8
CONTENT = os.urandom(20_000)  # of a file
WEIGHTS = torch.randn(50_000, generator=torch.Generator().manual_seed(0))  # of a checkpoint: 200 kB
EPOCHS = {"encode": 6, "pretrain": 6, "recognise": 6}  # of 0.4 s
SECONDS = {"bank": 1.0, "cost": 1.0, "evaluate": 0.4}


def run(config: Mapping[str, Any], context: Context) -> Mapping[str, float]:
    """A stage that sleeps."""
    time.sleep(SECONDS.get(config["kind"], 0.0))
    with Writer(context.checkpoint, context.written) as writer:
        for epoch in range(1, EPOCHS.get(config["kind"], 0) + 1):
            time.sleep(0.4)
            writer.save({"weights": WEIGHTS}, {"epoch": epoch})
            context.report(epoch, EPOCHS[config["kind"]], {"loss": 1.0})
    for number in range(6):
        (context.folder / f"{number}.bin").write_bytes(CONTENT)
    return {"loss": 1.0}


def trials() -> list[list[Stage]]:
    """The last stages of each trial: its points, and the cost."""

    def stage(kind: str, number: int, inputs: Sequence[Stage] = ()) -> Stage:
        config = {"kind": kind, "number": number}
        named = {f"{one.kind}{i}": one for i, one in enumerate(inputs)}
        return Stage(name=f"{kind}[{number}]", function=f"{__name__}:run", config=config, data="none", inputs=named)

    wanted, num_points = [], NUM_STAGES - NUM_TRIALS * 6 - 4
    for trial in range(NUM_TRIALS):
        encode = stage("encode", trial % 4)
        networks = [stage("pretrain", trial * 3 + modality, [encode]) for modality in range(3)]
        recognise = stage("recognise", trial, [encode, stage("bank", trial, [encode, *networks])])
        points = range(trial, num_points, NUM_TRIALS)
        ends = [stage("evaluate", point, [encode, *networks, recognise]) for point in points]
        wanted.append([*ends, stage("cost", trial)])
    return wanted


async def search(root: str) -> float:
    """Seconds that all trials take together."""
    store, lease = Store(root), Lease()
    lease.renew(store.folders)
    pool, free = ThreadPoolExecutor(AT_ONCE), asyncio.Semaphore(AT_ONCE)
    loop = asyncio.get_running_loop()

    async def launch(stage: Stage) -> StageResult:
        async with free:
            anew = await broker.begin(stage.key) == Begin.ANEW

            def report(epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> bool:
                loop.call_soon_threadsafe(broker.progress, stage.key, epoch, num_epochs, metrics)
                return True

            run = functools.partial(execute, stage, Store(root), report, anew=anew)
            return await loop.run_in_executor(pool, run)

    broker = Broker(store, launch, claims=Claims(store.folders, lease))

    async def trial(number: int, ends: list[Stage]) -> None:
        left = {stage.key: stage for end in ends for stage in end.in_order()}
        while left:
            answers = await broker.wait(list(left.values()), f"trial-{number}", 1.0)
            for key, status in answers.items():
                if status.error is not None:
                    raise status.error
                if status.state == "done":
                    del left[key]

    started = time.perf_counter()
    await asyncio.gather(*(trial(number, ends) for number, ends in enumerate(trials())))
    return time.perf_counter() - started


class Server:
    """The object store."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.uri = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def num_requests(self) -> dict[str, int]:
        """Since the last time, by kind."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, int] = json.loads(self._line())
        return found


@contextmanager
def s3(name: str, latency: float) -> Iterator[Server]:
    command = [sys.executable, str(SERVERS / f"{name}.py"), f"latency={latency}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        process.terminate()
        process.wait()


def fetch(root: str) -> None:
    """Open every artefact, as stages that build on them do."""
    store = Store(root)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(store.open, {stage.key for ends in trials() for end in ends for stage in end.in_order()}))


def main(server: str, latency: float) -> dict[str, float]:
    sys.modules.setdefault("store", sys.modules[__name__])
    with tempfile.TemporaryDirectory() as folder, s3(server, latency) as store:
        os.environ.update({"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"})
        os.environ.update({"AWS_EC2_METADATA_DISABLED": "true", "IMER_RAY_CACHE": f"{folder}/one"})
        on_disk = asyncio.run(search(f"{folder}/stages"))
        on_s3 = asyncio.run(search(store.uri))
        computed = store.num_requests()
        os.environ["IMER_RAY_CACHE"] = f"{folder}/two"
        found = asyncio.run(search(store.uri))
        reused = store.num_requests()
        fetch(store.uri)
        fetched = store.num_requests()
    for what, seconds, requests in (
        ("300 stages computed, on a disk", on_disk, {}),
        ("300 stages computed, on S3", on_s3, computed),
        ("the same found by another search", found, reused),
        ("and fetched to another machine", 0.0, fetched),
    ):
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(requests.items()))
        print(f"{what:36} {seconds:6.1f} s  {kinds}")
    return {
        "s3_time_ratio": round(on_s3 / on_disk, 3),
        "requests_per_reused_stage": round(sum(reused.values()) / NUM_STAGES, 2),
        "requests_per_fetched_stage": round(sum(fetched.values()) / NUM_STAGES, 2),
        "requests_per_computed_stage": round(sum(computed.values()) / NUM_STAGES, 2),
    }


if __name__ == "__main__":
    settings = dict(word.split("=") for word in sys.argv[1:])
    print(json.dumps(main(settings.get("server", "plain_s3"), float(settings.get("latency", 0.05)))))
