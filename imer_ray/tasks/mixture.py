"""Stage `mixture`: a Gaussian mixture of latents and label by expectation maximisation, incomplete clips included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from safetensors.torch import save_file
from torch import Tensor

from imer_ray.config.slices import Mixture as Settings
from imer_ray.models.expectation_maximisation import InverseWishart, fit
from imer_ray.models.frame_mixture import FrameMixture, fit_reading
from imer_ray.models.gaussian_mixture import patterns
from imer_ray.models.mixture import Components, MixtureRecogniser
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.latents import Latents
from imer_ray.training.loaders import load_latents, load_shape
from imer_ray.training.losses import has_label
from imer_ray.training.readings import Reading, Readings, load_readings
from imer_ray.training.seeding import seeded

PRIOR_CLIPS = 20.0  # that the prior of covariances counts where single frames are read; chosen on synthetic clips
Recogniser = MixtureRecogniser | FrameMixture


@reads(Settings)
def run(config: Settings, context: Context) -> dict[str, float]:
    """Fit one mixture per number of principal components and of Gaussians; keep the one that reads the validation
    clips' labels best, over all missing patterns, or over the rates of the protocol of missing frames if there is one.
    """
    data = {split: load_latents(context, split).to("cpu") for split in ("train", "valid")}
    readings = load_readings(config, replace(context, device="cpu"), data)
    fitted: Callable[..., Recogniser] = fit_recogniser if config.protocol is None else fit_by_frames
    label_kind = load_shape(context)["label_kind"]
    best: tuple[float, Recogniser] | None = None
    tried = [(rank, count) for rank in config.mixture.ranks for count in config.mixture.num_components]
    for done, (rank, count) in enumerate(tried, start=1):
        generator = seeded(config.seed, "mixture", rank, count)
        recogniser = fitted(data["train"], rank, count, generator)
        loss = label_loss(recogniser, readings, data["valid"], label_kind)
        if best is None or loss < best[0]:
            best = loss, recogniser
        context.report(done, len(tried), {"valid_loss": best[0]})
    assert best is not None
    loss, recogniser = best
    if context.rank == 0:
        save_file(weights(recogniser), context.folder / "recogniser.safetensors")
    law = law_of(recogniser)
    return {"valid_loss": loss, "components": float(len(law.weights)), "rank": float(law.rank)}


def law_of(recogniser: Recogniser) -> MixtureRecogniser:
    return recogniser.law if isinstance(recogniser, FrameMixture) else recogniser


def fit_recogniser(latents: Latents, rank: int, num_components: int, generator: torch.Generator) -> MixtureRecogniser:
    """A mixture of training clips; a clip without label tells of its modalities only."""
    _, M, L, D = latents.x.shape
    components = Components(M, L * D, min(rank, L * D)).fit(latents.x, latents.recorded, latents.frames)
    recogniser = MixtureRecogniser(components, num_components)
    _fit_law(recogniser, latents, generator)
    return recogniser.eval()


def fit_by_frames(latents: Latents, rank: int, num_components: int, generator: torch.Generator) -> FrameMixture:
    """As `fit_recogniser`, for clips of which frames are missing; training clips have all that they recorded."""
    _, M, L, D = latents.x.shape
    recogniser = FrameMixture(MixtureRecogniser(Components(M, L * D, min(rank, L * D)), num_components), L)
    fit_reading(recogniser.law.components, recogniser.reading, latents.x, latents.recorded, latents.frames)
    prior = InverseWishart.of_clips(PRIOR_CLIPS, recogniser.law.means.shape[1], num_components)
    _fit_law(recogniser.law, latents, generator, prior)
    return recogniser.eval()


def _fit_law(
    recogniser: MixtureRecogniser, latents: Latents, generator: torch.Generator, prior: InverseWishart | None = None
) -> None:
    z, present = recogniser.observed(latents.x, latents.recorded, latents.frames)
    labelled = has_label(latents.labels)
    labels = latents.labels[labelled]
    recogniser.label_centre.copy_(labels.mean())
    recogniser.label_scale.copy_(labels.std(correction=0).clamp(min=1e-6))
    z[labelled, -1] = (labels - recogniser.label_centre) / recogniser.label_scale
    present[:, -1] = labelled
    some = present.any(1)
    mixture = fit(z[some].double(), present[some], len(recogniser.weights), generator, prior)
    for name in ("weights", "means", "covariances"):
        getattr(recogniser, name).copy_(getattr(mixture, name))


def label_loss(recogniser: Recogniser, readings: Readings, latents: Latents, label_kind: str) -> float:
    """Mean over settings and clips of -ln p(label | available); of its sign's probability where labels are binary."""
    total, law = [], law_of(recogniser)
    for _, rows, read in readings.validation():
        labels = (latents.labels[rows] - law.label_centre) / law.label_scale
        zero = -law.label_centre / law.label_scale
        for clips, weight, mean, std in _label(recogniser, read):
            if label_kind == "binary":
                sign = latents.labels[rows][clips].sign()[:, None]
                likelihood = torch.special.ndtr(sign * (mean - zero) / std)
            else:
                likelihood = torch.distributions.Normal(mean, std).log_prob(labels[clips, None]).exp()
            total.append(-(weight * likelihood).sum(1).clamp(min=1e-12).log())
    return float(torch.cat(total).mean())


def _label(recogniser: Recogniser, read: Reading) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Some of the clips [n], and their labels' mixtures: weights and means [n, K], deviations [K] or [n, K]."""
    if isinstance(recogniser, FrameMixture):
        yield torch.arange(len(read.x)), *recogniser.label(read.x, read.available, read.frames)
        return
    z, present = recogniser.observed(read.x, read.available, read.frames)
    for some, clips in patterns(present):
        yield clips, *recogniser.mixture.condition(z[clips], some).label()
