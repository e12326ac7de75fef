from __future__ import annotations

import pytest
import torch

from imer_ray.models.encoder import Projection

DIMS = {"l": 12, "a": 5, "v": 7}


def batch(lengths, B=3):
    features = {m: torch.randn(B, lengths[m], d) for m, d in DIMS.items()}
    return features, {m: torch.ones(B, lengths[m], dtype=torch.bool) for m in DIMS}


def aligned(length):
    return dict.fromkeys(DIMS, length)


def test_published_projection_makes_48_frames_of_50_without_bias():
    encoder = Projection().build({"l": 768, "a": 5, "v": 20}, aligned(50))
    features = {"l": torch.randn(2, 50, 768), "a": torch.randn(2, 50, 5), "v": torch.randn(2, 50, 20)}
    latents, frames = encoder(features, {m: torch.ones(2, 50, dtype=torch.bool) for m in DIMS})
    assert latents.shape == (2, 3, 48, 32) and frames.shape == (2, 3, 48) and frames.all()
    assert sum(p.numel() for p in encoder.parameters()) == 3 * 32 * (768 + 5 + 20)


@pytest.mark.parametrize(("kernel_size", "padding"), [(1, 0), (3, 0), (3, 1), (3, 2), (4, 1)])
def test_latents_are_a_sliding_window_of_features(kernel_size, padding):
    settings = Projection(latent_dim=8, kernel_size=kernel_size, padding=padding)
    encoder = settings.build(DIMS, aligned(9))
    features, frames = batch(aligned(9))
    latents, _ = encoder(features, frames)
    assert latents.shape[2] == settings.length(9)
    for i, m in enumerate(DIMS):
        padded = torch.nn.functional.pad(features[m], (0, 0, padding, padding))
        windows = padded.unfold(1, kernel_size, 1)  # [B, L', D_m, kernel]
        expected = torch.einsum("bldk,odk->blo", windows, encoder.convs[m].weight)
        torch.testing.assert_close(latents[:, i], expected, rtol=1e-4, atol=1e-5)


def test_a_latent_frame_is_present_if_any_frame_under_the_kernel_is_and_absent_ones_are_zero():
    encoder = Projection(latent_dim=4, kernel_size=3).build(DIMS, aligned(8))
    features, frames = batch(aligned(8), B=1)
    frames["a"][0] = torch.tensor([0, 0, 0, 1, 0, 0, 0, 0], dtype=torch.bool)
    frames["v"][0] = False
    latents, present = encoder(features, frames)
    assert present[0].tolist() == [[True] * 6, [False, True, True, True, False, False], [False] * 6]
    assert not latents[~present].any() and latents[present].any(-1).all()
    # What stands at absent frames is not read, even under a kernel that reaches a present one.
    features["a"] = features["a"].masked_fill(~frames["a"][..., None], float("nan"))
    features["v"] = torch.full_like(features["v"], float("nan"))
    torch.testing.assert_close(encoder(features, frames)[0], latents, rtol=0, atol=0)


def test_longer_modalities_are_averaged_down_to_the_shortest():
    encoder = Projection(latent_dim=4, kernel_size=1).build(DIMS, {"l": 4, "a": 8, "v": 6})
    features, frames = batch({"l": 4, "a": 8, "v": 6}, B=2)
    latents, present = encoder(features, frames)
    assert latents.shape == (2, 3, 4, 4) and present.all()
    pairs = features["a"].view(2, 4, 2, 5).mean(2)
    torch.testing.assert_close(latents[:, 1], pairs @ encoder.convs["a"].weight[:, :, 0].T, rtol=1e-4, atol=1e-5)


def test_averaging_leaves_absent_frames_out():
    encoder = Projection(latent_dim=4, kernel_size=1).build(DIMS, {"l": 2, "a": 8, "v": 2})
    features, frames = batch({"l": 2, "a": 8, "v": 2}, B=1)
    frames["a"][0] = torch.tensor([0, 0, 0, 0, 0, 1, 0, 1], dtype=torch.bool)
    latents, present = encoder(features, frames)
    assert present[0, 1].tolist() == [False, True]
    mean = features["a"][0, [5, 7]].mean(0)
    torch.testing.assert_close(latents[0, 1, 1], encoder.convs["a"].weight[:, :, 0] @ mean, rtol=1e-4, atol=1e-5)
    assert not latents[0, 1, 0].any()


def test_text_dropout_acts_on_language_only_and_in_training_only():
    encoder = Projection(latent_dim=4, kernel_size=1, text_dropout=0.5).build(DIMS, aligned(8))
    features, frames = batch(aligned(8))
    evaluated = encoder.eval()(features, frames)[0]
    trained = encoder.train()(features, frames)[0]
    assert not torch.allclose(trained[:, 0], evaluated[:, 0])
    torch.testing.assert_close(trained[:, 1:], evaluated[:, 1:])
    both = Projection(dropout=0.5, text_dropout=0.5).build(DIMS, aligned(8))
    assert {m: dropout.rate for m, dropout in both.dropout.items()} == {"l": 0.75, "a": 0.5, "v": 0.5}


@pytest.mark.parametrize(
    "wrong",
    [{"latent_dim": 0}, {"kernel_size": 0}, {"padding": -1}, {"dropout": 1.0}, {"kernel_size": 2, "padding": 2}],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Projection(**wrong)


def test_too_few_frames_for_the_kernel_are_refused_with_the_minimum():
    with pytest.raises(ValueError, match="at least 3 frames, not 2"):
        Projection().build(DIMS, aligned(2))
