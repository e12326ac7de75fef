"""What has to be known of a GPU, in ten minutes: ``python benchmarks/gpu.py [minutes=10] [out=gpu.json] [run=FOLDER]
[device=cuda]``.

1. Whether it computes what the CPU computes: processes, samplers, models of every backbone, every kind of stage of
   every system, trainings resumed from a checkpoint (`benchmarks/gpu_equality.py`, `benchmarks/gpu_stages.py`).
2. How fast it is: clips a second of the trainings; two stages at once on one GPU; picks beside IMDer at MOSI's shape,
   for one clip and for 32, in fp32, in bf16 and with CUDA graphs (`benchmarks/gpu_speed.py`).

Each part has a share of the minutes, and what it leaves goes to the next. What there is no time for is skipped, and
said to be; what fails does not end the rest. Progress goes to stderr, a summary to stdout; its last line is all that
was found as JSON, which ``out`` writes as well. The exit status is 1 if anything was not as it should be.

``run`` is a study whose exported picks are timed in place of those in ``docs/results.md``. ``device=cpu`` runs all of
it with the CPU in place of the GPU, on fewer clips: for whoever changes these files.
"""

from __future__ import annotations

import functools
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gpu_equality
import gpu_speed
import gpu_stages
import torch
from gpu_report import Check, Found, failed, run, summary

from imer_ray.stages.machine import hardware

USAGE = "give device=cuda or cpu, minutes=NUMBER, run=FOLDER or out=FILE.json"
SHARES = {  # of the time, in this order
    "processes": 0.02,
    "samplers": 0.06,
    "backbones": 0.04,
    "stages": 0.38,
    "training": 0.1,
    "sharing": 0.1,
    "picks": 0.3,
}
# As many clips of MOSI's shape as the synthetic set makes in memory, with some for the other splits.
CLIPS, EPOCHS = {"cuda": 1024, "cpu": 32}, {"cuda": 12, "cpu": 1}


def main() -> int:
    try:
        options = dict(word.split("=", 1) for word in sys.argv[1:])
        minutes = float(options.pop("minutes", 10))
    except ValueError:
        sys.exit(f"error: {USAGE}")
    device = options.pop("device", "cuda")
    picks, out = options.pop("run", None), options.pop("out", None)
    if options or device not in CLIPS:
        sys.exit(f"error: {USAGE}")
    if device == "cuda" and not torch.cuda.is_available():
        print(
            f"error: PyTorch {torch.__version__} sees no GPU here; device=cpu tries the script without", file=sys.stderr
        )
        return 2
    device = "cuda:0" if device == "cuda" else device  # as stages are told
    with tempfile.TemporaryDirectory(prefix="imer_ray.gpu.") as folder:
        found = _all(sections(device, Path(folder), None if picks is None else Path(picks)), 60 * minutes)
    report = {"environment": environment(device), "minutes": minutes, **found}
    text = json.dumps(report)
    if out is not None:
        Path(out).write_text(text + "\n", encoding="utf-8")
    print("\n".join([*_lines(report["environment"], found), text]))
    return int(any(map(failed, found.values())))


def sections(device: str, folder: Path, picks: Path | None) -> dict[str, Callable[[], dict[str, Check]]]:
    """Part -> what makes its checks, in the order of `SHARES`."""
    where = device.partition(":")[0]
    made: dict[str, Callable[[], dict[str, Check]]] = {
        "processes": functools.partial(gpu_equality.of_processes, device),
        "samplers": functools.partial(gpu_equality.of_samplers, device),
        "backbones": functools.partial(gpu_equality.of_backbones, device),
        "stages": functools.partial(gpu_stages.of_stages, device, folder),
        "training": functools.partial(gpu_speed.of_trainings, device, CLIPS[where]),
        "sharing": functools.partial(gpu_speed.of_sharing, device, EPOCHS[where], CLIPS[where]),
        "picks": functools.partial(gpu_speed.of_picks, device, picks),
    }
    return {name: made[name] for name in SHARES}


def _all(made: Mapping[str, Callable[[], dict[str, Check]]], seconds: float) -> dict[str, Found]:
    start, share, found = time.monotonic(), 0.0, dict[str, Found]()
    for name, checks in made.items():
        share += SHARES[name]
        found[name] = run(checks, start + share * seconds, functools.partial(_say, name, start))
    return found


def _say(section: str, start: float, text: str) -> None:
    print(f"{time.monotonic() - start:5.0f} s  {section}  {text}", file=sys.stderr, flush=True)


def environment(device: str) -> dict[str, Any]:
    """Where this runs, in words and versions."""
    found: dict[str, Any] = {
        "device": device,
        "machine": hardware(device != "cpu"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "commit": _output("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"),
    }
    if device != "cpu":
        gpu = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": gpu.name,
            "gpus": torch.cuda.device_count(),
            "gpu_mib": round(gpu.total_memory / 2**20),
            "capability": f"{gpu.major}.{gpu.minor}",
            "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
            "peak_mib": round(torch.cuda.max_memory_allocated() / 2**20),
        }
    return found


def _output(*command: str) -> str | None:
    """The first line that a program prints; None: it is not there, or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    return next(iter(done.stdout.splitlines()), None) if done.returncode == 0 else None


def _lines(where: Mapping[str, Any], found: Mapping[str, Found]) -> list[str]:
    """At most thirty."""
    lines = [f"{where.get('gpu', where['machine'])}, PyTorch {where['torch']}"]
    lines += [summary(name, of_section) for name, of_section in found.items()]
    picks: dict[str, list[str]] = {}
    for name, result in found["picks"].items():
        pick, _, how = name.partition(" ")
        if "ms" in result:
            picks.setdefault(pick, []).append(f"{how} {result['ms']:.3g} ms, {result['ratio']:.3g}x IMDer")
    lines += [f"{pick:12} {'; '.join(told)}" for pick, told in picks.items()]
    for name, result in {**found["training"], **found["sharing"]}.items():
        told = [f"{key} {value:.3g}" for key, value in result.items() if isinstance(value, float)]
        lines += [f"{name}: {', '.join(told)}"] if told else []
    return lines


if __name__ == "__main__":
    sys.exit(main())
