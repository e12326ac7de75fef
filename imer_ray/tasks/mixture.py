"""Stage `mixture`: a Gaussian mixture of latents and label by expectation maximisation, incomplete clips included."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from imer_ray.config.slices import Mixture as Settings
from imer_ray.models.expectation_maximisation import fit
from imer_ray.models.mixture import Components, MixtureRecogniser, patterns
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.latents import Latents
from imer_ray.training.loaders import load_latents, load_shape
from imer_ray.training.loop import seeded
from imer_ray.training.losses import has_label, under_patterns


@reads(Settings)
def run(config: Settings, context: Context) -> dict[str, float]:
    """Fit one mixture per number of principal components and of Gaussians; keep the one that reads the validation
    clips' labels best, over all missing patterns."""
    data = {split: load_latents(context, split).to("cpu") for split in ("train", "valid")}
    label_kind = load_shape(context)["label_kind"]
    best: tuple[float, MixtureRecogniser] | None = None
    tried = [(rank, count) for rank in config.mixture.ranks for count in config.mixture.num_components]
    for done, (rank, count) in enumerate(tried, start=1):
        recogniser = fit_recogniser(data["train"], rank, count, seeded(config.seed, "mixture", rank, count))
        loss = label_loss(recogniser, data["valid"], label_kind)
        if best is None or loss < best[0]:
            best = loss, recogniser
        context.report(done, len(tried), {"valid_loss": best[0]})
    assert best is not None
    loss, recogniser = best
    if context.rank == 0:
        save_file(weights(recogniser), context.folder / "recogniser.safetensors")
    return {"valid_loss": loss, "components": float(len(recogniser.weights)), "rank": float(recogniser.rank)}


def fit_recogniser(latents: Latents, rank: int, num_components: int, generator: torch.Generator) -> MixtureRecogniser:
    """A mixture of training clips; a clip without label tells of its modalities only."""
    _, M, L, D = latents.x.shape
    components = Components(M, L * D, min(rank, L * D)).fit(latents.x, latents.recorded, latents.frames)
    recogniser = MixtureRecogniser(components, num_components)
    z, present = recogniser.observed(latents.x, latents.recorded, latents.frames)
    labelled = has_label(latents.labels)
    labels = latents.labels[labelled]
    recogniser.label_centre.copy_(labels.mean())
    recogniser.label_scale.copy_(labels.std(correction=0).clamp(min=1e-6))
    z[labelled, -1] = (labels - recogniser.label_centre) / recogniser.label_scale
    present[:, -1] = labelled
    some = present.any(1)
    mixture = fit(z[some].double(), present[some], num_components, generator)
    for name in ("weights", "means", "covariances"):
        getattr(recogniser, name).copy_(getattr(mixture, name))
    return recogniser.eval()


def label_loss(recogniser: MixtureRecogniser, latents: Latents, label_kind: str) -> float:
    """Mean over patterns and clips of -ln p(label | available); of its sign's probability where labels are binary."""
    total, known = [], has_label(latents.labels)
    for _, rows, available in under_patterns(latents.recorded, lambda available: known):
        z, present = recogniser.observed(latents.x[rows], available, latents.frames[rows])
        labels = (latents.labels[rows] - recogniser.label_centre) / recogniser.label_scale
        zero = -recogniser.label_centre / recogniser.label_scale
        for some, clips in patterns(present):
            weight, mean, std = recogniser.mixture.condition(z[clips], some).label()
            if label_kind == "binary":
                sign = latents.labels[rows][clips].sign()[:, None]
                likelihood = torch.special.ndtr(sign * (mean - zero) / std)
            else:
                likelihood = torch.distributions.Normal(mean, std).log_prob(labels[clips, None]).exp()
            total.append(-(weight * likelihood).sum(1).clamp(min=1e-12).log())
    return float(torch.cat(total).mean())
