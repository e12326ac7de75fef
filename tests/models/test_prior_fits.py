"""Priors fitted to clips: what they find, what they make of clips that lack modalities, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf as sklearn_ledoit_wolf
from sklearn.linear_model import Ridge as SklearnRidge

from imer_ray.config.components import build, option, options
from imer_ray.data.synthetic import Synthetic
from imer_ray.models.priors.directions import fit_directions
from imer_ray.models.priors.gaussian import GaussianPrior, ledoit_wolf, left_out
from imer_ray.models.priors.held_out import NUM_FOLDS, Part, groups, held_out, log_likelihood, pairs
from imer_ray.models.priors.mixture import MixturePrior
from imer_ray.models.priors.none import NoPrior

WIDTH, NUM_FRAMES = 6, 8
SMALL = MixturePrior(ranks=(3,), num_components=(1, 4), strengths=(10.0, 40.0))


def generator():
    return torch.Generator().manual_seed(0)


def clips_of(split, **settings):
    """Synthetic features of one width, standing for latents, and what the world itself expects of them."""
    world = Synthetic(dim_l=WIDTH, dim_a=WIDTH, dim_v=WIDTH, **settings)
    dataset = world.load()
    batch = dataset.batch(split, torch.arange(dataset.size(split)))
    x, frames = (torch.stack(list(parts.values()), 1) for parts in (batch.features, batch.frames))
    return Part(x, frames, batch.recorded), world.oracle(), batch


def without_vision(clips, kept):
    """Vision recorded of ``kept`` clips alone, chosen at random."""
    recorded, x = clips.recorded.clone(), clips.x.clone()
    recorded[torch.randperm(len(x), generator=generator())[kept:], 2] = False
    x[~recorded] = 1e3  # what was not recorded must not be read
    return replace(clips, x=x, recorded=recorded)


def fitted(prior_settings, clips):
    prior = prior_settings.build(*reversed(clips.x.shape[2:]))
    chosen = prior_settings.fit(prior, clips, generator())
    return prior, chosen


def conditional_mean(prior, m, given, clips):
    return prior.condition(m, clips.x, given, clips.frames).mean(torch.zeros_like(clips.x[:, m]), 0.0, 1.0)


@pytest.fixture(scope="module")
def train():
    return clips_of("train")[0]


@pytest.fixture(scope="module")
def test():
    return clips_of("test", num_train=1284, num_test=2000)


def test_the_options_are_none_gaussian_and_mixture_and_they_build():
    found = {name: build(option("diffusion/prior", name)) for name in options("diffusion/prior")}
    assert found == {"none": NoPrior(), "gaussian": GaussianPrior(), "mixture": MixturePrior()}
    assert found["none"].build(4, 2) is None
    assert found["mixture"].build(4, 2).rank == 8, "no more directions than numbers"


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 6))
@settings(max_examples=20)
def test_the_residual_covariance_is_shrunk_as_scikit_learn_does(seed, n, size):
    x = torch.randn(n, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected, _ = sklearn_ledoit_wolf(x.numpy(), assume_centered=True)
    np.testing.assert_allclose(ledoit_wolf(x), expected, rtol=1e-9, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(6, 25), st.sampled_from([0.1, 3.0, 100.0]))
@settings(max_examples=15)
def test_a_group_left_out_is_predicted_from_all_the_others(seed, n, strength):
    g = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(n, size, generator=g, dtype=torch.float64) for size in (4, 2))
    group = torch.arange(n) // 3
    (found,) = left_out(x, y, torch.tensor([strength]).double(), group)
    for one in group.unique():
        out = (group == one).numpy()
        plain = SklearnRidge(alpha=strength, solver="svd").fit(x[~out].numpy(), y[~out].numpy())
        np.testing.assert_allclose(found[out], y[out].numpy() - plain.predict(x[out].numpy()), rtol=1e-7, atol=1e-9)


def test_the_mixture_recovers_nearly_all_that_the_oracle_can_and_the_ridge_what_is_linear(train, test):
    """Percent of the variance of missing latents that the exact conditional mean explains."""
    clips, oracle, batch = test
    mixture, ridge = (fitted(s, train)[0] for s in (SMALL, GaussianPrior(ranks=(3,))))
    errors = torch.zeros(3)
    for m, known in pairs():
        available = torch.tensor(known).expand(len(batch), -1)
        exact = oracle.expected_features("lav"[m], batch, available)
        found = exact, conditional_mean(mixture, m, known, clips), conditional_mean(ridge, m, known, clips)
        errors += torch.stack([(clips.x[:, m] - x).square().mean() / clips.x[:, m].var() for x in found]).float()
    optimum, by_mixture, by_ridge = (1 - errors / 9).tolist()
    assert by_mixture > 0.93 * optimum
    assert 0.4 * optimum < by_ridge < 0.8 * optimum


def test_with_vision_of_219_clips_the_mixture_is_no_worse_than_the_ridge(train, test):
    few = without_vision(train, 219)
    mixture, chosen = fitted(replace(SMALL, ranks=(3, 12), num_components=(4,)), few)
    ridge, _ = fitted(GaussianPrior(ranks=(12,)), few)
    gain = log_likelihood(mixture, test[0]) - log_likelihood(ridge, test[0])
    assert gain.min() > 0, "for every modality and set of others"
    assert chosen["rank"] == 3, "twelve directions of a modality overfit"


def test_nothing_is_told_of_modalities_that_are_independent():
    """Of 150 clips a sample's correlation is often above 0.1; what was not there is not found in clips left out."""
    x = torch.randn(150, 3, 2, 4, generator=generator())
    clips = Part(x, torch.ones(150, 3, 2, dtype=torch.bool), torch.ones(150, 3, dtype=torch.bool))
    for prior_settings in (MixturePrior(ranks=(2, 4), num_components=(1, 2, 4)), GaussianPrior(ranks=(4,))):
        prior, _ = fitted(prior_settings, clips)
        variance = [conditional_mean(prior, m, known, clips).var(0).mean() for m, known in pairs()]
        assert torch.stack(variance).mean() < 0.04, prior_settings


@pytest.mark.parametrize("prior_settings", [SMALL, GaussianPrior(ranks=(3,))], ids=["mixture", "gaussian"])
class TestBoth:
    def test_a_modality_never_recorded_is_standard_normal_and_changes_nothing(self, prior_settings, train):
        prior, _ = fitted(prior_settings, without_vision(Part.of(train, torch.arange(300)), 0))
        known = prior.condition(2, train.x, (True, True, False), train.frames)
        torch.testing.assert_close(known.mean(train.x[:, 2], 0.6, 0.8), 0.6 * train.x[:, 2])
        with_vision = conditional_mean(prior, 0, (False, True, True), train)
        torch.testing.assert_close(with_vision, conditional_mean(prior, 0, (False, True, False), train))

    def test_modalities_of_which_no_clip_has_two_are_standard_normal(self, prior_settings, train):
        alone = torch.nn.functional.one_hot(torch.arange(len(train.x)) % 3, 3).bool()
        prior, _ = fitted(prior_settings, replace(train, recorded=alone))
        for m, known in pairs():
            found = prior.condition(m, train.x, known, train.frames).mean(train.x[:, m], 0.6, 0.8)
            torch.testing.assert_close(found, 0.6 * train.x[:, m])

    @pytest.mark.parametrize("num_clips", [2, 3, 7])
    def test_a_handful_of_clips_gives_a_law_all_the_same(self, prior_settings, train, num_clips):
        few = Part.of(train, torch.arange(num_clips))
        prior, _ = fitted(prior_settings, few)
        for m, known in pairs():
            law = prior.condition(m, train.x, known, train.frames)
            assert law.mean(train.x[:, m], 0.6, 0.8).isfinite().all()
            assert law.log_prob(train.x[:, m]).isfinite().all()

    def test_the_same_generator_gives_the_same_prior(self, prior_settings, train):
        some = Part.of(train, torch.arange(300))
        (first, chosen), (second, again) = fitted(prior_settings, some), fitted(prior_settings, some)
        assert chosen == again
        assert all(torch.equal(a, b) for a, b in zip(first.buffers(), second.buffers(), strict=True))

    def test_the_held_out_likelihood_is_what_new_clips_have(self, prior_settings, train, test):
        """Two thirds of the clips are fitted to, and 428 judged at a time, in which it varies by about 0.3 nats."""
        prior, chosen = fitted(prior_settings, train)
        assert chosen["log_likelihood"] == pytest.approx(float(log_likelihood(prior, test[0]).mean()), abs=1.0)


def test_directions_are_orthonormal_and_what_varies_beyond_them_is_noise(train):
    prior = SMALL.build(WIDTH, NUM_FRAMES).double()
    z, scale, known = fit_directions(prior, train, 3)
    torch.testing.assert_close(prior.basis.mT @ prior.basis, torch.eye(3).double().repeat(3, 1, 1))
    torch.testing.assert_close(z.square().mean(0), torch.ones(3, 3).double())
    x = train.x.flatten(2).double()
    rest = x - prior.centre - torch.einsum("nmr,mr,mpr->nmp", z, scale, prior.basis)
    per_direction = rest.square().mean(0).sum(1) / (prior.size - 3)
    torch.testing.assert_close(prior.rest_variance, per_direction, rtol=0.01, atol=0)
    assert known.all()


def test_groups_are_neighbours_and_folds_share_them_out():
    group = groups(1284)
    assert (group.diff() >= 0).all() and len(group.unique()) == 30
    assert (group % NUM_FOLDS).bincount().tolist() == [428, 428, 428]


def test_sizes_far_behind_are_fitted_to_one_fold_and_the_best_to_all(train):
    ranks, asked, train = (1, 2, 3, 6), [], Part.of(train, torch.arange(300))
    priors = {rank: fitted(GaussianPrior(ranks=(rank,), strengths=(10.0,)), train)[0] for rank in ranks}

    def of_sizes(part, sizes):
        asked.append(tuple(sizes))
        return [priors[size] for size in sizes]

    best, score = held_out(train, ranks, of_sizes)
    assert [len(sizes) for sizes in asked] == [4, 2, 1] and asked[-1] == (best,)
    folds = [Part.of(train, groups(len(train.x)) % NUM_FOLDS == f) for f in range(NUM_FOLDS)]
    of_all = {
        rank: np.mean([float(log_likelihood(prior, fold).mean()) for fold in folds]) for rank, prior in priors.items()
    }
    assert best == max(of_all, key=of_all.get) and score == pytest.approx(of_all[best], abs=1e-4)


def test_where_no_fold_says_anything_the_first_size_is_taken(train):
    alone = replace(train, recorded=torch.nn.functional.one_hot(torch.arange(len(train.x)) % 3, 3).bool())
    prior = SMALL.build(WIDTH, NUM_FRAMES)
    assert held_out(alone, (1, 2), lambda part, sizes: [prior for _ in sizes]) == (1, -np.inf)


@pytest.mark.parametrize(
    "change",
    [
        lambda: MixturePrior(ranks=()),
        lambda: MixturePrior(num_components=(0, 2)),
        lambda: MixturePrior(strengths=(-1.0,)),
        lambda: GaussianPrior(ranks=(0,)),
        lambda: GaussianPrior(strengths=()),
    ],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match="ranks|num_components|strengths"):
        change()
