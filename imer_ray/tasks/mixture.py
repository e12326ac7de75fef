"""Stage `mixture`: a Gaussian mixture of latents and label by expectation maximisation, incomplete clips included."""

from __future__ import annotations

import math

import torch
from safetensors.torch import save_file
from torch import Tensor

from imer_ray.config.slices import Mixture as Settings
from imer_ray.models.mixture import Components, Mixture, MixtureRecogniser, patterns
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.latents import Latents
from imer_ray.training.loaders import load_latents, load_shape
from imer_ray.training.loop import seeded
from imer_ray.training.losses import has_label, under_patterns

NUM_STARTS = 4  # EM finds a local optimum; the best of so many is kept
NUM_ITERATIONS = 80
TOLERANCE = 1e-4  # of the mean log-likelihood of a clip, below which EM has converged


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


def fit(z: Tensor, present: Tensor, num_components: int, generator: torch.Generator) -> Mixture:
    """The best of several mixtures of z [N, F], of which ``present`` [N, F] was seen, by posterior mode.

    Covariances have the inverse-Wishart prior of Fraley and Raftery, Bayesian Regularization for Normal Mixture
    Estimation and Model-Based Clustering, Journal of Classification 24 (2007), section 3.2: F + 2 degrees of freedom,
    and a scale that gives every component its share K^(-2/F) of the whole variance.
    """
    found = [_climb(z, present, _start(z, present, num_components, generator)) for _ in range(NUM_STARTS)]
    return max(found, key=lambda pair: pair[0])[1]


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


def _start(z: Tensor, present: Tensor, num_components: int, generator: torch.Generator) -> Mixture:
    """Centres far from each other (Arthur and Vassilvitskii, k-means++, SODA 2007), covariances of a component's
    share."""
    filled = z * present
    size = z.shape[1]
    centres = filled[torch.randint(len(z), (1,), generator=generator)]
    while len(centres) < num_components:
        distance = torch.cdist(filled, centres).amin(1).square() + 1e-12
        centres = torch.cat([centres, filled[torch.multinomial(distance, 1, generator=generator)]])
    covariance = torch.eye(size, dtype=z.dtype) * num_components ** (-2 / size)
    return Mixture(
        torch.full((num_components,), 1 / num_components, dtype=z.dtype),
        centres,
        covariance.repeat(num_components, 1, 1),
    )


def _climb(z: Tensor, present: Tensor, mixture: Mixture) -> tuple[float, Mixture]:
    """EM until the log-posterior stands still; that and the mixture."""
    groups = [(pattern, z[rows]) for pattern, rows in patterns(present)]
    count, size = mixture.means.shape
    freedom, scale = size + 2, torch.eye(size, dtype=z.dtype) * count ** (-2 / size)
    before = -math.inf
    for _ in range(NUM_ITERATIONS):
        log_likelihood = torch.zeros((), dtype=z.dtype)
        weight = torch.zeros(count, dtype=z.dtype)
        first = torch.zeros(count, size, dtype=z.dtype)
        second = torch.zeros(count, size, size, dtype=z.dtype)
        for pattern, rows in groups:
            known = mixture.condition(rows, pattern)
            log_likelihood += known.log_joint.logsumexp(1).sum()
            r = known.log_joint.softmax(1)
            filled = rows[:, None].repeat(1, count, 1)
            filled[:, :, known.missing] = known.means
            weight += r.sum(0)
            first += torch.einsum("nk,nkf->kf", r, filled)
            second += torch.einsum("nk,nkf,nkg->kfg", r, filled, filled)
            u = known.missing
            second[:, u[:, None], u] += r.sum(0)[:, None, None] * known.covariances
        precision = torch.linalg.inv(mixture.covariances)
        prior = -0.5 * (
            (freedom + size + 1) * torch.linalg.slogdet(mixture.covariances).logabsdet + (precision * scale).sum((1, 2))
        )
        posterior = float((log_likelihood + prior.sum()) / len(z))
        means = first / weight.clamp(min=1e-8)[:, None]
        scatter = second - weight[:, None, None] * means[:, :, None] * means[:, None]
        covariances = (scale + scatter) / (freedom + weight + size + 1)[:, None, None]
        mixture = Mixture((weight + 1) / (weight + 1).sum(), means, (covariances + covariances.mT) / 2)
        if posterior - before < TOLERANCE:
            break
        before = posterior
    return posterior, mixture
