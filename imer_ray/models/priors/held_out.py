"""How likely a prior finds latents that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.data.missing import MODALITIES
from imer_ray.models.priors import NUM_SETS, Clips, Prior


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the `Clips`."""

    x: Tensor
    frames: Tensor
    recorded: Tensor

    @classmethod
    def of(cls, clips: Clips, rows: Tensor) -> Part:
        return cls(clips.x[rows], clips.frames[rows], clips.recorded[rows])


def pairs() -> Iterator[tuple[int, tuple[bool, ...]]]:
    """Every modality and every set of others that is not empty."""
    for m in range(len(MODALITIES)):
        for number in range(1, NUM_SETS):
            given = tuple(bool(number & 2**other) for other in range(len(MODALITIES)))
            if not given[m]:
                yield m, given


@torch.no_grad()
def log_likelihood(prior: Prior, clips: Clips) -> Tensor:
    """ln p(x_m | x_o) in nats: of each of `pairs` the mean over the clips that recorded all of it, NaN if none has."""
    found = []
    for m, given in pairs():
        needed = torch.tensor(given)
        needed[m] = True
        part = Part.of(clips, clips.recorded[:, needed].all(1))
        found.append(prior.condition(m, part.x, given, part.frames).log_prob(part.x[:, m]).mean())
    return torch.stack(found)


def cross_validated(
    clips: Clips, num_folds: int, generator: torch.Generator, fitted: Callable[[Part], Iterable[Prior]]
) -> Tensor:
    """`log_likelihood` of priors ``fitted`` to all folds but one, on that one: mean over pairs and folds, of each prior."""
    fold = torch.randperm(len(clips.x), generator=generator) % num_folds
    scores = [
        torch.stack([log_likelihood(prior, Part.of(clips, fold == f)) for prior in fitted(Part.of(clips, fold != f))])
        for f in range(num_folds)
    ]
    return torch.stack(scores).nanmean(2).nanmean(0)
