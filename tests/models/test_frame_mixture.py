"""A mixture that is told any frames: against dense linear algebra, and how near it comes to the optimum."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from imer_ray.data.missing import MODALITIES
from imer_ray.data.missing_frames import Frames
from imer_ray.data.synthetic import Synthetic
from imer_ray.models.frame_mixture import FrameMixture, eliminated
from imer_ray.models.mixture import Components, MixtureRecogniser
from imer_ray.models.model import build_recogniser_of
from imer_ray.tasks.mixture import fit_by_frames
from imer_ray.training.latents import Latents
from imer_ray.training.seeding import seeded

M, L, D, R, K = 3, 4, 3, 2, 3
P, F = L * D, M * R + 1


@dataclass(frozen=True)
class World:
    """A mixture of all frames x [M P] and a label as dense matrices, and the recogniser that says the same."""

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor
    recogniser: FrameMixture

    def label(self, x, known):
        """Of one clip x [M P], of which the numbers ``known`` [M P] are told: weights, means, deviations [K]."""
        o = known.nonzero().squeeze(1)
        log_joint, means, variances = [], [], []
        for w, mean, c in zip(self.weights, self.means, self.covariances, strict=True):
            gain = torch.linalg.solve(c[o[:, None], o], c[o, -1]) if len(o) else x.new_zeros(0)
            means.append(mean[-1] + gain @ (x[o] - mean[o]))
            variances.append(c[-1, -1] - gain @ c[o, -1])
            told = MultivariateNormal(mean[o], c[o[:, None], o]).log_prob(x[o]) if len(o) else x.new_zeros(())
            log_joint.append(w.log() + told)
        return torch.stack(log_joint).softmax(0), torch.stack(means), torch.stack(variances).sqrt()


def make_world(seed):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    recogniser = FrameMixture(MixtureRecogniser(Components(M, P, R), K), L).double()
    own, reading = recogniser.law, recogniser.reading
    loadings, noises = [], []
    for m in range(M):
        root = normal(D, D)
        noise = root @ root.T / D + 0.1 * torch.eye(D, dtype=torch.float64)
        # Orthogonal where the noise is white, as those that are fitted.
        white = torch.linalg.cholesky(noise)
        scale = 1 + torch.rand(R, generator=g, dtype=torch.float64)
        each = (torch.linalg.qr(normal(P, R)).Q * scale).unflatten(0, (L, D))
        loading = (white @ each).flatten(0, 1)
        reading.evidence[m] = torch.linalg.solve(noise, white @ each).flatten(0, 1)
        reading.information[m] = each.mT @ each
        reading.noise[m] = 1 / scale**2
        loadings.append(loading)
        noises.append(torch.block_diag(*[noise] * L))
    own.components.centre.copy_(normal(M, P))
    root = normal(K, F, F)
    own.means.copy_(1.5 * normal(K, F))
    own.covariances.copy_(root @ root.mT / F + torch.diag(torch.cat([reading.noise.flatten(), normal(1) ** 2])))
    own.weights.copy_((0.2 + torch.rand(K, generator=g, dtype=torch.float64)).log().softmax(0))
    W = torch.block_diag(*loadings, torch.eye(1, dtype=torch.float64))
    noise = torch.block_diag(*noises, torch.zeros(1, 1, dtype=torch.float64))
    law = own.covariances - torch.diag(torch.cat([reading.noise.flatten(), torch.zeros(1, dtype=torch.float64)]))
    means = own.means @ W.T
    means[:, :-1] += own.components.centre.flatten()
    return World(own.weights, means, W @ law @ W.T + noise, recogniser)


@given(st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_what_any_frames_say_of_the_label_is_its_exact_posterior(seed):
    world, g = make_world(seed), torch.Generator().manual_seed(seed)
    latents = 2 * torch.randn(6, M, L, D, generator=g, dtype=torch.float64)
    frames = torch.rand(6, M, L, generator=g) > 0.5
    frames[0], frames[1, 0], frames[2] = True, False, False
    available = torch.ones(6, M, dtype=torch.bool)
    available[3, 1] = False
    found = world.recogniser.label(latents, available, frames)
    for i in range(6):
        known = (frames[i] & available[i, :, None]).repeat_interleave(D, 1).flatten()
        for one, expected in zip(found, world.label(latents[i].flatten(), known), strict=True):
            torch.testing.assert_close(one[i], expected, rtol=1e-10, atol=1e-10)


def test_of_whole_modalities_it_says_what_the_mixture_says_of_their_coordinates():
    world = make_world(5)
    own = world.recogniser.law
    g = torch.Generator().manual_seed(2)
    latents = 2 * torch.randn(6, M, L, D, generator=g, dtype=torch.float64)
    own.components.basis.copy_(world.recogniser.reading.evidence * world.recogniser.reading.noise[:, None])
    frames = torch.ones(6, M, L, dtype=torch.bool)
    for pattern in ([True, False, True], [True, True, True], [False, True, False]):
        available = torch.tensor(pattern).expand(6, -1)
        expected = own(latents, available, frames & available[..., None])
        torch.testing.assert_close(world.recogniser(latents, available, frames), expected, rtol=1e-9, atol=1e-9)


def test_elimination_solves_what_factors_solve():
    g = torch.Generator().manual_seed(1)
    root, right = (torch.randn(4, 2, 5, n, generator=g, dtype=torch.float64) for n in (5, 2))
    matrix = root @ root.mT + torch.eye(5, dtype=torch.float64)
    solved, log_determinant = eliminated(matrix, right)
    torch.testing.assert_close(matrix @ solved, right)
    torch.testing.assert_close(log_determinant, torch.logdet(matrix))


def features_as_latents(dataset, split):
    """Synthetic features, padded to one width, stand for latents: most directions then vary in nothing at all."""
    batch = dataset.batch(split, torch.arange(dataset.size(split)))
    width = max(dataset.dims.values())
    x = torch.stack([torch.nn.functional.pad(batch.features[m], (0, width - dataset.dims[m])) for m in MODALITIES], 1)
    frames = torch.stack([batch.frames[m] for m in MODALITIES], 1)
    return batch, Latents(x=x, frames=frames, recorded=batch.recorded, labels=batch.labels)


@pytest.fixture(scope="module")
def fitted():
    """With the true size given."""
    world = Synthetic(num_test=6000)
    return world, fit_by_frames(features_as_latents(world.load(), "train")[1], 3, 4, seeded(0, "fit"))


@pytest.mark.parametrize("kind", ["independent", "joint", "blocks"])
def test_comes_within_a_point_of_the_bayes_optimum_where_most_frames_are_missing(fitted, kind):
    """A standard error of 6,000 paired clips is below 0.3 points."""
    world, recogniser = fitted
    batch, latents = features_as_latents(world.load().under(Frames(kind, (0.9,)), "0.9", "test", 1), "test")
    assert (latents.frames.sum(2) == 1).all()
    positive = recogniser(latents.x, latents.recorded, latents.frames) > 0
    best, truth = world.oracle().predict(batch, batch.recorded).median > 0, batch.labels > 0
    assert (best == truth).float().mean() - (positive == truth).float().mean() < 0.01


def test_absent_frames_are_not_read_and_a_clip_is_answered_as_it_would_be_alone(fitted):
    world, recogniser = fitted
    left = world.load().under(Frames(rates=(0.6,)), "0.6", "valid", 1)
    _, latents = features_as_latents(left, "valid")
    expected = recogniser(latents.x, latents.recorded, latents.frames)
    spoilt = latents.x.masked_fill(~latents.frames[..., None], 100.0)
    assert torch.equal(recogniser(spoilt, latents.recorded, latents.frames), expected)
    alone = [
        recogniser(latents.x[i : i + 1], latents.recorded[i : i + 1], latents.frames[i : i + 1]) for i in range(20)
    ]
    torch.testing.assert_close(torch.cat(alone), expected[:20])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(recogniser(latents.x, latents.recorded, latents.frames), expected)


def test_weights_make_the_same_recogniser_again(fitted):
    world, recogniser = fitted
    tensors = recogniser.state_dict()
    again = build_recogniser_of(
        None, {f"recogniser.{name}": x for name, x in tensors.items()}, MODALITIES, "recogniser."
    )
    again.load_state_dict(tensors)
    _, latents = features_as_latents(world.load(), "valid")
    pattern = again.for_pattern((True, True, True))
    expected = recogniser(latents.x, latents.recorded, latents.frames)
    assert torch.equal(again(latents.x, latents.recorded, latents.frames), expected)
    assert torch.equal(pattern(latents.x, latents.frames), expected)
    assert again.is_mixture()
    again.reading.information[0, 0] *= -1
    assert not again.is_mixture()


def test_frames_absent_at_an_end_are_padding_only_where_training_clips_had_some(fitted):
    reading = fitted[1].reading
    assert not reading.padding.any()
    frames = torch.ones(2, 3, 8, dtype=torch.bool)
    frames[0, :, 6:] = frames[:, 1] = False
    frames[1, 0, 6:] = False
    assert torch.equal(reading.known(frames), frames)
    padded = FrameMixture(fitted[1].law, 8).reading
    padded.padding[:, 5:] = True
    known = padded.known(frames)
    assert known[0, [0, 2]].all(), "no modality has them"
    assert torch.equal(known[1], frames[1]), "another modality has them"
    assert not known[:, 1].any(), "nothing is told of a modality that is missing"


def test_a_modality_that_was_never_recorded_or_has_few_clips_tells_what_it_can():
    g = torch.Generator().manual_seed(3)
    x = torch.randn(40, 3, 4, 5, generator=g)
    recorded = torch.ones(40, 3, dtype=torch.bool)
    recorded[:, 1], recorded[3:, 2] = False, False
    frames = recorded[..., None].expand(-1, -1, 4)
    latents = Latents(x=x * frames[..., None], frames=frames, recorded=recorded, labels=x[:, 0, 0, 0])
    recogniser = fit_by_frames(latents, 4, 1, seeded(0, "fit"))
    found = recogniser(latents.x, recorded, frames)
    assert found.isfinite().all() and recogniser.is_mixture()
    assert not recogniser.reading.evidence[1].any() and (recogniser.reading.evidence[2] != 0).any(0).sum() == 2
