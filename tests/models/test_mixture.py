"""The Gaussian mixture of modalities and label: closed forms, EM with missing numbers, nearness to Bayes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from imer_ray.data.missing import PATTERNS
from imer_ray.data.synthetic import Synthetic
from imer_ray.models.expectation_maximisation import InverseWishart, climb, fit, start
from imer_ray.models.gaussian_mixture import Mixture, median, patterns
from imer_ray.models.mixture import Components, MixtureRecogniser
from imer_ray.tasks.mixture import fit_recogniser
from imer_ray.training.latents import Latents


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def mixture():
    means = torch.tensor([[2.0, 0.0, -1.0], [-2.0, 1.0, 1.0]], dtype=torch.float64)
    roots = torch.randn(2, 3, 3, generator=generator(), dtype=torch.float64)
    covariances = roots @ roots.mT + 0.5 * torch.eye(3, dtype=torch.float64)
    return Mixture(torch.tensor([0.3, 0.7], dtype=torch.float64), means, covariances)


def sample(mixture, count, seed=0):
    g = generator(seed)
    k = torch.multinomial(mixture.weights, count, replacement=True, generator=g)
    noise = torch.randn(count, mixture.means.shape[1], generator=g, dtype=torch.float64)
    return mixture.means[k] + torch.einsum("nij,nj->ni", torch.linalg.cholesky(mixture.covariances)[k], noise)


def log_density(mixture, z):
    parts = [
        math.log(w) + stats.multivariate_normal(mean, covariance).logpdf(z)
        for w, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True)
    ]
    return torch.as_tensor(np.array(parts)).T.logsumexp(1)


def test_a_conditional_times_its_evidence_is_the_joint_density(mixture):
    z = sample(mixture, 50)
    for present in ([True, False, True], [False, False, True], [True, True, False]):
        known = mixture.condition(z, torch.tensor(present))
        rest = z[:, known.missing]
        parts = torch.stack(
            [
                torch.distributions.MultivariateNormal(known.means[:, k], known.covariances[k]).log_prob(rest)
                for k in range(2)
            ],
            dim=1,
        )
        torch.testing.assert_close((known.log_joint + parts).logsumexp(1), log_density(mixture, z))


def test_nothing_known_gives_the_prior(mixture):
    known = mixture.condition(torch.zeros(1, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.bool))
    torch.testing.assert_close(known.log_joint.softmax(1)[0], mixture.weights)
    torch.testing.assert_close(known.means[0], mixture.means)


def test_median_halves_the_mixture():
    weights = torch.tensor([[0.2, 0.8], [0.5, 0.5]], dtype=torch.float64)
    means, std = torch.tensor([[-3.0, 1.0], [2.0, 2.0]], dtype=torch.float64), torch.tensor([0.5, 2.0])
    found = median(weights, means, std)
    below = (weights * torch.special.ndtr((found[:, None] - means) / std)).sum(1)
    torch.testing.assert_close(below, torch.full_like(below, 0.5), rtol=0, atol=1e-5)
    assert found[1] == pytest.approx(2.0, abs=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 8), st.floats(0.05, 2.0))
def test_median_is_the_root_that_scipy_finds(seed, num_components, narrowest):
    """Off by at most the last part of the bracket; by far less where the density is no needle."""
    g = generator(seed)
    weights = torch.rand(3, num_components, generator=g, dtype=torch.float64).softmax(1)
    means = torch.randn(3, num_components, generator=g, dtype=torch.float64)
    std = narrowest + torch.rand(num_components, generator=g, dtype=torch.float64)
    found = median(weights, means, std)
    for i in range(3):
        w, m, s = (x.numpy() for x in (weights[i], means[i], std))

        def excess(x, w=w, m=m, s=s):
            return (w * stats.norm.cdf(x, m, s)).sum() - 0.5

        root = optimize.brentq(excess, m.min() - 1, m.max() + 1, xtol=1e-12)
        assert found[i] == pytest.approx(root, abs=1e-5)


@pytest.mark.parametrize("prior", [InverseWishart.weak(3, 2), InverseWishart.of_clips(200.0, 3, 2)], ids=str)
def test_every_step_of_em_raises_the_posterior(prior, mixture, monkeypatch):
    z = sample(mixture, 400)
    present = torch.rand(z.shape, generator=generator(1)) > 0.3
    present[~present.any(1)] = True
    begin, reached = start(z, present, 2, generator(2)), []
    for count in range(1, 12):
        monkeypatch.setattr("imer_ray.models.expectation_maximisation.NUM_ITERATIONS", count)
        reached.append(climb(z, present, begin, prior, 0.0)[0])
    assert all(b >= a - 1e-3 for a, b in zip(reached, reached[1:], strict=False))  # weights have a prior of their own
    assert reached[-1] > reached[0] + 0.1


def test_a_step_of_em_is_the_expectation_clip_by_clip(mixture, monkeypatch):
    """E[x x'] = E[x] E[x]' + cov(x), clip by clip and component by component (Ghahramani and Jordan, 1993)."""
    z = sample(mixture, 60)
    present = torch.rand(z.shape, generator=generator(1)) > 0.4
    prior, K = InverseWishart.weak(3, 2), len(mixture.weights)
    weight, first, second = torch.zeros(K), torch.zeros(K, 3), torch.zeros(K, 3, 3)
    for clip, there in zip(z, present, strict=True):
        known = mixture.condition(clip[None], there)
        r, filled, u = known.log_joint.softmax(1)[0], clip.repeat(K, 1), known.missing
        filled[:, u] = known.means[0]
        outer = filled[:, :, None] * filled[:, None]
        outer[:, u[:, None], u] += known.covariances
        weight, first = weight + r, first + r[:, None] * filled
        second = second + r[:, None, None] * outer
    means = first / weight[:, None]
    scatter = second - weight[:, None, None] * means[:, :, None] * means[:, None]
    monkeypatch.setattr("imer_ray.models.expectation_maximisation.NUM_ITERATIONS", 1)
    hidden = torch.where(present, z, 1e3)  # what is missing must not be read
    _, found = climb(hidden, present, mixture, prior, 0.0)
    torch.testing.assert_close(found.means, means)
    torch.testing.assert_close(found.weights, (weight + 1) / (weight + 1).sum())
    torch.testing.assert_close(found.covariances, prior.mode(scatter, weight))


@given(st.integers(0, 10**6), st.floats(5.0, 200.0))
@settings(max_examples=15)
def test_the_covariance_of_a_component_is_the_mode_of_its_posterior(seed, num_clips):
    """ln p(C) + ln p(clips | C) = ln p(C) - (n ln |C| + tr(C^-1 scatter)) / 2 falls off on all sides."""
    g = generator(seed)
    root, turn = (torch.randn(1, 3, 3, generator=g, dtype=torch.float64) for _ in range(2))
    scatter, n = 40 * root @ root.mT, torch.tensor([40.0], dtype=torch.float64)
    prior = InverseWishart.of_clips(num_clips, 3, 2)
    mode = prior.mode(scatter, n)

    def log_posterior(c):
        fit_of_clips = n * torch.linalg.slogdet(c).logabsdet + torch.linalg.solve(c, scatter).diagonal(0, 1, 2).sum(1)
        return float(prior.log_density(c) - 0.5 * fit_of_clips)

    for step in (0.05, -0.05):
        other = torch.matrix_exp(step * turn) @ mode @ torch.matrix_exp(step * turn).mT
        assert log_posterior(other) < log_posterior(mode)


def test_em_finds_the_mixture_though_a_third_of_the_numbers_is_missing(mixture):
    z = sample(mixture, 3000)
    present = torch.rand(z.shape, generator=generator(1)) > 1 / 3
    some = present.any(1)
    hidden = torch.where(present, z, math.nan)[some].nan_to_num(1e3)  # what is missing must not be read
    found = fit(hidden, present[some], 2, generator(2))
    order = found.means[:, 0].argsort(descending=True)
    torch.testing.assert_close(found.weights[order], mixture.weights, rtol=0, atol=0.05)
    torch.testing.assert_close(found.means[order], mixture.means, rtol=0, atol=0.25)
    assert log_density(found, z).mean() > log_density(mixture, z).mean() - 0.01


def test_patterns_part_the_clips():
    present = torch.tensor([[True, False], [True, True], [True, False]])
    parts = {tuple(pattern.tolist()): rows.tolist() for pattern, rows in patterns(present)}
    assert parts == {(True, False): [0, 2], (True, True): [1]}


def test_components_have_unit_variance_and_leave_out_what_was_never_recorded():
    x = torch.randn(200, 3, 4, 5, generator=generator()) * 3 + 1
    recorded = torch.ones(200, 3, dtype=torch.bool)
    recorded[:, 2] = False
    frames = recorded[..., None].expand(-1, -1, 4)
    components = Components(3, 20, 6).fit(x, recorded, frames)
    z = components(x, frames)[:, :2]
    torch.testing.assert_close(z.mean(0), torch.zeros(2, 6), rtol=0, atol=1e-4)
    torch.testing.assert_close(z.square().mean(0), torch.ones(2, 6), rtol=1e-4, atol=0)
    assert not components.basis[2].any()


def features_as_latents(world, split):
    """Synthetic features, padded to one width, stand for latents."""
    dataset = world.load()
    batch = dataset.batch(split, torch.arange(dataset.size(split)))
    width = max(dataset.dims.values())
    x = torch.stack([torch.nn.functional.pad(f, (0, width - f.shape[2])) for f in batch.features.values()], dim=1)
    return batch, Latents(
        x=x, frames=torch.stack(list(batch.frames.values()), 1), recorded=batch.recorded, labels=batch.labels
    )


def test_comes_within_a_point_of_the_bayes_optimum_under_every_pattern():
    """With the true size given; a standard error of 6,000 paired clips is below 0.3 points."""
    world = Synthetic(num_test=6000)
    recogniser = fit_recogniser(features_as_latents(world, "train")[1], 3, 4, generator())
    batch, latents = features_as_latents(world, "test")
    for name, pattern in PATTERNS.items():
        available = pattern.expand(len(batch), -1)
        positive = recogniser(latents.x, available, latents.frames) > 0
        best = world.oracle().predict(batch, available).median > 0
        truth = batch.labels > 0
        assert (best == truth).float().mean() - (positive == truth).float().mean() < 0.01, name


def test_weights_make_the_same_recogniser_again():
    world = Synthetic(num_train=200, num_test=50)
    recogniser = fit_recogniser(features_as_latents(world, "train")[1], 2, 2, generator())
    again = MixtureRecogniser.like(recogniser.state_dict())
    again.load_state_dict(recogniser.state_dict())
    _, latents = features_as_latents(world, "test")
    some = torch.rand(50, 3, generator=generator()) > 0.5
    assert torch.equal(again(latents.x, some, latents.frames), recogniser(latents.x, some, latents.frames))


def test_reads_only_what_is_available():
    world = Synthetic(num_train=200, num_test=50)
    recogniser = fit_recogniser(features_as_latents(world, "train")[1], 2, 2, generator())
    _, latents = features_as_latents(world, "test")
    available = torch.tensor([True, False, True]).expand(50, -1)
    changed = latents.x.clone()
    changed[:, 1] = 100.0
    torch.testing.assert_close(
        recogniser(changed, available, latents.frames), recogniser(latents.x, available, latents.frames)
    )


def test_what_is_remembered_of_a_pattern_does_not_outlive_the_parameters():
    world = Synthetic(num_train=200, num_test=50)
    train, test = (features_as_latents(world, split)[1] for split in ("train", "test"))
    recogniser, other = (fit_recogniser(train, 2, 2, generator(seed)) for seed in (0, 1))
    some = torch.rand(50, 3, generator=generator()) > 0.5
    first = recogniser(test.x, some, test.frames)
    expected = MixtureRecogniser.like(other.state_dict())
    expected.load_state_dict(other.state_dict())
    recogniser.load_state_dict(other.state_dict())
    second = recogniser(test.x, some, test.frames)
    assert not torch.equal(first, second)
    torch.testing.assert_close(second, expected(test.x, some, test.frames), rtol=0, atol=0)
    torch.testing.assert_close(recogniser.double()(test.x.double(), some, test.frames).float(), second)


def test_half_precision_elsewhere_leaves_the_closed_form_as_it_is():
    world = Synthetic(num_train=200, num_test=50)
    recogniser = fit_recogniser(features_as_latents(world, "train")[1], 2, 2, generator())
    _, latents = features_as_latents(world, "test")
    some = torch.rand(50, 3, generator=generator()) > 0.5
    expected = recogniser(latents.x, some, latents.frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(recogniser(latents.x, some, latents.frames), expected)
