"""What a recogniser reads where frames are missing: what the encoder makes of the frames that are left, and no more."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import MODALITIES
from imer_ray.data.missing_frames import Frames as FramesMissing
from imer_ray.data.synthetic import Synthetic
from imer_ray.models.encoder import Projection
from imer_ray.models.model import StandardisedEncoder, build_encoder
from imer_ray.training.latents import encode_split
from imer_ray.training.readings import Frames, Modalities, Reading
from imer_ray.training.seeding import seeded

PROTOCOL = FramesMissing(rates=(0.0, 0.4, 0.8))
ROWS, ALL = torch.tensor([4, 1, 9, 16, 3]), slice(None)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    found = Synthetic(num_train=30, num_valid=12, num_test=10).load()
    labels = found.labels("valid").clone()
    labels[2] = torch.nan
    valid = dataclasses.replace(found.splits["valid"], labels=labels)
    return dataclasses.replace(found, splits={**found.splits, "valid": valid})


def encoder_of(dataset: Dataset, kernel_size: int) -> StandardisedEncoder:
    torch.manual_seed(0)
    made = build_encoder(Projection(latent_dim=4, kernel_size=kernel_size), dataset.dims, dataset.lengths)
    made.standardise([dataset.batch("train", torch.arange(30))])
    return made.eval().requires_grad_(False)


def readings(dataset: Dataset, kernel_size: int = 3, protocol: Any = PROTOCOL) -> Frames:
    return Frames(protocol, dataset, encoder_of(dataset, kernel_size), "cpu", 7)


def same(one: Reading, other: Reading) -> bool:
    return all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Reading))


def test_masked_latents_are_those_of_the_frames_left_only_where_each_is_of_one_frame(dataset: Dataset) -> None:
    """Why clips are encoded again."""
    for kernel_size in (1, 3):
        whole = encode_split(encoder_of(dataset, kernel_size), dataset, "train", "cpu")
        read = readings(dataset, kernel_size).training(ROWS, ALL, seeded(1, "x"))
        masked = whole.x[ROWS] * read.frames[..., None]
        assert read.frames.any() and not read.frames.all()
        assert torch.allclose(read.x, masked, atol=1e-6) == (kernel_size == 1)


def test_training_clips_lose_other_frames_each_time_and_a_worker_reads_its_share_of_them(dataset: Dataset) -> None:
    found = readings(dataset)
    generator = seeded(1, "x")
    first, second = (found.training(ROWS, ALL, generator) for _ in range(2))
    assert not torch.equal(first.frames, second.frames)
    part = found.training(ROWS, slice(1, 3), seeded(1, "x"))
    assert torch.equal(part.frames, first.frames[1:3]) and torch.equal(part.available, first.available[1:3])
    torch.testing.assert_close(part.x, first.x[1:3])


def test_what_is_hidden_is_not_read(dataset: Dataset) -> None:
    """The same draws, other values where frames are hidden by them."""
    there = dataset.frames("train", ROWS)
    left = PROTOCOL.training_masks(there, seeded(1, "x"))
    train = dataset.splits["train"]

    def spoil(m: str) -> Any:
        def gather(rows: Tensor) -> Tensor:
            return train.gather[m](rows).masked_fill(~left[m][..., None], 1e3)

        return gather

    changed = dataclasses.replace(train, gather={m: spoil(m) for m in MODALITIES})
    spoilt = dataclasses.replace(dataset, splits={**dataset.splits, "train": changed})
    encoder = encoder_of(dataset, 3)
    one, other = (Frames(PROTOCOL, d, encoder, "cpu", 7).training(ROWS, ALL, seeded(1, "x")) for d in (dataset, spoilt))
    assert same(one, other)


def test_validation_is_over_the_protocol_s_settings_with_the_masks_that_score_them(dataset: Dataset) -> None:
    found = list(readings(dataset).validation())
    assert [name for name, _, _ in found] == ["0.0", "0.4", "0.8"]
    encoder = encoder_of(dataset, 3)
    for name, rows, read in found:
        assert rows.tolist() == [0, 1, *range(3, 12)], "labelled clips"
        left = dataset.under(PROTOCOL, name, "valid", 7).batch("valid", rows)
        x, frames = encoder(left.features, left.frames)
        torch.testing.assert_close(read.x, x)
        assert torch.equal(read.frames, frames) and torch.equal(read.available, left.recorded)


def test_a_modality_without_a_frame_left_is_not_available(dataset: Dataset) -> None:
    one_frame = {m: torch.arange(8).expand(30, 8) < (1 if m == "a" else 8) for m in MODALITIES}
    train = dataclasses.replace(dataset.splits["train"], frames=one_frame)
    short = dataclasses.replace(dataset, splits={**dataset.splits, "train": train})
    read = readings(short, protocol=FramesMissing(rates=(0.8,))).training(ROWS, ALL, seeded(1, "x"))
    assert read.available.tolist() == [[True, False, True]] * 5
    assert not read.x[:, 1].any() and not read.frames[:, 1].any()


def test_whole_modalities_are_read_from_the_latents_of_complete_clips(dataset: Dataset) -> None:
    encoder = encoder_of(dataset, 3)
    data = {split: encode_split(encoder, dataset, split, "cpu") for split in ("train", "valid")}
    found = Modalities(data)
    read = found.training(ROWS, ALL, seeded(1, "x"), complete=False)
    assert torch.equal(read.x, data["train"].x[ROWS]) and torch.equal(read.frames, data["train"].frames[ROWS])
    assert read.available.any(1).all() and not read.available.all(1).any()
    assert [name for name, _, _ in found.validation()] == ["l", "a", "v", "la", "lv", "av", "lav"]
    assert all(rows.tolist() == [0, 1, *range(3, 12)] for _, rows, _ in found.validation())
