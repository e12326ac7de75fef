"""How likely a prior finds latents that it was not fitted to.

Clips are left out in groups of neighbours: those of one video resemble each other, and share frames where a clip's
sequence is what surrounds it. Of clips left out one by one too much would be known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from imer_ray.data.missing import MODALITIES
from imer_ray.models.priors import NUM_SETS, Clips, Prior

NUM_GROUPS = 30  # of neighbours; whether a group's edges run through a video matters little then
NUM_FOLDS = 3
Choice = TypeVar("Choice")


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the `Clips`."""

    x: Tensor
    frames: Tensor
    recorded: Tensor

    @classmethod
    def of(cls, clips: Clips, rows: Tensor) -> Part:
        return cls(clips.x[rows], clips.frames[rows], clips.recorded[rows])


def groups(num_clips: int) -> Tensor:
    """Of each clip the group [N] of neighbours that it belongs to."""
    return torch.arange(num_clips) * NUM_GROUPS // num_clips


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


def held_out(
    clips: Clips, choices: Sequence[Choice], fitted: Callable[[Part, Sequence[Choice]], Iterable[Prior]]
) -> tuple[Choice, float]:
    """The choice whose priors make clips that they were not fitted to most likely, and its `log_likelihood` in nats,
    mean over pairs and folds; -inf where no fold says anything.

    After each fold the worse half of the choices is left out, so that what is far behind is fitted once: successive
    halving (Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2015,
    arXiv:1502.07943), with folds for a budget.

    Args:
        fitted: of all folds but one and some choices, a prior for each; it is looked at before the next is asked for.
    """
    fold, left = groups(len(clips.x)) % NUM_FOLDS, [*choices]
    scores = torch.zeros(len(left), 0)
    for f in range(NUM_FOLDS):
        if f > 0:
            order = _mean(scores).argsort(descending=True, stable=True)
            kept = order[: -(-len(left) // 2)].sort().values
            left, scores = [left[i] for i in kept.tolist()], scores[kept]
        test = Part.of(clips, fold == f)
        found = [log_likelihood(prior, test) for prior in fitted(Part.of(clips, fold != f), left)]
        scores = torch.cat([scores, torch.stack(found).nanmean(1, keepdim=True)], 1)
    score, best = _mean(scores).max(0)
    return left[int(best)], float(score)


def _mean(scores: Tensor) -> Tensor:
    """[C] of scores [C, F], of which some folds' may be NaN."""
    return scores.nanmean(1).nan_to_num(-torch.inf, neginf=-torch.inf)
