"""Peak memory at MOSEI's full size: ``python benchmarks/memory.py [shape=mosei] [folder=/tmp] [key=value ...]``.

Generates an MMSA pickle of the shape (4 GB for mosei), converts it, and trains one epoch of every stage of a system on
the store, each step in a process of its own. What counts is what cannot be dropped: anonymous and shared memory
(RssAnon + RssShmem of /proc/<pid>/status, read every 5 ms), beside the pages of mapped files, which the kernel takes
back when it needs them. Other words are settings of the experiment (``system=imder``, ``fusion=mult``).

Needs Linux and three times the pickle's size on the disk of ``folder``; everything written is removed afterwards.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.systems import graph

TRAINED = ("encode", "pretrain", "recognise", "joint")
LIMIT_GIB = 1.5
INTERVAL_S = 0.005


def main() -> None:
    options = dict(word.split("=", 1) for word in sys.argv[1:])
    shape, folder = options.pop("shape", "mosei"), options.pop("folder", None)
    stage = options.pop("_stage", None)
    settings = {"data": "store", **{f"training.{name}.num_epochs": "1" for name in TRAINED}, **options}
    if stage is not None:
        return _execute(stage, settings, Path(str(folder)))
    if not Path("/proc/self/status").exists():
        sys.exit("error: this benchmark reads /proc/<pid>/status, which only Linux has")
    print(f"{'step':24}{'peak GiB':>10}{'files GiB':>11}{'seconds':>9}")
    with tempfile.TemporaryDirectory(dir=folder, prefix="imer_ray-memory-") as name:
        place = Path(name)
        pickle, store = place / "made.pkl", place / "store"
        _watch("generate", "-m", "imer_ray.generate", f"shape={shape}", f"output={pickle}")
        convert = _watch("convert", "-m", "imer_ray.convert", f"input={pickle}", f"output={store}")
        pickle.unlink()
        settings["data.path"] = str(store)
        words = [f"{key}={value}" for key, value in settings.items()]
        stages = [stage.name for stage in _stages(settings)]
        peaks = [_watch(name, __file__, f"_stage={name}", f"folder={place}", *words) for name in stages]
    print(f"\nlimit {LIMIT_GIB} GiB: {'kept' if max(convert, *peaks) <= LIMIT_GIB else 'EXCEEDED'}")
    print(json.dumps({"peak_rss_gib_convert": round(convert, 3), "peak_rss_gib_train": round(max(peaks), 3)}))


def _watch(name: str, *arguments: str) -> float:
    """Run Python with the arguments, print a row, return the peak of its memory beside mapped files in GiB."""
    started, peak, files = time.perf_counter(), 0, 0
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
            kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss")}
            peak = max(peak, kib.get("RssAnon", 0) + kib.get("RssShmem", 0))
            files = max(files, kib.get("RssFile", 0))
        time.sleep(INTERVAL_S)
    if process.returncode != 0:
        sys.exit(f"error: {name} ended with status {process.returncode}")
    seconds = time.perf_counter() - started
    print(f"{name:24}{peak / 2**20:10.3f}{files / 2**20:11.3f}{seconds:9.1f}", flush=True)
    return peak / 2**20


def _stages(settings: dict[str, str]) -> list:
    """The stages of the system, inputs before users."""
    words = [f"{key}={value}" for key, value in settings.items()]
    config = compose(ExperimentConfig, "experiment", words)
    config = replace(config, data_fingerprint=config.data.build().load().fingerprint)
    return list(graph(config, "valid").in_order())


def _execute(name: str, settings: dict[str, str], place: Path) -> None:
    from imer_ray.stages.run import Place, execute
    from imer_ray.stages.store import Store

    (stage,) = (stage for stage in _stages(settings) if stage.name == name)
    store = Store(place / "stages")
    store.prepare()
    execute(stage, store, place=Place(num_threads=1))


if __name__ == "__main__":
    main()
