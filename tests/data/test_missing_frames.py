"""Frame masks: exact to one frame, at least one kept of a clip, frozen, never more than was recorded, never read."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import MODALITIES, Fixed
from imer_ray.data.missing_frames import KINDS, Frames
from imer_ray.data.synthetic import Synthetic
from imer_ray.training.seeding import seeded

LENGTHS = {"l": 8, "a": 20, "v": 5}
WHOLE = {m: torch.ones(200, length, dtype=torch.bool) for m, length in LENGTHS.items()}


@st.composite
def recorded_frames(draw: st.DrawFn) -> dict[str, Tensor]:
    """{m: [N, L_m]} with holes, and with modalities and clips without any frame."""
    size = draw(st.integers(1, 20))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    frames = {}
    for m in MODALITIES:
        length, share = draw(st.integers(1, 12)), torch.rand(size, 1, generator=g) * 1.4 - 0.2
        frames[m] = torch.rand(size, length, generator=g) < share
    return frames


@settings(deadline=None)
@given(recorded_frames(), st.sampled_from(KINDS), st.floats(0, 0.99), st.integers(0, 2**31))
def test_the_rate_is_met_to_one_frame_of_every_clip_and_modality_and_one_frame_of_a_clip_stays(
    frames: dict[str, Tensor], kind: str, rate: float, seed: int
) -> None:
    protocol = Frames(kind=kind, rates=(rate,))
    left = protocol.frame_masks(protocol.settings()[0], frames, "test", seed)
    for m in MODALITIES:
        assert left[m].shape == frames[m].shape and not (left[m] & ~frames[m]).any()
        count = frames[m].sum(1)
        assert ((count - left[m].sum(1) - rate * count).abs() <= 1).all()
    had, has = (torch.stack([of[m].any(1) for m in MODALITIES]).any(0) for of in (frames, left))
    assert torch.equal(had, has)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rates_of_the_literature_drop_their_share_of_whole_clips(kind: str) -> None:
    protocol = Frames(kind=kind)
    assert protocol.settings() == [f"0.{tenth}" for tenth in range(10)] and protocol.complete == {"0.0"}
    for setting in protocol.settings():
        left = protocol.frame_masks(setting, WHOLE, "test", 1111)
        for m, length in LENGTHS.items():
            assert (left[m].sum(1) == length - round(float(setting) * length)).all()


def test_joint_drops_the_same_frames_of_all_modalities_and_independent_does_not() -> None:
    alike = dict.fromkeys(MODALITIES, torch.ones(50, 12, dtype=torch.bool))
    joint, independent = (Frames(kind=k).frame_masks("0.5", alike, "test", 1) for k in ("joint", "independent"))
    assert torch.equal(joint["l"], joint["a"]) and torch.equal(joint["l"], joint["v"])
    assert not torch.equal(independent["l"], independent["a"])


def test_joint_drops_the_same_stretches_where_modalities_differ_in_length() -> None:
    """With twice as many frames, both halves of a place hold what the place was decided by, or the next best ones."""
    longer = {"l": WHOLE["l"][:, :4], "a": WHOLE["l"], "v": WHOLE["l"]}
    left = Frames(kind="joint").frame_masks("0.5", longer, "test", 1)
    assert torch.equal(left["a"], left["v"])
    agreement = (left["a"].view(200, 4, 2).any(2) | ~left["l"]).double().mean()
    other = (left["a"].view(200, 4, 2).any(2)[1:] | ~left["l"][:-1]).double().mean()
    assert agreement > other + 0.05


def test_blocks_are_one_run_of_recorded_frames_and_may_lie_anywhere() -> None:
    frames = {m: there.clone() for m, there in WHOLE.items()}
    frames["a"][:, 3::4] = False  # a run is of the frames that were recorded
    left = Frames(kind="blocks").frame_masks("0.4", frames, "test", 1)
    for m, there in frames.items():
        gone = ~left[m][there].view(200, -1)
        padded = torch.nn.functional.pad(gone.long(), (1, 1))
        assert ((padded.diff(dim=1) == 1).sum(1) == 1).all()
        starts = gone.long().argmax(1)
        assert set(starts.tolist()) == set(range(gone.shape[1] - int(gone[0].sum()) + 1))


def test_a_mask_is_frozen_by_split_kind_setting_and_seed_and_by_nothing_else() -> None:
    def mask(kind: str = "independent", setting: str = "0.5", split: str = "test", seed: int = 1) -> Tensor:
        return Frames(kind=kind).frame_masks(setting, WHOLE, split, seed)["a"]

    before = torch.get_rng_state()
    assert torch.equal(mask(), mask())
    assert torch.equal(Frames(rates=(0.5,)).frame_masks("0.5", WHOLE, "test", 1)["a"], mask())
    assert torch.equal(torch.get_rng_state(), before), "a mask drew from the global generator"
    for other in (mask(kind="blocks"), mask(setting="0.6"), mask(split="valid"), mask(seed=2)):
        assert not torch.equal(other, mask())


def test_training_masks_have_every_rate_equally_often_and_are_others_each_time() -> None:
    many = {m: torch.ones(3000, 10, dtype=torch.bool) for m in MODALITIES}
    generator, protocol = seeded(1, "masks"), Frames(rates=(0.0, 0.3, 0.6))
    first, second = (protocol.training_masks(many, generator) for _ in range(2))
    assert not torch.equal(first["l"], second["l"])
    counts, numbers = first["l"].sum(1).unique(return_counts=True)
    assert counts.tolist() == [4, 7, 10]
    # Binomial with p = 1/3 and n = 3,000: one standard deviation is 26, four of them 104.
    assert (numbers - 1000).abs().max() < 104
    assert all(torch.equal(first["l"].sum(1), first[m].sum(1)) for m in MODALITIES), "a clip has one rate"
    incomplete = protocol.training_masks(many, generator, complete=False)
    assert set(incomplete["v"].sum(1).tolist()) == {4, 7}


@pytest.mark.parametrize(
    ("change", "words"), [({"kind": "some"}, "kind"), ({"rates": ()}, "rates"), ({"rates": (1.0,)}, "rates")], ids=str
)
def test_impossible_settings_are_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Frames(**change)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Synthetic(num_train=20, num_valid=10, num_test=30).load()


def test_a_data_set_hides_what_a_protocol_takes_away_and_leaves_the_rest(dataset: Dataset) -> None:
    rows, protocol = torch.arange(30), Frames(kind="blocks")
    whole = dataset.batch("test", rows)
    left = dataset.under(protocol, "0.7", "test", 5)
    batch = left.batch("test", rows)
    masks = protocol.frame_masks("0.7", whole.frames, "test", 5)
    for m in MODALITIES:
        assert torch.equal(batch.frames[m], masks[m])
        assert torch.equal(batch.features[m], whole.features[m] * masks[m][..., None])
        assert torch.equal(batch.features[m], whole.with_frames(masks).features[m])
    assert torch.equal(batch.labels, whole.labels) and batch.recorded.all()
    assert torch.equal(left.batch("test", rows[3:7]).features["a"], batch.features["a"][3:7]), "of any batch"
    assert torch.equal(left.batch("valid", [0]).features["l"], dataset.batch("valid", [0]).features["l"])
    only_a = dataset.under(Fixed(), "a", "test", 5).batch("test", rows)
    assert not only_a.features["l"].any() and torch.equal(only_a.features["a"], whole.features["a"])
    assert only_a.recorded.tolist() == [[False, True, False]] * 30


def test_a_modality_without_a_frame_left_is_missing(dataset: Dataset) -> None:
    part = dataset.splits["test"]
    short = {**part.frames, "v": torch.arange(8).expand(30, 8) < 1}
    splits = {**dataset.splits, "test": dataclasses.replace(part, frames=short)}
    left = dataclasses.replace(dataset, splits=splits).under(Frames(), "0.6", "test", 1)
    assert left.recorded("test").tolist() == [[True, True, False]] * 30


def test_the_hash_of_what_is_there_tells_masks_apart(dataset: Dataset) -> None:
    found = [
        dataset.under(protocol, setting, "test", seed).splits["test"].presence
        for protocol, setting, seed in (
            (Frames(), "0.5", 1),
            (Frames(), "0.5", 2),
            (Fixed(), "la", 1),
            (Fixed(), "l", 1),
        )
    ]
    assert len(set(found)) == 4
    assert dataset.under(Fixed(), "la", "test", 2).splits["test"].presence == found[2]
    assert dataset.under(Frames(), "0.0", "test", 2).splits["test"].presence == dataset.splits["test"].presence
