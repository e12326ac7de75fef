"""What tests ask of hardware, in worker processes, too: the fields of `ScalingConfig`, with kinds unknown to it."""

from types import SimpleNamespace
from typing import Any

USUAL: dict[str, Any] = {
    **{"num_workers": 0, "train_stages": (), "cpus_per_stage": 1, "gpus_per_stage": 0},
    **{"max_failures": 2, "store_seconds": 600.0, "silence_seconds": 300.0, "address": None},
}


def hardware(**changes: Any) -> SimpleNamespace:
    """One task a stage, with these changes."""
    return SimpleNamespace(**{**USUAL, **changes})
