"""The real commands, on settings under which each stage takes a second."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMALL = [
    "data.num_train=96",
    "data.num_valid=64",
    "data.num_test=64",
    "training.encode.num_epochs=2",
    "training.pretrain.num_epochs=2",
    "training.recognise.num_epochs=2",
    "bank.num_steps=2",
    "speed.max_repeats=1",
    "speed.reference_steps=1",
    "evaluate.max_points=2",
    "scaling.train_stages=[]",
]


def command(name: str, *overrides: str, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", f"imer_ray.{name}", *overrides]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


def run_here(name: str, *overrides: str) -> None:
    """The command's main, in this process and folder: spares the seconds that a process takes to import torch."""
    importlib.import_module(f"imer_ray.{name}").main(list(overrides))
