"""Latents of a split are the encoder's, batch by batch, and a data set larger than memory can be encoded."""

import dataclasses
import weakref
from dataclasses import dataclass, field

import pytest
import torch

from imer_ray.config.components import build, option
from imer_ray.data.dataset import Dataset, Split
from imer_ray.data.synthetic import Synthetic
from imer_ray.errors import UserError
from imer_ray.models.model import build_encoder
from imer_ray.training.latents import BATCH_SIZE, Latents, batches, encode_split

SMALL = Synthetic(num_train=2 * BATCH_SIZE + 3, num_valid=5, num_test=1, num_frames=6)


@pytest.fixture(scope="module")
def dataset():
    return SMALL.load()


def encode(encoder, dataset):
    assert len(encode_split(encoder, dataset, "train", "cpu").x) == dataset.size("train")


@pytest.fixture(scope="module")
def encoder(dataset):
    torch.manual_seed(0)
    encoder = build_encoder(build(option("encoder", "imder")), dataset.dims, dataset.lengths)
    return encoder.eval().requires_grad_(False)


def test_latents_of_a_split_are_the_encoder_s_of_all_its_clips_at_once(dataset, encoder):
    encoder.standardise(batches(dataset, "train", "cpu"))
    latents = encode_split(encoder, dataset, "train", "cpu")
    batch = dataset.batch("train", torch.arange(dataset.size("train")))
    x, frames = encoder(batch.features, batch.frames)
    torch.testing.assert_close(latents.x, x, rtol=1e-5, atol=1e-5)  # other blocks of a matrix product
    assert torch.equal(latents.frames, frames) and torch.equal(latents.labels, batch.labels)
    assert latents.recorded.all() and latents.num_frames == 4
    flat = latents.x.double().transpose(0, 1).flatten(1, 2)
    torch.testing.assert_close(flat.mean(1), torch.zeros(3, 32).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat.std(1), torch.ones(3, 32).double(), atol=1e-3, rtol=0)


def test_latents_come_back_from_their_file(dataset, encoder, tmp_path):
    latents = encode_split(encoder, dataset, "valid", "cpu")
    latents.save(tmp_path / "latents.safetensors")
    again = Latents.load(tmp_path / "latents.safetensors")
    for name in ("x", "frames", "recorded", "labels"):
        assert torch.equal(getattr(again, name), getattr(latents, name))


@dataclass
class Watched:
    """A data set that counts how many of the batches it handed out are still held."""

    dataset: Dataset
    times: int  # it holds every clip so often
    handed_out: list = field(default_factory=list)
    most: int = 0

    def size(self, split):
        return self.times * self.dataset.size(split)

    def recorded(self, split):
        return self.dataset.recorded(split).repeat(self.times, 1)

    def labels(self, split):
        return self.dataset.labels(split).repeat(self.times)

    def batch(self, split, rows):
        batch = self.dataset.batch(split, rows % self.dataset.size(split))
        self.handed_out.append(weakref.ref(batch.features["l"]))
        self.most = max(self.most, sum(held() is not None for held in self.handed_out))
        return dataclasses.replace(batch, index=rows)


@pytest.mark.parametrize(
    "act", [lambda e, d: e.standardise(batches(d, "train", "cpu")), encode], ids=["mean", "encode"]
)
def test_standardising_and_encoding_hold_few_batches_at_a_time(dataset, encoder, act):
    """Or MOSEI's training clips (2.9 GB) would all be in memory."""
    watched = Watched(dataset, times=4)
    act(encoder, watched)
    assert len(watched.handed_out) == 9 and watched.most <= 2


def test_an_empty_split_is_told(dataset, encoder):
    empty = Split(dataset.splits["valid"].gather, *(_first(x, 0) for x in _parts(dataset.splits["valid"])))
    with pytest.raises(UserError, match="valid split is empty"):
        encode_split(encoder, Dataset(dataset.dims, dataset.lengths, "", "", {"valid": empty}, {}), "valid", "cpu")


def _parts(split):
    return split.frames, split.recorded, split.labels


def _first(value, count):
    return {m: x[:count] for m, x in value.items()} if isinstance(value, dict) else value[:count]
