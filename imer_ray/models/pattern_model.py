"""A recogniser for clips of one pattern: which modalities are available is known before any clip is.

What depends on the pattern alone is settled once, when a `PatternModel` is made; the rest is the same operations for
every clip. All predictions are made so, and it is what is exported.
Shapes: B clips, M = 3 modalities (l, a, v), L frames, D latent features, as in `imer_ray.models.model`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES, same_of_all
from imer_ray.diffusion.noise import RowNoise, Streams, mixed, mixed_one
from imer_ray.models.model import EmotionModel
from imer_ray.models.recovery import Sampler


class PatternModel(nn.Module):
    """Features of the available modalities in, predictions out.

    Arguments:
        model: whose parts it uses, as they are; they are not copied.
        pattern: the modalities that are available of every clip, such as "lv".
        sampler, num_steps: with which missing modalities are drawn, where they are drawn.
        num_draws: how often; predictions are averaged.
    """

    def __init__(
        self, model: EmotionModel, pattern: str, sampler: Sampler | None = None, num_steps: int = 1, num_draws: int = 1
    ) -> None:
        super().__init__()
        self.pattern = pattern
        available = tuple(m in pattern for m in MODALITIES)
        self.encoder = model.encoder
        self.filling = None if all(available) or model.recovery is None else _of(model.recovery, available, _Filling)
        self.recogniser = _of(model.recogniser, available, _Recogniser)
        self.sampler, self.num_steps = sampler, num_steps
        self.num_draws = num_draws if self.targets else 1

    @property
    def targets(self) -> tuple[int, ...]:
        """The modalities that are drawn, by number; none where nothing is, or where an imputer fills them."""
        return getattr(self.filling, "targets", ())

    def forward(self, features: Mapping[str, Tensor], frames: Mapping[str, Tensor], noise: Streams) -> Tensor:
        """Predictions [B] from {m: [B, L_m, D_m]} and {m: [B, L_m]}; of others than the available modalities nothing is
        read. ``noise`` has a row for each clip and draw, all clips' first draws first."""
        return self.averaged(self.answers(features, frames, noise))

    def answers(self, features: Mapping[str, Tensor], frames: Mapping[str, Tensor], noise: Streams) -> Tensor:
        """As `forward`, but of every draw: [num_draws x B]."""
        latents, present = self.encoder({m: features[m] for m in self.pattern}, {m: frames[m] for m in self.pattern})
        filled, present = self.fill(latents, present, noise)
        answers: Tensor = self.recogniser(filled, present)
        return answers

    def averaged(self, answers: Tensor) -> Tensor:
        """Predictions [B] from `answers`."""
        return answers if self.num_draws == 1 else answers.view(self.num_draws, -1).mean(0)

    def fill(self, latents: Tensor, frames: Tensor, noise: Streams) -> tuple[Tensor, Tensor]:
        """Latents [num_draws x B, M, L, D] in which missing modalities are recovered, and frames beside them, from
        latents [B, M, L, D] and frames [B, M, L] that are zero of what is missing."""
        if self.filling is None:
            return latents, frames
        if self.num_draws > 1:
            latents, frames = torch.cat([latents] * self.num_draws), torch.cat([frames] * self.num_draws)
        return self.filling(latents, frames, self.sampler, self.num_steps, noise), frames

    def noise(self, batch: Batch, seed: int) -> RowNoise:
        """Noise for a batch's clips; each one's depends on the seed and on its content alone."""
        if not self.targets:
            return RowNoise(np.zeros(len(batch), np.uint64))
        return noise_of(batch, self.pattern, self.num_draws, seed)


def noise_of(batch: Batch, pattern: str, num_draws: int, seed: int) -> RowNoise:
    """Noise for a batch's clips of which a pattern is available: all clips' first draws first."""
    keys = clip_keys({m: batch.digest(m) for m in pattern}, seed)
    return RowNoise(np.concatenate([mixed(keys, draw) for draw in range(num_draws)]))


def clip_keys(digests: Mapping[str, NDArray[np.uint64]], seed: int) -> NDArray[np.uint64]:
    """Keys [B] of clips for `RowNoise`, from a seed and the content of their available modalities {m: [B]}."""
    keys = np.full(len(next(iter(digests.values()))), seed % 2**64, np.uint64)
    for number, m in enumerate(MODALITIES):
        if m in digests:
            keys = np.where(digests[m] == 0, keys, mixed(keys ^ digests[m], number))
    return keys


def clip_key(digests: Mapping[str, int], seed: int) -> int:
    """As `clip_keys`, of one clip."""
    key = seed % 2**64
    for number, m in enumerate(MODALITIES):
        if digests.get(m):
            key = mixed_one(key ^ digests[m], number)
    return key


def by_pattern(available: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Each pattern that occurs in ``available`` [B, M], and the clips that have it; clips with nothing are left out."""
    found, which = available.unique(dim=0, return_inverse=True)
    for number, row in enumerate(found.tolist()):
        if any(row):
            yield (
                "".join(m for m, there in zip(MODALITIES, row, strict=True) if there),
                (which == number).nonzero().squeeze(1),
            )


def _of(part: Any, available: tuple[bool, ...], otherwise: Callable[..., nn.Module]) -> Any:
    """What a part of a model becomes where it is known what is available."""
    return part.for_pattern(available) if hasattr(part, "for_pattern") else otherwise(part, available)


class _Filling(nn.Module):
    """A filling that has no form of its own for a pattern."""

    def __init__(self, filling: Any, available: tuple[bool, ...]) -> None:
        super().__init__()
        self.filling, self.available = filling, available

    def forward(self, latents: Tensor, frames: Tensor, sampler: Any, num_steps: int, noise: Any) -> Tensor:
        filled, _ = self.filling(latents, same_of_all(self.available, latents), frames, sampler, num_steps, noise)
        return filled


class _Recogniser(nn.Module):
    """A recogniser that has no form of its own for a pattern."""

    def __init__(self, recogniser: Any, available: tuple[bool, ...]) -> None:
        super().__init__()
        self.recogniser, self.available = recogniser, available

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        return self.recogniser(latents, same_of_all(self.available, latents), frames)
