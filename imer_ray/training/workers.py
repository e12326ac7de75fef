"""What the processes that train one stage together do alike: their shares of a batch, their sums, their decisions."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from imer_ray.stages.context import Context


def share_of(num_rows: int, context: Context) -> slice:
    """The rows of a global batch that this worker computes; shares differ by at most one row."""
    start = num_rows * context.rank // context.world_size
    return slice(start, num_rows * (context.rank + 1) // context.world_size)


def sum_over_workers(parameters: list[nn.Parameter], reported: Tensor, leaves: bool) -> bool:
    """Sum gradients and losses over the workers in one call; whether any of them ``leaves``: all do at one step.

    Each worker's loss is its share of the global mean, so the sum is exact for uneven shares too, which
    DistributedDataParallel's average of means is not.
    """
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([p.reshape(-1) for p in parts] + [reported, reported.new_full((1,), float(leaves))])
    dist.all_reduce(flat)
    offset = 0
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = flat[offset : offset + part.numel()].view_as(part)
        offset += part.numel()
    reported.copy_(flat[offset:-1])
    return bool(flat[-1] > 0)  # here a GPU has to be waited for


def of_the_first(value: float, context: Context) -> float:
    """What the first worker found: on unlike machines the others' digits may differ, and with them what they decide."""
    if context.world_size == 1:
        return value
    told = torch.tensor([value], dtype=torch.float64, device=context.device)
    dist.broadcast(told, src=0)
    return told.item()


def agreed(answer: bool, context: Context) -> bool:
    """Whether every worker says yes: all must come to the same decision, or the next sum would wait for ever."""
    if context.world_size == 1:
        return answer
    votes = torch.tensor([float(answer)], device=context.device)
    dist.all_reduce(votes, op=dist.ReduceOp.MIN)
    return bool(votes.item())
