"""What a recogniser reads of its clips while it learns, and when it is looked at: some modalities, or some frames.

The latents of a clip without some frames are those of the whole clip, masked, only where the encoder makes each latent
frame of one frame alone. A kernel over time and the averaging of longer modalities mix frames, and a latent frame under
which one frame is left is another than before. So clips are encoded again without the frames that are missing, by the
encoder that `encode` left, which stands still: right for every encoder, and what predictions are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from imer_ray.config.slices import Classify, Joint, Mixture, Recognise
from imer_ray.data.batch import Batch
from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import MODALITIES
from imer_ray.devices import sent
from imer_ray.models.model import StandardisedEncoder
from imer_ray.stages.context import Context
from imer_ray.training.latents import Latents, encode_split, load_dataset
from imer_ray.training.loaders import load_encoder
from imer_ray.training.losses import has_label, training_patterns, under_patterns


@dataclass(frozen=True)
class Reading:
    """Of B clips: latents x [B, M, L, D] and frames [B, M, L], of which those of available [B, M] modalities count."""

    x: Tensor
    frames: Tensor
    available: Tensor

    @property
    def num_frames(self) -> Tensor:
        """[B]: how many frames count, of all modalities together."""
        return (self.frames & self.available[..., None]).sum((1, 2))


class Readings(Protocol):
    """What is missing of training and of validation clips."""

    def training(self, rows: Tensor, share: slice, generator: torch.Generator, complete: bool = True) -> Reading:
        """Of a share of the training clips ``rows`` [B]; what is missing is drawn for all of them, and may be nothing
        where ``complete`` data shall be seen, too."""
        ...

    def more(self, read: Reading, rows: Tensor, share: slice, generator: torch.Generator) -> Reading:
        """Of the same share of training clips all that ``read`` has, and something beside it, which may be nothing."""
        ...

    def validation(self) -> Iterator[tuple[str, Tensor, Reading]]:
        """Each setting's name, the labelled validation clips [n] of which it leaves something, and what it leaves."""
        ...


@dataclass(frozen=True)
class Modalities:
    """Every missing pattern, as `training_patterns` and `under_patterns` have them; latents of the splits ``train`` and
    ``valid``."""

    data: Mapping[str, Latents]

    def training(self, rows: Tensor, share: slice, generator: torch.Generator, complete: bool = True) -> Reading:
        latents = self.data["train"]
        rows = sent(rows, latents.x.device)
        available = training_patterns(latents.recorded[rows], generator, complete)[share]
        return _reading(latents, rows[share], available)

    def more(self, read: Reading, rows: Tensor, share: slice, generator: torch.Generator) -> Reading:
        other = self.training(rows, share, generator)
        return Reading(read.x, read.frames, read.available | other.available)

    def validation(self) -> Iterator[tuple[str, Tensor, Reading]]:
        latents = self.data["valid"]
        known = has_label(latents.labels).cpu()
        for name, rows, available in under_patterns(latents.recorded, lambda _: known):
            yield name, rows, _reading(latents, rows, available)


class Frames:
    """Frames missing as under a protocol of frames (`imer_ray.data.missing_frames.Frames`): drawn anew whenever a
    training clip is read, frozen for validation clips."""

    def __init__(self, protocol: Any, dataset: Dataset, encoder: StandardisedEncoder, device: str, seed: int) -> None:
        self.protocol, self.dataset, self.encoder, self.device = protocol, dataset, encoder, device
        self.valid = {
            setting: encode_split(encoder, dataset.under(protocol, setting, "valid", seed), "valid", device)
            for setting in protocol.settings()
        }

    def training(self, rows: Tensor, share: slice, generator: torch.Generator, complete: bool = True) -> Reading:
        left = self.protocol.training_masks(self.dataset.frames("train", rows), generator, complete)
        batch = self.dataset.batch("train", rows[share])
        return self._encoded(batch.with_frames({m: left[m][share] for m in MODALITIES}).to(self.device))

    def more(self, read: Reading, rows: Tensor, share: slice, generator: torch.Generator) -> Reading:
        """All frames: what any two drawings leave together would have to be encoded as well."""
        return self._encoded(self.dataset.batch("train", rows[share]).to(self.device))

    def validation(self) -> Iterator[tuple[str, Tensor, Reading]]:
        for setting, latents in self.valid.items():
            rows = (has_label(latents.labels) & latents.recorded.any(1)).nonzero().squeeze(1)
            if len(rows):
                yield setting, rows, _reading(latents.to(self.device), rows, latents.recorded[rows])

    @torch.no_grad()
    def _encoded(self, batch: Batch) -> Reading:
        x, frames = self.encoder(batch.features, batch.frames)
        return Reading(x, frames, batch.recorded)


def load_readings(
    config: Recognise | Joint | Classify | Mixture, context: Context, data: Mapping[str, Latents]
) -> Readings:
    """Of latents of the splits ``train`` and ``valid``; of the clips themselves where frames of them are missing."""
    if config.protocol is None:
        return Modalities(data)
    assert config.encoder is not None
    encoder = load_encoder(config.encoder.build(), context)
    return Frames(config.protocol.build(), load_dataset(config), encoder, context.device, config.seed)


def _reading(latents: Latents, rows: Tensor, available: Tensor) -> Reading:
    return Reading(latents.x[rows], latents.frames[rows], available.to(latents.x.device))
