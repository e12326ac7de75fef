"""What a stage reports of itself so that unfinished trainings can be compared: a number after certain epochs.

The epochs are the rungs of a trial scheduler (`imer_ray.tuning.halving`). Only a number that means the same for all
configurations is reported; a stage without one, such as `distill`, whose loss is measured against its own teacher,
reports none and is never judged by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

TASK_LOSS = "task_loss"
"""Mean task loss over the validation clips and missing patterns: the same unit whatever is trained."""

DENOISING_ERROR = "denoising_error"
"""See `imer_ray.training.denoising_error`; in the units of the latents, so among stages of one `encode` only."""

_PREFIX = "rung."


def entry(name: str) -> str:
    """Under which name the number stands in an epoch's entry of the history."""
    return f"{_PREFIX}{name}"


def reported(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """``{"rung.<name>.<epoch>": value}`` of a history, epochs counted from 1: what a stage adds to its metrics."""
    return {
        f"{key}.{epoch}": value
        for epoch, values in enumerate(history, start=1)
        for key, value in values.items()
        if key.startswith(_PREFIX)
    }


def count(metrics: Mapping[str, float]) -> int:
    """How many numbers `reported` put into a stage's metrics."""
    return sum(key.startswith(_PREFIX) for key in metrics)


def read(metrics: Mapping[str, float]) -> Iterator[tuple[str, int, float]]:
    """(name, epoch, value) of all that `reported` put into a stage's metrics, in the order of the epochs."""
    found = [(key[len(_PREFIX) :].rpartition("."), value) for key, value in metrics.items() if key.startswith(_PREFIX)]
    yield from sorted(((name, int(epoch), value) for (name, _, epoch), value in found), key=lambda rung: rung[1])
