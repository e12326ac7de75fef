"""The warped world: nothing is lost, the Bayes optimum is exact, and no mixture of few Gaussians is its law."""

import dataclasses
import math

import pytest
import torch
from experiments import experiment
from torch.distributions import MultivariateNormal

from imer_ray.data.missing import MODALITIES, PATTERNS, seeded
from imer_ray.data.synthetic import LABEL_LIMIT, NUM_SIGNALS, Synthetic
from imer_ray.data.warp import STRETCH, TriangularWarp
from imer_ray.systems._stages import encode
from imer_ray.tasks.mixture import fit

PLAIN = Synthetic(num_train=300, num_valid=50, num_test=2000)
WARPED = dataclasses.replace(PLAIN, warp="triangular")
# So small that draws of the whole clip can be weighted by what of it is available.
TINY = Synthetic(num_test=6, num_frames=2, dim_l=3, dim_a=3, dim_v=3, frame_noise=2.0, warp="triangular")


def warp(dim=5):
    generator = torch.Generator().manual_seed(3)
    directions = torch.linalg.qr(torch.randn(dim, NUM_SIGNALS, generator=generator, dtype=torch.float64)).Q
    return TriangularWarp.of(directions, generator)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def frames(data, m):
    return data.clips("test")[0][m].unflatten(1, (data.num_frames, -1))


@pytest.mark.parametrize("m", MODALITIES)
def test_undoing_the_warp_gives_the_clips_of_the_plain_world_back(m):
    assert (frames(WARPED, m) - frames(PLAIN, m)).abs().max() > 1
    torch.testing.assert_close(WARPED.warps[m].inverse(frames(WARPED, m)), frames(PLAIN, m), atol=1e-9, rtol=0)
    assert torch.equal(WARPED.clips("test")[1], PLAIN.clips("test")[1])


def test_the_determinant_is_that_of_the_jacobian():
    made, x = warp(), 3 * normal(5)
    jacobian = torch.autograd.functional.jacobian(made, x)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, made.log_determinant(x))


def test_the_expectation_behind_the_warp_is_the_mean_of_draws():
    made, root, num_draws = warp(), normal(5, 5), 400_000
    mean, covariance = normal(5), root @ root.T
    drawn = made(mean + normal(num_draws, 5) @ root.T)
    z = (drawn.mean(0) - made.expected(mean, covariance)) / (drawn.std(0) / math.sqrt(num_draws))
    assert z.abs().max() < 4


@pytest.mark.parametrize("name", PATTERNS)
def test_the_optimum_is_that_of_the_plain_world(name):
    """To float32, in which a batch holds features."""
    found = []
    for data in (PLAIN, WARPED):
        batch = data.load().batch("test", torch.arange(PLAIN.num_test))
        found.append(data.oracle().predict(batch, PATTERNS[name].expand(len(batch), 3)))
    torch.testing.assert_close(found[0].positive, found[1].positive, atol=1e-4, rtol=0)
    torch.testing.assert_close(found[0].median, found[1].median, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["l", "av"])
def test_the_oracle_equals_importance_sampling(name):
    """Factors drawn from their prior and weighted by p(available | factors), whose change of variables is written out;
    labels and missing features are drawn beside them."""
    num_draws, model = 400_000, TINY.mixture
    oracle, batch = TINY.oracle(), TINY.load().batch("test", torch.arange(6))
    available = PATTERNS[name].expand(6, 3)
    exact, missing = oracle.predict(batch, available), next(m for m in MODALITIES if m not in name)
    expected = oracle.expected_features(missing, batch, available)
    generator = seeded("importance", name)
    quiet = dataclasses.replace(model, noise_std=1e-12)
    x, y = quiet.sample(num_draws, generator)  # the factors' part; noise has a density of its own
    y = y.clamp(-LABEL_LIMIT, LABEL_LIMIT)
    noisy = x[missing] + model.noise_std * torch.randn(x[missing].shape, generator=generator, dtype=torch.float64)
    filled = oracle.standardise(missing, TINY.warps[missing](noisy.unflatten(1, (2, -1))))
    for i in range(6):
        log_weight = torch.zeros(num_draws, dtype=torch.float64)
        for m in name:
            plain = TINY.warps[m].inverse(oracle.raw(m, batch.features[m][i]))
            log_weight -= (plain.flatten() - x[m]).square().sum(1) / (2 * model.noise_std**2)
            log_weight -= TINY.warps[m].log_determinant(plain).sum()
        weight = log_weight.softmax(0)
        error = weight.square().sum().sqrt()  # 1 / sqrt(effective number of draws)
        assert error < 0.05
        assert abs((weight * y).sum() - exact.mean[i]) < 4 * error * y.std()
        assert abs((weight * (y > 0)).sum() - exact.positive[i]) < 4 * error * 0.5
        mean = torch.einsum("n,nld->ld", weight, filled)
        spread = torch.einsum("n,nld->ld", weight, (filled - mean).square()).sqrt()
        assert ((mean - expected[i]).abs() < 4.5 * error * spread).all()


def test_no_mixture_of_few_gaussians_fits_it_and_one_of_four_fits_the_plain_world():
    """Nats per clip by which held-out clips are less likely under a fitted mixture than under their exact law: the
    signals of all modalities in one frame, nine numbers."""
    lost = {}
    for data, num_components in ((PLAIN, 4), (WARPED, 8)):
        x, log_density = signals(dataclasses.replace(data, num_test=4500))
        known = torch.ones_like(x[:3000], dtype=torch.bool)
        scale = x[:3000].std(0)
        mixture = fit(x[:3000] / scale, known, num_components, torch.Generator().manual_seed(0))
        fitted = mixture.condition(x[3000:] / scale, known[0]).log_joint.logsumexp(1) - scale.log().sum()
        lost[data.warp, num_components] = float((log_density[3000:] - fitted).mean())
    assert lost[None, 4] < 0.1, lost
    assert lost["triangular", 8] > 0.5, lost


def signals(data):
    """[N, 9] of the first frame, and their log density [N] from the plain world's by change of variables."""
    made, drawn, log_determinant = data.mixture, {}, torch.zeros(data.num_test, dtype=torch.float64)
    plain = dataclasses.replace(data, warp=None)
    projections = {m: data._directions(m) / math.sqrt(data.dims[m]) for m in MODALITIES}
    for m in MODALITIES:
        drawn[m] = frames(data, m)[:, 0] @ projections[m]
        if m in data.warps:
            h = frames(plain, m)[:, 0] @ projections[m]
            log_determinant += torch.cosh(STRETCH * h).log().sum(1)
    known = {m: frames(plain, m)[:, 0] @ projections[m] for m in MODALITIES}
    h = torch.cat([known[m] for m in MODALITIES], 1)
    logs = []
    for k, weight in enumerate(made.weights):
        shared = torch.cat([projections[m].T @ made.loadings[m][k][: data.dims[m]] for m in MODALITIES])
        mean = torch.cat([projections[m].T @ made.offsets[m][k][: data.dims[m]] for m in MODALITIES])
        own = [projections[m].T @ made.private[m][: data.dims[m]] for m in MODALITIES]
        noise = torch.cat([torch.full((3,), data.frame_noise**2 / data.dims[m]) for m in MODALITIES]).double()
        covariance = shared @ shared.T + torch.block_diag(*(s @ s.T for s in own)) + noise.diag()
        logs.append(weight.log() + MultivariateNormal(mean, covariance).log_prob(h))
    return torch.cat([drawn[m] for m in MODALITIES], 1), torch.stack(logs).logsumexp(0) - log_determinant


def test_a_plain_world_keeps_the_keys_that_its_stages_had_before_there_was_a_warp():
    assert "warp" not in encode(experiment()).config["data"]
    assert encode(experiment("data.warp=triangular")).config["data"]["warp"] == "triangular"
