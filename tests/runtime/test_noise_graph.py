"""The graph of a clip's noise draws what imer_ray draws."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch

from imer_ray.data.batch import Batch
from imer_ray.data.missing import MODALITIES
from imer_ray.runtime.noise_graph import noise_graph
from imer_ray.runtime.pattern_graph import GraphShape, inputs_of
from imer_ray.training.seeding import seeded


def batch(pattern: str, num_clips: int) -> Batch:
    features = {m: torch.randn(num_clips, 5, 3, generator=seeded(0, m)) for m in pattern}
    frames = {m: torch.arange(5).expand(num_clips, -1) >= torch.arange(num_clips)[:, None] for m in pattern}
    recorded = torch.tensor([m in pattern for m in MODALITIES]).expand(num_clips, -1)
    return Batch(features, frames, recorded, torch.full((num_clips,), torch.nan), torch.arange(num_clips))


@pytest.mark.parametrize("seed", [0, 1111, -1, 2**63 + 1])
@pytest.mark.parametrize(
    ("pattern", "noise", "targets"),
    [("lv", (1, 1, 1, 4, 8), (1,)), ("a", (3, 2, 5, 4, 2), (0, 2)), ("la", (2, 1, 1, 3, 5), (2,))],
)
def test_it_draws_what_imer_ray_draws(
    pattern: str, noise: tuple[int, ...], targets: tuple[int, ...], seed: int
) -> None:
    """The words are equal; NumPy's and ONNX Runtime's logarithm, sine and cosine are equal to rounding."""
    shape, clips = GraphShape(pattern, {m: (5, 3) for m in pattern}, noise, targets), batch(pattern, 3)
    session = onnxruntime.InferenceSession(noise_graph(shape, seed))
    digests = np.stack([clips.digest(m) for m in pattern], 1)
    (found,) = session.run(None, {"digests": digests})
    assert found.shape == (3, *noise) and found.dtype == np.float32
    np.testing.assert_allclose(found, inputs_of(clips, shape, seed)["noise"], rtol=1e-5, atol=1e-5)
    (alone,) = session.run(None, {"digests": digests[1:2]})
    np.testing.assert_array_equal(alone[0], found[1])


def test_it_is_small_whatever_is_drawn() -> None:
    shape = GraphShape("l", {"l": (5, 3)}, (1, 2, 100, 48, 32), (1, 2))
    assert math.prod(shape.noise) > 300_000 and len(noise_graph(shape, 0)) < 10_000
