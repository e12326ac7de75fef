"""A recogniser that recovers missing modalities, wired from its parts.

Shapes: B clips, M = 3 modalities (l, a, v), L frames, D latent features. ``latents`` [B, M, L, D] are standardised
(zero mean, unit variance per modality and feature over the training clips); ``available`` [B, M] and ``frames``
[B, M, L] are True where something is present.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES, modality_mask, targets_given, with_modalities
from imer_ray.models.adversary import Reconstructor
from imer_ray.models.frame_mixture import FrameMixture
from imer_ray.models.mixture import MixtureRecogniser
from imer_ray.models.parts import Parts
from imer_ray.models.recovery import Recovery, build_filling
from imer_ray.models.refiner import refine


class StandardisedEncoder(nn.Module):
    """The projections of every modality, scaled to zero mean and unit variance per modality and feature."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("mean", torch.zeros(len(MODALITIES), 1, latent_dim))
        self.register_buffer("std", torch.ones(len(MODALITIES), 1, latent_dim))

    def forward(self, features: Mapping[str, Tensor], frames: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Features {m: [B, L_m, D_m]} to standardised latents [B, M, L, D], zero at absent frames, and frames [B, M,
        L]."""
        latents, present = self.encoder(features, frames)
        return ((latents - self.mean) / self.std) * present[..., None], present

    @torch.no_grad()
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set mean and standard deviation from the present frames of the given (training) batches."""
        count = total = square = torch.zeros(())
        for batch in batches:
            latents, present = self.encoder(batch.features, batch.frames)
            weight = present[..., None].to(torch.float64)
            count = count + weight.sum((0, 2))
            total = total + (latents * weight).sum((0, 2))
            square = square + (latents.double().square() * weight).sum((0, 2))
        count = count.clamp(min=1)
        mean = total / count
        variance = (square / count - mean.square()).clamp(min=0)
        std = torch.where(variance > 1e-12, variance.sqrt(), torch.ones_like(variance))
        self.mean.copy_(mean[:, None])
        self.std.copy_(std[:, None])


class Recogniser(nn.Module):
    """Refiners for recovered modalities, fusion, reconstructor and head, in the space of standardised latents.

    Refiners and reconstructor are left out where they are None. ``missing`` [M, D] is a learned mark added wherever a
    modality was not available, so that the fusion can tell what was recovered (or left zero) from what was recorded.
    What is not ``recoverable`` is left zero, by the refiners, too.
    """

    mean: Tensor
    std: Tensor
    recoverable: Tensor

    def __init__(
        self,
        fusion: nn.Module,
        head: nn.Module,
        refiners: nn.ModuleList | None,
        latent_dim: int,
        reconstructor: nn.Module | None = None,
        recoverable: Iterable[str] = MODALITIES,
    ) -> None:
        super().__init__()
        self.fusion, self.head, self.refiners, self.reconstructor = fusion, head, refiners, reconstructor
        self.register_buffer("recoverable", modality_mask(recoverable), persistent=False)
        self.missing = nn.Parameter(torch.zeros(len(MODALITIES), latent_dim))
        self.register_buffer("mean", torch.zeros(len(MODALITIES), 1, latent_dim))
        self.register_buffer("std", torch.ones(len(MODALITIES), 1, latent_dim))

    def refine(self, latents: Tensor, available: Tensor) -> Tensor:
        """Pass the recovered modalities through their refiners; recorded ones stay as they are."""
        return latents if self.refiners is None else refine(self.refiners, latents, available, self.recoverable)

    def fuse(self, latents: Tensor, available: Tensor, frames: Tensor) -> Tensor:
        """Fused features [B, F] of filled latents; a filled modality has the frames of the modalities that were
        available."""
        recorded = frames & available[..., None]
        frames = torch.where(available[..., None], frames, recorded.any(1, keepdim=True))
        return self._fuse_marked(latents + torch.where(available[..., None], 0.0, self.missing)[:, :, None], frames)

    def _fuse_marked(self, marked: Tensor, frames: Tensor) -> Tensor:
        return self.fusion((marked * self.std + self.mean) * frames[..., None], frames)

    def answer(self, marked: Tensor, frames: Tensor, is_complete: bool) -> Tensor:
        """As `classify`, where the marks of what was missing are in the latents and a filled modality has its frames;
        ``is_complete``: nothing was missing of any clip."""
        features = self._fuse_marked(marked, frames)
        if self.reconstructor is not None and not is_complete:
            features = self.reconstructor(features)
        return self.head(features)

    def reconstruct(self, features: Tensor, available: Tensor) -> Tensor:
        """Features [B, F] as they would be of complete data; those of complete clips stay as they are."""
        if self.reconstructor is None:
            return features
        return torch.where(available.all(1, keepdim=True), features, self.reconstructor(features))

    def classify(self, latents: Tensor, available: Tensor, frames: Tensor) -> Tensor:
        """Predictions [B] from filled latents."""
        return self.head(self.reconstruct(self.fuse(latents, available, frames), available))

    def forward(self, latents: Tensor, available: Tensor, frames: Tensor) -> Tensor:
        """Predictions [B] from latents [B, M, L, D] in which missing modalities are recovered or zero."""
        return self.classify(self.refine(latents, available), available, frames)

    def for_pattern(self, available: tuple[bool, ...]) -> PatternRecogniser:
        """The same where every clip has these modalities."""
        return PatternRecogniser(self, available)


class PatternRecogniser(nn.Module):
    """`Recogniser` where every clip has the same modalities available."""

    absent: Tensor

    def __init__(self, recogniser: Recogniser, available: tuple[bool, ...]) -> None:
        super().__init__()
        self.recogniser, self.available = recogniser, available
        self.recovered = targets_given(available, recogniser.recoverable.tolist())
        absent = [[[0.0]] if there else [[1.0]] for there in available]
        self.register_buffer("absent", torch.tensor(absent, device=recogniser.missing.device), persistent=False)

    def refine(self, latents: Tensor) -> Tensor:
        """Latents [B, M, L, D] with the recovered modalities passed through their refiners."""
        if self.recogniser.refiners is None or not self.recovered:
            return latents
        refiners = self.recogniser.refiners
        return with_modalities(latents, {m: refiners[m](latents[:, m]).to(latents.dtype) for m in self.recovered})

    def forward(self, latents: Tensor, frames: Tensor) -> Tensor:
        """Predictions [B] from latents [B, M, L, D] and frames [B, M, L], which are absent of what is missing."""
        own, recogniser = frames.any(1), self.recogniser
        whole = with_modalities(frames, {m: own for m, there in enumerate(self.available) if not there})
        marked = self.refine(latents) + self.absent * recogniser.missing[:, None]
        return recogniser.answer(marked, whole, all(self.available))


class EmotionModel(nn.Module):
    """Encoder, recovery (None leaves missing modalities zero) and recogniser; `imer_ray.models.pattern_model` makes
    predictions of them."""

    def __init__(self, encoder: StandardisedEncoder, recovery: Recovery | None, recogniser: nn.Module) -> None:
        super().__init__()
        self.encoder, self.recovery, self.recogniser = encoder, recovery, recogniser


def build_model(parts: Parts, shape: Mapping[str, Any], trained: Mapping[str, Tensor]) -> EmotionModel:
    """An untrained model for data of a shape (``dims``, ``lengths`` and what is ``recoverable``); of the recogniser it
    has the parts that the trained weights of the whole model are for."""
    encoder = build_encoder(parts.encoder, shape["dims"], shape["lengths"])
    num_frames = parts.encoder.length(min(shape["lengths"].values()))
    recovery = build_filling(parts, num_frames, shape["recoverable"])
    recogniser = build_recogniser_of(parts, trained, shape["recoverable"], "recogniser.")
    return EmotionModel(encoder, recovery, recogniser)


def build_encoder(encoder: Any, dims: Mapping[str, int], lengths: Mapping[str, int]) -> StandardisedEncoder:
    """The network of an encoder component, for features of the given widths and lengths."""
    return StandardisedEncoder(encoder.build(dims, lengths), encoder.latent_dim)


def build_recogniser(
    latent_dim: int,
    fusion: Any,
    refiner: Any = None,
    with_reconstructor: bool = False,
    recoverable: Iterable[str] = MODALITIES,
) -> Recogniser:
    """The networks of a fusion component, fusion and head, and, where missing modalities are recovered, one of a
    ``refiner`` component per modality; a reconstructor of the fused features where asked for."""
    refiners = None if refiner is None else build_refiners(refiner, latent_dim)
    encoders, head = fusion.build(latent_dim), fusion.build_head(latent_dim)
    reconstructor = Reconstructor(head.num_features) if with_reconstructor else None
    return Recogniser(encoders, head, refiners, latent_dim, reconstructor, recoverable)


def build_recogniser_of(
    parts: Parts, trained: Mapping[str, Tensor], recoverable: Iterable[str], prefix: str = ""
) -> Recogniser | MixtureRecogniser | FrameMixture:
    """A recogniser with the parts that trained weights (their names after ``prefix``) are for."""
    found = {name.removeprefix(prefix).partition(".")[0] for name in trained if name.startswith(prefix)}
    if "reading" in found:
        return FrameMixture.like(trained, prefix)
    if "covariances" in found:
        return MixtureRecogniser.like(trained, prefix)
    refiner = parts.refiner if "refiners" in found else None
    return build_recogniser(parts.encoder.latent_dim, parts.fusion, refiner, "reconstructor" in found, recoverable)


def build_refiners(refiner: Any, latent_dim: int) -> nn.ModuleList:
    """One network of a refiner component per modality."""
    return nn.ModuleList(refiner.build(latent_dim) for _ in MODALITIES)
