"""What every training must do: take the same steps, however many workers share its batches."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor

from imer_ray.training.loop import Run

SHARE = 2 / 5  # of the first of two workers, so that their shares are uneven
NUM_STEPS = 4  # of each training that are looked at
RELATIVE = 2e-5  # of the largest gradient: single precision, summed in another order


@contextlib.contextmanager
def same_steps() -> Iterator[Counter[Run]]:
    """Within the block, the first steps of every training are computed by two workers in turn as well.

    Yields:
        How many steps of which training were seen.

    Raises:
        AssertionError: the workers' losses or gradients do not add up to those of one alone.
    """
    seen: Counter[Run] = Counter()
    whole = Run.take

    def checked(run: Run, batch: Tensor, share: slice) -> dict[str, Tensor]:
        if seen[run] == NUM_STEPS:
            return whole(run, batch, share)
        seen[run] += 1
        before = {name: t.clone() for name, t in run.training.module.state_dict().items()}
        cut, parts = round(len(batch) * SHARE), []
        for part in (slice(0, cut), slice(cut, len(batch))):
            parts.append((whole(run, batch, part), _gradients(run)))
            run.training.module.load_state_dict(before)
        alone = whole(run, batch, share), _gradients(run)
        largest = max(float(g.abs().max()) for g in alone[1])
        for name, loss in alone[0].items():
            torch.testing.assert_close(sum(losses[name] for losses, _ in parts), loss, rtol=RELATIVE, atol=RELATIVE)
        for own, *of_parts in zip(alone[1], *(gradients for _, gradients in parts), strict=True):
            torch.testing.assert_close(sum(of_parts), own, rtol=0, atol=RELATIVE * largest)
        return alone[0]

    with mock.patch.object(Run, "take", checked):
        yield seen


def _gradients(run: Run) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in run.parameters]
