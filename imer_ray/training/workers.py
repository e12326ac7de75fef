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
    DistributedDataParallel's average of means is not. A parameter that no worker's clips have used keeps no gradient,
    which an optimiser leaves alone, as one worker's would: by a gradient of zero its momentum would move it.
    """
    sent = packed(parameters, reported, leaves)
    dist.all_reduce(sent)
    return unpacked(sent, parameters, reported)


def packed(parameters: list[nn.Parameter], reported: Tensor, leaves: bool) -> Tensor:
    """What a worker adds to the sums: gradients, losses, and numbers that say which parameters have a gradient and
    whether it leaves."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    said = reported.new_tensor([*(p.grad is not None for p in parameters), leaves])
    return torch.cat([*(gradient.reshape(-1) for gradient in gradients), reported, said])


def unpacked(sums: Tensor, parameters: list[nn.Parameter], reported: Tensor) -> bool:
    """Put the sums of `packed` where its arguments are; whether anybody leaves."""
    said = sums[-1 - len(parameters) :]
    *used, leaves = said.tolist()  # here a GPU has to be waited for
    offset = 0
    for parameter, is_used in zip(parameters, used, strict=True):
        part = sums[offset : offset + parameter.numel()]
        parameter.grad = part.view_as(parameter) if is_used else None
        offset += parameter.numel()
    reported.copy_(sums[offset : offset + len(reported)])
    return bool(leaves)


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
