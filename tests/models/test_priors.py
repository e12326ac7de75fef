"""The prior's denoiser: against dense linear algebra, Tweedie's formula, its limits, and what samplers make of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_laws import D, L, M, P, make_world, posterior_mean
from safetensors.torch import load, save
from torch.distributions import MultivariateNormal

from imer_ray.data.factor_mixture import FactorMixture
from imer_ray.data.missing import MODALITIES, PATTERNS
from imer_ray.data.synthetic import Synthetic
from imer_ray.diffusion.samplers.heun import Heun
from imer_ray.diffusion.sde import marginal_at
from imer_ray.models.gaussian_mixture import Mixture
from imer_ray.models.priors import Prior
from imer_ray.testing.samplers import processes

SETS = [(False, False, False), *(tuple(p.tolist()) for p in PATTERNS.values())]
CASES = [(m, known) for known in SETS for m in range(M) if all(known) or not known[m]]  # what is known of m is not read


@pytest.fixture(scope="module")
def world():
    return make_world(0)


@pytest.fixture(scope="module")
def latents():
    return torch.randn(16, M, L, D, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.fixture(scope="module")
def frames():
    return torch.ones(16, M, L, dtype=torch.bool)


@pytest.mark.parametrize("sde", processes().values(), ids=processes().keys())
def test_the_mean_is_the_exact_posterior_mean_for_every_pattern_target_process_and_time(sde, world, latents, frames):
    noise = torch.randn(len(latents), P, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for target, available in CASES:
        exact = world.conditional(target, latents, available)
        same = world.prior.condition(target, latents, available, frames)
        rows = world.prior.condition(target, latents, torch.tensor(available).expand(len(latents), -1), frames)
        for t in torch.linspace(sde.t_min, sde.t_max, 5).tolist():
            alpha, sigma = marginal_at(sde, t)
            x_t = alpha * latents[:, target].flatten(1) + sigma * noise
            expected = posterior_mean(x_t, alpha, sigma, *exact).view(-1, L, D)
            a, s = (torch.full((len(x_t), 1, 1), value, dtype=torch.float64) for value in (alpha, sigma))
            for found in (same.mean(x_t.view_as(expected), alpha, sigma), rows.mean(x_t.view_as(expected), a, s)):
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.05, 1.0), st.floats(0.01, 30.0))
@settings(max_examples=12)
def test_rows_with_targets_and_patterns_of_their_own_get_what_they_would_get_alone(seed, num_components, alpha, sigma):
    world, g = make_world(seed, num_components), torch.Generator().manual_seed(seed)
    latents, x_t = (torch.randn(12, *shape, generator=g).double() for shape in ((M, L, D), (L, D)))
    available, dropped = torch.rand(12, M, generator=g) > 0.4, torch.rand(12, generator=g) > 0.7
    target, frames = torch.randint(M, (12,), generator=g), torch.ones(12, M, L, dtype=torch.bool)
    found = world.prior.condition(target, latents, available, frames, dropped).mean(x_t, alpha, sigma)
    for i, m in enumerate(target.tolist()):
        known = tuple((available[i] & ~dropped[i]).tolist())
        exact = world.conditional(m, latents[i : i + 1], known)
        expected = posterior_mean(x_t[i : i + 1].flatten(1), alpha, sigma, *exact)
        torch.testing.assert_close(found[i].flatten(), expected[0], rtol=1e-9, atol=1e-10)


def test_the_density_is_that_of_the_dense_mixture(world, latents, frames):
    for target, available in CASES:
        weights, means, covariances = world.conditional(target, latents, available)
        x = latents[:, target].flatten(1)
        parts = [MultivariateNormal(means[:, k], covariances[k]).log_prob(x) for k in range(len(covariances))]
        expected = (weights.log() + torch.stack(parts, 1)).logsumexp(1)
        found = world.prior.condition(target, latents, available, frames).log_prob(latents[:, target])
        torch.testing.assert_close(found, expected)


@given(st.integers(0, 10**6), st.floats(0.05, 1.0), st.floats(0.01, 30.0), st.sampled_from(CASES))
@settings(max_examples=12)
def test_the_mean_follows_from_the_density_by_tweedie_s_formula(seed, alpha, sigma, case):
    """E[x_0 | x_t] = (x_t + sigma^2 grad ln p(x_t)) / alpha (Efron, Tweedie's Formula and Selection Bias, 2011)."""
    world, g = make_world(seed), torch.Generator().manual_seed(seed)
    latents = torch.randn(5, M, L, D, generator=g, dtype=torch.float64)
    given_ = world.prior.condition(case[0], latents, case[1], torch.ones(5, M, L, dtype=torch.bool))
    x_t = (sigma * torch.randn(5, L, D, generator=g, dtype=torch.float64)).requires_grad_()
    (score,) = torch.autograd.grad(given_.log_prob(x_t, alpha, sigma).sum(), x_t)
    expected = (x_t + sigma**2 * score) / alpha
    torch.testing.assert_close(given_.mean(x_t, alpha, sigma), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sde", processes().values(), ids=processes().keys())
def test_noise_says_nothing_and_the_clean_latents_all(sde, world, latents, frames):
    """What x_t adds to the conditional mean falls as alpha / sigma, times variances (below 4) and |x_t| / sigma."""
    known = world.prior.condition(2, latents, (True, True, False), frames)
    weights, means, _ = world.conditional(2, latents, (True, True, False))
    conditional_mean = torch.einsum("bk,bkp->bp", weights, means).view(-1, L, D)
    torch.testing.assert_close(known.mean(latents[:, 0], 0.0, 1.0), conditional_mean)
    alpha, sigma = marginal_at(sde, sde.t_max)
    x_T = sde.prior_std * latents[:, 0]
    torch.testing.assert_close(known.mean(x_T, alpha, sigma), conditional_mean, rtol=0, atol=60 * alpha / sigma + 1e-9)
    torch.testing.assert_close(known.mean(0.8 * latents[:, 0], 0.8, 1e-6), latents[:, 0])
    torch.testing.assert_close(known.mean(0.8 * latents[:, 0], 0.8, 0.0), latents[:, 0])


def test_samples_have_the_mean_and_the_covariance_of_the_conditional_mixture(world, latents, frames):
    """10,000 draws: a standard error is 0.01 sqrt(variance) of a mean, and 0.014 variance of a variance."""
    sde, count = processes()["vp cosine"], 10_000
    clip, available = latents[:1].expand(count, -1, -1, -1), (True, False, False)
    known = world.prior.condition(1, clip, available, frames[:1].expand(count, -1, -1))

    def denoiser(x_t, t):
        return known.mean(x_t, *marginal_at(sde, t))

    g = torch.Generator().manual_seed(3)
    x_T = torch.randn(count, L, D, generator=g, dtype=torch.float64) * sde.prior_std
    x = Heun().sample(denoiser, sde, x_T, 40, g).flatten(1)
    weights, means, covariances = (part.squeeze(0) for part in world.conditional(1, latents[:1], available))
    mean = weights @ means
    centred = means - mean
    covariance = torch.einsum("k,kij->ij", weights, covariances + centred[:, :, None] * centred[:, None])
    assert covariance.diagonal().max() < 6
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.08)
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0, atol=0.25)


def test_the_true_law_of_synthetic_clips_recovers_what_the_oracle_expects():
    """With features of equal widths, their noise is isotropic and the signals' directions are orthogonal."""
    world = Synthetic(num_train=50, num_test=60, dim_l=6, dim_a=6, dim_v=6)
    law: FactorMixture = world.mixture
    rank = 3
    prior = Prior(6, world.num_frames, rank, len(law.weights)).double()
    bases = [law.private[m] / law.private[m].norm(dim=0) for m in MODALITIES]
    prior.basis.copy_(torch.stack(bases))
    prior.rest_variance.fill_(law.noise_std**2)
    means = torch.cat([law.offsets[m] @ b for m, b in zip(MODALITIES, bases, strict=True)], 1)
    shared = torch.cat([b.T @ law.loadings[m] for m, b in zip(MODALITIES, bases, strict=True)], 1)
    own = torch.block_diag(*(b.T @ law.private[m] for m, b in zip(MODALITIES, bases, strict=True)))
    noise = law.noise_std**2 * torch.eye(M * rank, dtype=torch.float64)
    told = torch.ones(M * rank, dtype=torch.bool)
    prior.set_joint(Mixture(law.weights, means, shared @ shared.mT + own @ own.T + noise), told)
    x, _ = world.clips("test")
    latents = torch.stack([x[m].view(-1, world.num_frames, 6) for m in MODALITIES], 1)
    for name, pattern in PATTERNS.items():
        for m in (m for m in range(M) if not pattern[m]):
            known = prior.condition(m, latents, tuple(pattern.tolist()), latents[..., 0].isfinite())
            found = known.mean(torch.zeros_like(latents[:, m]), 0.0, 1.0).flatten(1)
            expected = law.posterior({other: x[other] for other in name}).expected(MODALITIES[m])
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("available", [(True, False, True), torch.tensor([True, False, True]).expand(16, -1)], ids=str)
def test_absent_frames_missing_modalities_and_the_target_itself_are_not_read(available, world, latents, frames):
    frames = frames.clone()
    frames[:, 0, 1] = False
    hidden = latents.clone()
    hidden[:, 0, 1], hidden[:, 1], hidden[:, 2] = torch.nan, torch.nan, torch.nan
    clean = hidden.nan_to_num(0.0)
    first, second = (
        world.prior.condition(2, x, available, frames).mean(latents[:, 2], 0.7, 0.5) for x in (clean, hidden)
    )
    assert first.isfinite().all() and torch.equal(first, second)


def test_a_prior_that_is_not_fitted_is_standard_normal(latents, frames):
    known = Prior(D, L, 3, 2).double().condition(0, latents, (False, True, True), frames)
    torch.testing.assert_close(known.mean(latents[:, 0], 0.6, 0.8), 0.6 * latents[:, 0])
    torch.testing.assert_close(
        known.log_prob(latents[:, 0]),
        MultivariateNormal(torch.zeros(P).double(), torch.eye(P).double()).log_prob(latents[:, 0].flatten(1)),
    )


def test_saved_and_loaded_it_says_the_same_and_single_precision_almost_does(world, latents, frames):
    prior = world.prior
    again = Prior(D, L, prior.rank, prior.num_components)
    again.load_state_dict(load(save({k: v.float().contiguous() for k, v in prior.state_dict().items()})))
    assert not list(again.parameters())
    for alpha, sigma in ((1.0, 1e-3), (0.6, 0.8), (1.0, 50.0)):
        exact = prior.condition(0, latents, (False, True, True), frames).mean(latents[:, 0], alpha, sigma)
        single = again.condition(0, latents.float(), (False, True, True), frames).mean(
            latents[:, 0].float(), alpha, sigma
        )
        torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-4)


def test_components_that_are_not_used_are_finite_numbers_and_say_nothing(world, latents, frames):
    """A model's file with numbers that are not finite is refused, and of six components a fit may use two."""
    wider = Prior(D, L, world.prior.rank, world.prior.num_components + 2).double()
    assert all(bool(table.isfinite().all()) for table in wider.state_dict().values())
    F, K, known = M * world.prior.rank, world.prior.num_components, (False, True, True)
    means = torch.randn(K, F, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mixture = Mixture(torch.full((K,), 1 / K).double(), means, torch.eye(F).double().repeat(K, 1, 1))
    exact = Prior(D, L, world.prior.rank, K).double()
    for prior in (wider, exact):
        prior.basis.copy_(world.prior.basis)
        prior.set_joint(mixture, torch.ones(F, dtype=torch.bool))
    assert all(bool(table.isfinite().all()) for table in wider.state_dict().values())
    found, expected = (prior.condition(0, latents, known, frames) for prior in (wider, exact))
    x = latents[:, 0]
    torch.testing.assert_close(found.mean(x, 0.6, 0.8), expected.mean(x, 0.6, 0.8), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.log_prob(x), expected.log_prob(x), rtol=1e-12, atol=0)


def test_half_precision_elsewhere_leaves_the_closed_form_as_it_is(world, latents, frames):
    prior = Prior(D, L, world.prior.rank, world.prior.num_components)
    prior.load_state_dict({k: v.float() for k, v in world.prior.state_dict().items()})
    x = latents.float()

    def found():
        return prior.condition(0, x, (False, True, True), frames).mean(x[:, 0], 0.6, 0.8)

    expected = found()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(found(), expected)


class Step(torch.nn.Module):
    def __init__(self, prior, available):
        super().__init__()
        self.prior, self.available = prior, available

    def forward(self, latents, frames, x_t):
        return self.prior.condition(1, latents, self.available, frames).mean(x_t, 0.6, 0.8)


def test_a_pattern_can_be_exported_for_any_number_of_clips(world, latents, frames):
    step, batch = Step(world.prior, (True, False, True)), torch.export.Dim("batch")
    shapes = {"latents": {0: batch}, "frames": {0: batch}, "x_t": {0: batch}}
    graph = torch.export.export(step, (latents, frames, latents[:, 1]), dynamic_shapes=shapes).module()
    for rows in (slice(0, 16), slice(0, 7)):
        inputs = latents[rows], frames[rows], latents[rows, 1]
        torch.testing.assert_close(graph(*inputs), step(*inputs))
