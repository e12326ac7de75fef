"""What a stage reports of itself so that unfinished trainings can be compared: a number after certain epochs.

The epochs are the rungs of a trial scheduler (`imer_ray.tuning.halving`). Only a number that means the same for all
configurations is reported; a stage without one, such as `distill`, whose loss is measured against its own teacher,
reports none and is never judged by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

TASK_LOSS = "task_loss"
"""Mean task loss over the validation clips and missing patterns: the same unit whatever is trained."""

DENOISING_ERROR = "denoising_error"
"""See `imer_ray.training.denoising_error`; in the units of the latents, so among stages of one `encode` only."""

_ENTRY, _REPORTED = "compared.", "rung."


def entry(name: str) -> str:
    """Under which name the number stands in an epoch's entry of the history."""
    return f"{_ENTRY}{name}"


def reported(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """``{"rung.<name>.<epoch>": value}`` of a history, epochs counted from 1: what a stage adds to its metrics."""
    return {
        f"{_REPORTED}{key.removeprefix(_ENTRY)}.{epoch}": value
        for epoch, values in enumerate(history, start=1)
        for key, value in values.items()
        if key.startswith(_ENTRY)
    }


def count(metrics: Mapping[str, float]) -> int:
    """How many numbers `reported` put into a stage's metrics."""
    return sum(key.startswith(_REPORTED) for key in metrics)


def read(metrics: Mapping[str, float]) -> list[tuple[str, int, float]]:
    """(name, epoch, value) of all that `reported` put into a stage's metrics, in the order of the epochs."""
    found = []
    for key, value in metrics.items():
        if key.startswith(_REPORTED):
            name, _, epoch = key.removeprefix(_REPORTED).rpartition(".")
            found.append((name, int(epoch), value))
    return sorted(found, key=lambda rung: rung[1])
