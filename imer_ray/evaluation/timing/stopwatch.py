"""Seconds of a call, by a clock of choice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

Clock = Callable[[], float]
MIN_SECONDS = 0.01  # repeat quicker calls until a reading lasts this long


def timed(call: Callable[[], Any], clock: Clock = time.perf_counter) -> float:
    """Seconds of one call, averaged over as many as last `MIN_SECONDS`."""
    count, synchronise = 0, torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    synchronise()
    start = clock()
    while True:
        call()
        count += 1
        synchronise()
        elapsed = clock() - start
        if elapsed >= MIN_SECONDS:
            return elapsed / count
