"""The exact posterior against dense Gaussian algebra, quadrature and draws."""

from itertools import chain, combinations

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from imer_ray.data.factor_mixture import FactorMixture

MODALITIES = {"l": 5, "a": 3, "v": 4}
SUBSETS = list(chain.from_iterable(combinations(MODALITIES, n) for n in range(4)))


@pytest.fixture(scope="module")
def mixture():
    """Three components, two shared factors, one or two private ones; all parameters random."""
    g = torch.Generator().manual_seed(7)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return FactorMixture(
        weights=torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        loadings={m: normal(3, n, 2) for m, n in MODALITIES.items()},
        offsets={m: normal(3, n) for m, n in MODALITIES.items()},
        private={m: normal(n, 1 + (m == "l")) for m, n in MODALITIES.items()},
        label_weights=normal(3, 2),
        noise_std=0.6,
        label_std=0.4,
    )


@pytest.fixture(scope="module")
def clips(mixture):
    return mixture.sample(40, torch.Generator().manual_seed(1))


def dense(mixture, k):
    """Mean and covariance of (x_l, x_a, x_v, y) in component k, written out in full."""
    shared = torch.cat([*(mixture.loadings[m][k] for m in MODALITIES), mixture.label_weights[k][None]])
    covariance = (shared @ shared.T).numpy()
    start = 0
    for m, n in MODALITIES.items():
        own = mixture.private[m].numpy()
        covariance[start : start + n, start : start + n] += own @ own.T + mixture.noise_std**2 * np.eye(n)
        start += n
    covariance[-1, -1] += mixture.label_std**2
    mean = torch.cat([*(mixture.offsets[m][k] for m in MODALITIES), torch.zeros(1)]).numpy()
    return mean, covariance


def positions(subset):
    starts = dict(zip(MODALITIES, np.cumsum([0, *MODALITIES.values()]), strict=False))
    return [i for m in subset for i in range(starts[m], starts[m] + MODALITIES[m])]


@pytest.mark.parametrize("subset", SUBSETS, ids=lambda s: "".join(s) or "none")
def test_posterior_equals_dense_gaussian_conditioning_for_every_pattern(mixture, clips, subset):
    x, _ = clips
    posterior = mixture.posterior({m: x[m] for m in subset})
    seen = positions(subset)
    given = torch.cat([x[m] for m in subset], 1).numpy() if subset else np.zeros((1, 0))
    mean_y, std_y = posterior.label()
    log_evidence, expected = [], []
    for k in range(3):
        mean, covariance = dense(mixture, k)
        gain = covariance[:, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)]) if seen else np.zeros((13, 0))
        conditional = mean + (given - mean[seen]) @ gain.T
        left = covariance - gain @ covariance[seen]
        np.testing.assert_allclose(mean_y[:, k], conditional[:, -1], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(std_y[k], np.sqrt(left[-1, -1]), rtol=1e-9)
        density = stats.multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).logpdf(given) if seen else 0.0
        log_evidence.append(np.log(mixture.weights[k].item()) + np.broadcast_to(density, len(given)))
        expected.append(conditional)
    weights = np.exp(log_evidence - np.logaddexp.reduce(log_evidence, 0)).T
    np.testing.assert_allclose(posterior.responsibilities, weights, rtol=1e-8, atol=1e-12)
    for m in set(MODALITIES) - set(subset):
        whole = np.einsum("nk,knp->np", weights, np.stack(expected))[:, positions((m,))]
        np.testing.assert_allclose(posterior.expected(m), whole, rtol=1e-8, atol=1e-8)


def holes(num_clips, seed=2):
    """{m: [N, P_m]}: which numbers are known, at random; of some clips none."""
    g = torch.Generator().manual_seed(seed)
    share = torch.rand(num_clips, 1, generator=g)
    return {m: torch.rand(num_clips, n, generator=g) < share for m, n in MODALITIES.items()}


def test_posterior_of_any_numbers_equals_dense_gaussian_conditioning(mixture, clips):
    x, _ = clips
    observed = holes(40)
    posterior = mixture.posterior(x, observed)
    mean_y, std_y = posterior.label()
    every, seen = torch.cat([x[m] for m in MODALITIES], 1).numpy(), torch.cat(list(observed.values()), 1).numpy()
    assert len({tuple(row) for row in seen.tolist()}) > 30
    for i in range(40):
        o = np.flatnonzero(seen[i])
        log_evidence, expected = [], []
        for k in range(3):
            mean, covariance = dense(mixture, k)
            inner = covariance[np.ix_(o, o)]
            gain = np.linalg.solve(inner, covariance[o]).T if len(o) else np.zeros((13, 0))
            conditional = mean + gain @ (every[i, o] - mean[o])
            np.testing.assert_allclose(mean_y[i, k], conditional[-1], rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(std_y[i, k] ** 2, (covariance - gain @ covariance[o])[-1, -1], rtol=1e-8)
            density = stats.multivariate_normal(mean[o], inner).logpdf(every[i, o]) if len(o) else 0.0
            log_evidence.append(np.log(mixture.weights[k].item()) + density)
            expected.append(conditional)
        weights = np.exp(log_evidence - np.logaddexp.reduce(log_evidence))
        np.testing.assert_allclose(posterior.responsibilities[i], weights, rtol=1e-7, atol=1e-12)
        whole = np.concatenate([posterior.expected(m)[i] for m in MODALITIES])
        unknown = np.flatnonzero(~seen[i])
        np.testing.assert_allclose(whole[unknown], (weights @ np.stack(expected))[unknown], rtol=1e-7, atol=1e-7)


def test_all_numbers_of_some_modalities_known_is_those_modalities_available(mixture, clips):
    x, _ = clips
    whole = mixture.posterior({"l": x["l"], "v": x["v"]})
    of = {"l": torch.ones(40, 5, dtype=torch.bool), "v": torch.ones(40, 4, dtype=torch.bool)}
    torch.testing.assert_close(
        mixture.posterior({"l": x["l"], "v": x["v"]}, of).label_median(3.0), whole.label_median(3.0)
    )
    of["a"] = torch.zeros(40, 3, dtype=torch.bool)
    holed = mixture.posterior({**x, "a": torch.full_like(x["a"], torch.nan)}, of)
    torch.testing.assert_close(holed.label_median(3.0), whole.label_median(3.0))
    torch.testing.assert_close(holed.expected("a"), whole.expected("a"))


def test_posterior_of_any_numbers_equals_brute_force_importance_sampling(mixture, clips):
    """Draws from the prior, weighted by how likely they make the numbers that are known."""
    x, _ = clips
    observed = {m: mask & (torch.arange(mask.shape[1]) < 2) for m, mask in holes(40, seed=5).items()}
    posterior = mixture.posterior(x, observed)
    num_draws, g = 400_000, torch.Generator().manual_seed(9)
    c = torch.multinomial(mixture.weights, num_draws, replacement=True, generator=g)
    z = torch.randn(num_draws, 2, generator=g, dtype=torch.float64)
    y = (mixture.label_weights[c] * z).sum(1)  # without the label's noise, whose mean is 0
    clean = {}
    for m in MODALITIES:
        u = torch.randn(num_draws, mixture.private[m].shape[1], generator=g, dtype=torch.float64)
        clean[m] = mixture.offsets[m][c] + torch.einsum("npq,nq->np", mixture.loadings[m][c], z)
        clean[m] += u @ mixture.private[m].T
    for i in range(12):
        log_weight = sum(
            -((clean[m] - x[m][i]).square() * observed[m][i]).sum(1) / (2 * mixture.noise_std**2) for m in MODALITIES
        )
        weight = log_weight.softmax(0)
        mean = (posterior.responsibilities[i] * posterior.label()[0][i]).sum()
        estimate = (weight * y).sum()
        # The standard error of a self-normalised estimate; five of them.
        error = (weight.square() * (y - estimate).square()).sum().sqrt()
        assert abs(mean - estimate) < 5 * error, i
        found = torch.stack([weight[c == k].sum() for k in range(3)])
        spread = torch.stack(
            [(weight.square() * ((c == k).double() - found[k]).square()).sum().sqrt() for k in range(3)]
        )
        # Of a component that hardly any draw speaks for, the spread of the draws says little.
        assert ((posterior.responsibilities[i] - found).abs() < 5 * spread + 1e-3).all(), i


def test_label_median_halves_the_distribution_and_mean_equals_quadrature(mixture, clips):
    x, _ = clips
    posterior = mixture.posterior({"a": x["a"]})
    limit = 1.0
    median, mean = posterior.label_median(limit), posterior.label_mean(limit)
    inside = median.abs() < limit - 1e-9
    assert inside.any() and not inside.all()
    torch.testing.assert_close(posterior.label_cdf(median)[inside], torch.full((int(inside.sum()),), 0.5).double())
    assert (posterior.label_cdf(-limit)[median <= -limit + 1e-9] >= 0.5).all()
    means, stds = posterior.label()
    for i in range(3):
        mixed = [stats.norm(means[i, k].item(), stds[k].item()) for k in range(3)]

        def density(y, i=i, mixed=mixed):
            weights = posterior.responsibilities[i].tolist()
            return np.clip(y, -limit, limit) * sum(w * c.pdf(y) for w, c in zip(weights, mixed, strict=True))

        parts = [integrate.quad(density, *ends)[0] for ends in ((-20, -limit), (-limit, limit), (limit, 20))]
        assert mean[i].item() == pytest.approx(sum(parts), abs=1e-7)


def test_samples_have_the_mixture_s_moments(mixture):
    num_clips = 200_000
    x, y = mixture.sample(num_clips, torch.Generator().manual_seed(3))
    drawn = torch.cat([*(x[m] for m in MODALITIES), y[:, None]], 1).numpy()
    parts = [dense(mixture, k) for k in range(3)]
    weights = mixture.weights.numpy()
    mean = sum(w * m for w, (m, _) in zip(weights, parts, strict=True))
    second = sum(w * (c + np.outer(m, m)) for w, (m, c) in zip(weights, parts, strict=True))
    spread = np.sqrt(np.diag(second))
    # Five standard errors of a mean, and of a product whose factors have heavier than Gaussian tails.
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 * spread.max() / np.sqrt(num_clips))
    scaled = (drawn.T @ drawn / num_clips - second) / np.outer(spread, spread)
    assert np.abs(scaled).max() < 5 * 2 / np.sqrt(num_clips)
