"""Recovery without diffusion: against scikit-learn, the exact conditional mean of Gaussian clips, and by hand."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeCV

import imer_ray.models.imputers
from imer_ray.data.factor_mixture import FactorMixture
from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.models.imputers.autoencoder import CascadeAutoencoder
from imer_ray.models.imputers.mean import Mean
from imer_ray.models.imputers.ridge import Ridge, incomplete, ridge

PACKAGE = imer_ray.models.imputers
FILES = [importlib.import_module(f"{PACKAGE.__name__}.{m.name}") for m in pkgutil.iter_modules(PACKAGE.__path__)]
COMPONENTS = [c for f in FILES for c in vars(f).values() if is_dataclass(c) and inspect.getmodule(c) is f]
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def fill(imputer, latents, available, frames):
    with torch.no_grad():
        return imputer(latents, available, frames, None, 0, None)


@pytest.fixture(params=COMPONENTS, ids=lambda c: c.__name__)
def imputer(request, clips):
    latents, _, _ = clips
    built = request.param().build(latents.shape[3], latents.shape[2])
    with torch.no_grad():
        for tensor in (t for t in (*built.parameters(), *built.buffers()) if t.is_floating_point()):
            tensor.copy_(torch.randn_like(tensor) / tensor.shape[-1] ** 0.5)  # keeps sizes in all layers
    return built.eval()


def test_the_folder_holds_the_four_rivals() -> None:
    assert {c.__name__ for c in COMPONENTS} == {"Mean", "Ridge", "CascadeAutoencoder", "FlowTransfer"}


def test_what_is_available_stays_and_clips_without_anything_stay_zero(imputer, clips) -> None:
    latents, available, frames = clips
    filled, num_evaluations = fill(imputer, latents, available, frames)
    assert num_evaluations == 0
    assert torch.equal(filled[available], latents[available])
    nothing = ~available.any(1)
    assert nothing.any() and not filled[nothing].any()
    own = (frames & available[..., None]).any(1, keepdim=True).expand(-1, 3, -1)
    missing = ~available[..., None].expand_as(own)
    assert filled[missing & own].any(1).all()
    assert (missing & ~own).any() and not filled[missing & ~own].any(), "no frames beyond those of the clip"


def test_what_is_missing_or_padding_is_not_read(imputer, clips) -> None:
    latents, available, frames = clips
    readable = available[..., None] & frames
    other = torch.where(readable[..., None], latents, 7 * torch.randn_like(latents))
    missing = ~available
    first, second = (fill(imputer, x, available, frames)[0][missing] for x in (latents, other))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_clip_s_recovery_does_not_depend_on_the_batch(imputer, clips) -> None:
    latents, available, frames = clips
    whole, _ = fill(imputer, latents, available, frames)
    one = [fill(imputer, latents[i : i + 1], available[i : i + 1], frames[i : i + 1])[0] for i in range(len(latents))]
    torch.testing.assert_close(whole, torch.cat(one), rtol=1e-4, atol=1e-5)  # other sizes sum in another order


@given(
    st.integers(0, 2**31 - 1),
    st.integers(3, 20),
    st.integers(1, 12),
    st.integers(1, 3),
    st.sampled_from([0.05, 1.0, 20.0]),
)
@settings(max_examples=20)
def test_ridge_and_its_strength_equal_scikit_learn_s(seed, n, num_inputs, num_targets, noise) -> None:
    r = np.random.default_rng(seed)
    x = r.normal(1, 2, (n, num_inputs))
    y = x @ r.normal(size=(num_inputs, num_targets)) + noise * r.normal(3, 1, (n, num_targets))
    weight, bias, strength = ridge(torch.from_numpy(x), torch.from_numpy(y), STRENGTHS)
    plain = SklearnRidge(alpha=strength, solver="svd").fit(x, y)
    np.testing.assert_allclose(weight, plain.coef_.reshape(weight.shape), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(bias, plain.intercept_, rtol=1e-6, atol=1e-8)
    # Two strengths may differ by rounding only: compare the errors left out, not the choice.
    assert left_out(x, y, strength) == pytest.approx(-RidgeCV(STRENGTHS).fit(x, y).best_score_, rel=1e-6)


def left_out(x, y, strength):
    """Mean squared error of each row by the regression on all others, done literally."""
    others = [np.arange(len(x)) != i for i in range(len(x))]
    models = [SklearnRidge(alpha=strength, solver="svd").fit(x[rows], y[rows]) for rows in others]
    return np.mean([np.square(y[i] - model.predict(x[i : i + 1])) for i, model in enumerate(models)])


L, D = 2, 3  # a clip has 6 numbers in each modality


@pytest.fixture(scope="module")
def gaussian():
    """One component: x and y jointly Gaussian, so that E[x_m | available] is linear."""
    g = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return FactorMixture(
        weights=torch.ones(1, dtype=torch.float64),
        loadings={m: normal(1, L * D, 2) for m in MODALITIES},
        offsets={m: normal(1, L * D) for m in MODALITIES},
        private={m: normal(L * D, 1) for m in MODALITIES},
        label_weights=normal(1, 2),
        noise_std=0.5,
        label_std=0.3,
    )


def drawn(mixture, num_clips, seed):
    x, _ = mixture.sample(num_clips, torch.Generator().manual_seed(seed))
    return x, torch.stack([x[m].view(-1, L, D) for m in MODALITIES], 1).float()


def test_regression_approaches_the_exact_conditional_mean_of_gaussian_clips(gaussian) -> None:
    """Its distance is the residual's size times sqrt(P / n), with P <= 13 weights of a number: less than the data's
    spread times that, and with 16 times the clips a quarter (a half is asked for)."""
    x, latents = drawn(gaussian, 500, 1)
    frames = torch.ones(500, 3, L, dtype=torch.bool)
    worst = {}
    for num_train in (1000, 16000):
        _, train = drawn(gaussian, num_train, 2)
        imputer = Ridge().build(D, L)
        imputer.fit(train, torch.ones(num_train, 3, dtype=torch.bool), torch.ones(num_train, 3, L, dtype=torch.bool))
        distances = []
        for name, sources, missing in incomplete():
            available = torch.zeros(500, 3, dtype=torch.bool)
            available[:, sources] = True
            filled, _ = fill(imputer, latents, available, frames)
            posterior = gaussian.posterior({m: x[m] for m in name})
            for m in missing:
                exact = posterior.expected(MODALITIES[m])
                error = (filled[:, m].flatten(1) - exact).square().mean().sqrt()
                distances.append(float(error / latents[:, m].std()))
        worst[num_train] = max(distances)
    assert worst[16000] < (13 / 16000) ** 0.5
    assert worst[16000] < worst[1000] / 2


def test_regression_learns_from_the_clips_that_recorded_what_is_needed_and_no_others(gaussian) -> None:
    _, latents = drawn(gaussian, 80, 4)
    frames = torch.ones(80, 3, L, dtype=torch.bool)
    recorded = torch.ones(80, 3, dtype=torch.bool)
    recorded[50:, 2] = False
    a, b = Ridge().build(D, L), Ridge().build(D, L)
    a.fit(latents, recorded, frames)
    changed = latents.clone()
    changed[50:] = torch.randn(30, 3, L, D)
    b.fit(changed, recorded, frames)
    same = {name: torch.equal(a.maps[name].weight, b.maps[name].weight) for name in a.maps}
    assert same == {name: "v" in name for name in a.maps}
    x, y = latents[:50, :2].flatten(1).double().numpy(), latents[:50, 2].flatten(1).double().numpy()
    expected = RidgeCV(Ridge().strengths).fit(x, y)
    np.testing.assert_allclose(a.maps["la_v"].weight.detach(), expected.coef_, atol=1e-5)  # float32


@pytest.mark.parametrize("num_clips", [0, 1])
def test_regression_says_which_recovery_no_clip_can_teach(gaussian, num_clips) -> None:
    _, latents = drawn(gaussian, 20, 5)
    recorded = torch.ones(20, 3, dtype=torch.bool)
    recorded[num_clips:, 2] = False
    with pytest.raises(UserError, match=f"cannot recover v from l: {num_clips} training clips"):
        Ridge().build(D, L).fit(latents, recorded, torch.ones(20, 3, L, dtype=torch.bool))


def test_the_mean_is_that_of_the_clips_that_have_the_frame(clips) -> None:
    latents, available, frames = clips
    imputer = Mean().build(latents.shape[3], latents.shape[2])
    imputer.fit(latents, available, frames)
    present = (frames & available[..., None]).numpy()
    hidden = np.where(present[..., None], latents.numpy(), np.nan)
    np.testing.assert_allclose(imputer.mean, np.nanmean(hidden, axis=0), rtol=1e-5, atol=1e-6)
    frames[:, 1, 0] = False
    imputer.fit(latents, available, frames)
    assert not imputer.mean[1, 0].any(), "0, the mean of all latents, where no clip has the frame"


def test_the_mean_of_a_frame_is_not_the_mean_of_all_frames() -> None:
    """A course that all clips share is kept; in latents standardised over all frames a zero would lose it."""
    course = torch.tensor([-1.0, 1.0])[None, None, :, None].expand(4, 3, 2, 1)
    imputer = Mean().build(1, 2)
    imputer.fit(course, torch.ones(4, 3, dtype=torch.bool), torch.ones(4, 3, 2, dtype=torch.bool))
    available = torch.tensor([[True, False, False]])
    filled, _ = fill(imputer, torch.zeros(1, 3, 2, 1), available, torch.ones(1, 3, 2, dtype=torch.bool))
    assert filled[0, 1].flatten().tolist() == [-1.0, 1.0]


def test_an_untrained_cascade_adds_nothing_and_each_block_adds_to_what_came_before(clips) -> None:
    latents, available, frames = clips
    imputer = CascadeAutoencoder(num_blocks=3, widths=(8, 4)).build(latents.shape[3], latents.shape[2])
    known = latents * (available[..., None] & frames)[..., None]
    torch.testing.assert_close(imputer.estimate(latents, available, frames), known)
    bias = torch.randn(3, known[0].numel())
    with torch.no_grad():
        for block, value in zip(imputer.blocks, bias, strict=True):
            block[-1].bias.copy_(value)
    expected = known + bias.sum(0).view_as(known[0])
    torch.testing.assert_close(imputer.estimate(latents, available, frames), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda: Ridge(strengths=()),
        lambda: Ridge(strengths=(1.0, 0.0)),
        lambda: CascadeAutoencoder(num_blocks=0),
        lambda: CascadeAutoencoder(widths=()),
        lambda: CascadeAutoencoder(widths=(8, 0)),
    ],
)
def test_impossible_settings_are_refused(change) -> None:
    with pytest.raises(ValueError, match="strengths|num_blocks|widths"):
        change()
