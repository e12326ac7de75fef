from __future__ import annotations

import pytest
import torch

from imer_ray.models.pooled import Pooled


@pytest.fixture
def even(randomise):
    """Its heads weigh all frames alike, so that only the readout knows the order."""
    module = randomise(Pooled(num_heads=2).build(16)).eval()
    torch.nn.init.zeros_(module.query), torch.nn.init.zeros_(module.place)
    return module


def swapped(latents, i, j):
    order = list(range(latents.shape[2]))
    order[i], order[j] = j, i
    return latents[:, :, order]


def test_the_last_frame_is_read_on_its_own(even, clips):
    latents = clips[0]
    frames = torch.ones(latents.shape[:3], dtype=torch.bool)
    features = even(latents, frames)
    assert features.shape == (len(latents), 6 * 16)
    torch.testing.assert_close(even(swapped(latents, 0, 3), frames), features, rtol=1e-4, atol=1e-5)
    assert (even(swapped(latents, 0, -1), frames) - features).abs().mean() > 1e-2


def test_the_last_frame_is_the_last_that_any_modality_has(even, clips):
    latents = clips[0]
    frames = torch.ones(latents.shape[:3], dtype=torch.bool)
    frames[:, :, -2:] = False
    shorter = even(latents[:, :, :-2], frames[:, :, :-2])
    torch.testing.assert_close(even(latents, frames), shorter, rtol=1e-4, atol=1e-5)
    # Where it is another modality's, this one has nothing to read there: its present frames keep their order to itself.
    frames[:, 1, -2:] = True
    late = even(latents, frames)
    only_language = latents.clone()
    only_language[:, 0] = swapped(latents, 0, -3)[:, 0]  # -3 is language's own last frame
    torch.testing.assert_close(even(only_language, frames), late, rtol=1e-4, atol=1e-5)
