"""What tests ask of hardware, in worker processes, too: the fields of `ScalingConfig`, with kinds unknown to it."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TESTS = Path(__file__).parents[1]

USUAL: dict[str, Any] = {
    **{"num_workers": 0, "train_stages": (), "cpus_per_stage": 1, "gpus_per_stage": 0},
    **{"max_failures": 2, "store_seconds": 600.0, "silence_seconds": 300.0, "address": None},
}


def hardware(**changes: Any) -> SimpleNamespace:
    """One task a stage, with these changes."""
    return SimpleNamespace(**{**USUAL, **changes})


def worker_path() -> str:
    """PYTHONPATH of Ray's workers: they import the module of a test that sends them a function, and all that it
    imports."""
    here = [str(TESTS / name) for name in ("stages", "scaling", "")]
    return os.pathsep.join([*here, os.environ.get("PYTHONPATH", "")])
