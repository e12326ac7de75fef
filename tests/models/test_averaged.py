from __future__ import annotations

import pytest
import torch

from imer_ray.models.averaged import Averaged


def test_features_are_each_modality_s_mean_over_its_frames_and_zero_without_any(clips):
    latents, available, frames = clips
    frames = frames & available[..., None]
    features = Averaged().build(latents.shape[-1])(latents.masked_fill(~frames[..., None], 7.0), frames)
    assert features.shape == (len(latents), 3 * latents.shape[-1])
    for b in range(len(latents)):
        for m in range(3):
            there = latents[b, m][frames[b, m]]
            mean = there.mean(0) if len(there) else torch.zeros(latents.shape[-1])
            torch.testing.assert_close(features.view(len(latents), 3, -1)[b, m], mean, rtol=1e-5, atol=1e-6)


def test_has_no_weights_and_its_head_reads_all_modalities():
    fusion = Averaged(out_dropout=0.0)
    assert list(fusion.build(8).parameters()) == []
    assert fusion.build_head(8)(torch.randn(4, 24)).shape == (4,)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_impossible_dropout_is_refused(rate):
    with pytest.raises(ValueError, match="out_dropout"):
        Averaged(out_dropout=rate)
