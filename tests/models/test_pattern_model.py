"""What a model does where the pattern is known is what it does where it is not: recovery, refiners, reading, noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pattern_models import clips, model_of
from torch import Tensor

from imer_ray.data.missing import MODALITIES, PATTERNS, fillable, targets_given
from imer_ray.models.pattern_model import PatternModel, by_pattern, clip_key, clip_keys


class SameNoise:
    """The same numbers for every row and target, so that who draws first makes no difference."""

    def of(self, identity: int) -> SameNoise:
        return self

    def joined(self, others: Any) -> SameNoise:
        return self

    def standard_normal(self, shape: Any, device: Any, dtype: torch.dtype) -> Tensor:
        return torch.linspace(-2, 2, math.prod(shape[1:])).reshape(1, *shape[1:]).expand(*shape)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("overrides", "others"),
    [
        ((), {}),
        (("diffusion.sharing=shared", "diffusion.guidance=1.5", "diffusion.condition_dropout=0.1"), {}),
        (("diffusion.sampler=euler_maruyama", "diffusion.num_steps=3"), {"recoverable": ("l", "a")}),
        (("diffusion.sharing=shared",), {"recoverable": ("a", "v")}),
        (("fusion=pooled",), {"imputer": "regression"}),
        ((), {"imputer": "autoencoder"}),
        ((), {"imputer": "mean"}),
        ((), {"imputer": "flow_transfer"}),
        ((), {"imputer": "flow_transfer", "recoverable": ("l", "a")}),
    ],
    ids=str,
)
def test_a_known_pattern_gives_what_a_mask_gives(pattern: str, overrides: tuple[str, ...], others: Any) -> None:
    model, sampler = model_of(*overrides, **others)
    batch, available = clips(4), PATTERNS[pattern].expand(4, -1)
    ready = PatternModel(model, pattern, sampler, 3)
    with torch.no_grad():
        latents, frames = model.encoder(batch.features, batch.frames)
        filled = latents * available[..., None, None]
        if pattern != "lav":
            filled, _ = model.recovery(latents, available, frames, sampler, 3, SameNoise())
        expected = model.recogniser(filled, available, frames)
        found = ready(batch.features, batch.frames, SameNoise())
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("recoverable", [("l", "a", "v"), ("l", "a"), ("v",), ()])
def test_targets_are_what_is_fillable(pattern: str, recoverable: tuple[str, ...]) -> None:
    can = torch.tensor([m in recoverable for m in MODALITIES])
    expected = fillable(PATTERNS[pattern][None], can)[0].nonzero().flatten().tolist()
    assert list(targets_given(PATTERNS[pattern].tolist(), can.tolist())) == expected


def test_draws_are_averaged_and_each_has_noise_of_its_own() -> None:
    model, sampler = model_of()
    batch = clips(3)
    many, one = PatternModel(model, "l", sampler, 2, num_draws=5), PatternModel(model, "l", sampler, 2)
    noise = many.noise(batch, 7)
    assert len(noise.keys) == len(set(noise.keys.tolist())) == 15
    with torch.no_grad():
        together = many(batch.features, batch.frames, noise)
        alone = [
            one(batch.features, batch.frames, type(noise)(noise.keys[3 * draw : 3 * draw + 3])) for draw in range(5)
        ]
    torch.testing.assert_close(together, torch.stack(alone).mean(0), rtol=0, atol=1e-6)
    assert not torch.allclose(alone[0], alone[1], atol=1e-4)


def test_what_is_missing_is_not_read() -> None:
    """Features of a modality that is not available may hold anything, or be left out."""
    model, sampler = model_of()
    batch, ready = clips(4), PatternModel(model, "lv", sampler, 2)
    other = {**batch.features, "a": torch.full_like(batch.features["a"], torch.nan)}
    left_out = {m: x for m, x in batch.features.items() if m != "a"}
    with torch.no_grad():
        found = [ready(features, batch.frames, ready.noise(batch, 0)) for features in (batch.features, other, left_out)]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_keys_depend_on_the_seed_and_on_what_is_available() -> None:
    batch = clips(4)
    digests = {m: batch.digest(m) for m in MODALITIES}
    every = [clip_keys({m: digests[m] for m in pattern}, seed) for pattern in PATTERNS for seed in (0, 1, -1)]
    assert len(set(np.concatenate(every).tolist())) == 4 * 3 * len(PATTERNS)
    nothing = {**digests, "v": np.zeros(4, np.uint64)}  # was available, and had no frame
    assert np.array_equal(clip_keys(nothing, 0), clip_keys({m: digests[m] for m in "la"}, 0))
    for seed in (0, 1, -1):
        one_by_one = [clip_key({m: int(of_all[row]) for m, of_all in nothing.items()}, seed) for row in range(4)]
        assert clip_keys(nothing, seed).tolist() == one_by_one


def test_clips_are_sorted_by_pattern() -> None:
    available = torch.stack([PATTERNS["lv"], PATTERNS["a"], torch.zeros(3, dtype=torch.bool), PATTERNS["lv"]])
    found = {pattern: rows.tolist() for pattern, rows in by_pattern(available)}
    assert found == {"lv": [0, 3], "a": [1]}
