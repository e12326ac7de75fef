"""Seconds of a call, by a clock of choice on a CPU and by a GPU's own events on that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from imer_ray.devices import is_gpu

Clock = Callable[[], float]
MIN_SECONDS = 0.01  # repeat quicker calls until a reading lasts this long


def timed(call: Callable[[], Any], device: str | torch.device, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call, averaged over as many as last `MIN_SECONDS`.

    Args:
        device: where the call computes; one on a GPU begins when the one before has ended.
        clock: by which a CPU is timed.
    """
    if is_gpu(device):
        return _by_events(call, torch.device(device))
    count, start = 0, clock()
    while True:
        call()
        count += 1
        elapsed = clock() - start
        if elapsed >= MIN_SECONDS:
            return elapsed / count


def _by_events(call: Callable[[], Any], device: torch.device) -> float:
    """Each call lies between two events in the GPU's own queue, which notes them when it gets there: how soon this
    process hears of the end does not count."""
    torch.cuda.synchronize(device)
    stream, count, seconds = torch.cuda.current_stream(device), 0, 0.0
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    while seconds < MIN_SECONDS:
        begin.record(stream)
        call()
        end.record(stream)
        end.synchronize()
        count, seconds = count + 1, seconds + begin.elapsed_time(end) / 1e3
    return seconds / count
