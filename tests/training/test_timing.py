"""Costs that do not depend on the machine, counted against arithmetic by hand."""

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from imer_ray.training.timing import CPU_ATTENTION, timed


def test_attention_is_counted_on_a_cpu() -> None:
    """Two matrix products of [8, 16] x [16, 24] and [8, 24] x [24, 16] per head: 2 x 2 x 8 x 24 x 16 operations."""
    q, k, v = (torch.randn(2, 4, n, 16) for n in (8, 24, 24))
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        F.scaled_dot_product_attention(q, k, v)
    assert counter.get_total_flops() == 2 * 4 * (2 * 2 * 8 * 24 * 16)


def test_a_quick_call_is_repeated_until_the_reading_is_long_enough() -> None:
    calls = []
    seconds = timed(lambda: calls.append(1))
    assert len(calls) > 100 and seconds * len(calls) >= 0.01
