"""Predictions where a GPU has less room than the usual number of clips takes, by a limit of the test's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imer_ray.data.missing import Fixed
from imer_ray.data.synthetic import Synthetic
from imer_ray.errors import UserError
from imer_ray.evaluation.predict import Inference, draw_protocol
from imer_ray.models.encoder import Projection
from imer_ray.models.fusion import MulT
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser

SPLIT, INFERENCE = "valid", Inference(precision="fp32", compile="none")


def predictions(limit: int) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Of 40 clips, complete and with one modality, where no more than ``limit`` fit; the batches that were tried."""
    dataset, tried = Synthetic(num_train=8, num_valid=40, num_test=8).load(), list[int]()
    torch.manual_seed(0)
    encoder = build_encoder(Projection(latent_dim=8), dataset.dims, dataset.lengths)
    fusion = MulT(num_heads=2, num_cross_layers=1, num_self_layers=1)
    model = EmotionModel(encoder, None, build_recogniser(8, fusion)).eval()

    def allocate(_: Any, given: tuple[dict[str, torch.Tensor], Any]) -> None:
        tried.append(len(next(iter(given[0].values()))))
        if tried[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    encoder.register_forward_pre_hook(allocate)
    drawn = draw_protocol(model, dataset, SPLIT, Fixed(("lav", "a")), INFERENCE, 7, "cpu")
    return {setting: of_setting.mean for setting, of_setting in drawn.items()}, tried


def test_what_does_not_fit_is_predicted_in_halves_and_is_the_same() -> None:
    """Sums of a few numbers around 1 in another order: 1e-6. What has once not fitted is not tried again."""
    whole, at_once = predictions(1000)
    halves, tried = predictions(10)
    assert at_once == [40, 40]
    assert tried == [40, 20, *[10] * 8]
    for setting, expected in whole.items():
        torch.testing.assert_close(halves[setting], expected, rtol=0, atol=1e-6)


def test_a_gpu_without_room_for_one_clip_is_an_error_that_says_so() -> None:
    with pytest.raises(UserError, match="has no room to predict one clip of the valid split"):
        predictions(0)
