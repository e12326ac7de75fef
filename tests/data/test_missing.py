"""Masks: exact to one clip, at least one modality kept, frozen, and never more than was recorded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imer_ray.data.missing import MODALITIES, PATTERNS, Fixed, Random, pattern_mask

ALL = torch.ones(686, 3, dtype=torch.bool)


@st.composite
def recorded_masks(draw):
    """[N, 3] with every kind of row, also rows in which nothing was recorded."""
    rows = draw(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=60))
    return torch.tensor(rows)


def test_patterns_are_the_six_incomplete_subsets_and_the_complete_one_in_the_order_l_a_v():
    assert MODALITIES == ("l", "a", "v")
    assert {name: mask.tolist() for name, mask in PATTERNS.items()} == {
        "l": [True, False, False],
        "a": [False, True, False],
        "v": [False, False, True],
        "la": [True, True, False],
        "lv": [True, False, True],
        "av": [False, True, True],
        "lav": [True, True, True],
    }


@pytest.mark.parametrize("name", ["", "x", "lx"])
def test_a_pattern_of_other_letters_is_refused(name):
    with pytest.raises(ValueError, match="l, a, v"):
        pattern_mask(name)


@given(recorded_masks())
def test_fixed_gives_every_clip_the_pattern_as_far_as_recorded(recorded):
    protocol = Fixed()
    assert protocol.settings() == list(PATTERNS)
    for setting in protocol.settings():
        available = protocol.mask(setting, recorded, "test", 1)
        assert torch.equal(available, recorded & PATTERNS[setting])
    assert torch.equal(protocol.mask("lav", recorded, "test", 1), recorded)
    assert protocol.complete == {"lav"}


@settings(deadline=None)
@given(recorded_masks(), st.floats(0, 0.99), st.integers(0, 2**31))
def test_random_misses_exactly_the_rate_of_recorded_slots_and_keeps_one_of_each_clip(recorded, rate, seed):
    protocol = Random(rates=(rate,))
    available = protocol.mask(protocol.settings()[0], recorded, "valid", seed)
    assert not (available & ~recorded).any()
    assert torch.equal(available.any(1), recorded.any(1))
    slots, most = int(recorded.sum()), int(recorded.sum()) - int(recorded.any(1).sum())
    assert int((recorded & ~available).sum()) == min(round(rate * slots), most)


def test_the_rates_of_the_literature_are_met_to_one_slot_and_the_last_leaves_one_modality_each():
    protocol = Random()
    assert protocol.settings() == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]
    for setting in protocol.settings():
        missing = int((~protocol.mask(setting, ALL, "test", 1111)).sum())
        assert abs(missing - min(float(setting), 2 / 3) * ALL.numel()) <= 1
    assert torch.equal(protocol.mask("0.0", ALL, "test", 1111), ALL)
    assert protocol.complete == {"0.0"}
    assert (protocol.mask("0.7", ALL, "test", 1111).sum(1) == 1).all()


def test_every_modality_is_missing_equally_often():
    many = torch.ones(20_000, 3, dtype=torch.bool)
    share = (~Random().mask("0.4", many, "train", 3)).double().mean(0)
    # Binomial with p = 0.4 and n = 20,000: one standard deviation is 0.0035, four of them 0.014.
    assert torch.allclose(share, torch.full((3,), 0.4, dtype=torch.float64), atol=0.014)


def test_a_mask_is_frozen_by_split_setting_and_seed_and_by_nothing_else():
    protocol = Random()
    mask = protocol.mask("0.5", ALL, "test", 1111)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(protocol.mask("0.5", ALL, "test", 1111), mask)
    assert torch.equal(Random(rates=(0.5,)).mask("0.5", ALL, "test", 1111), mask)
    assert torch.equal(torch.get_rng_state(), before), "a mask drew from the global generator"
    for setting, split, seed in (("0.4", "test", 1111), ("0.5", "valid", 1111), ("0.5", "test", 1112)):
        assert not torch.equal(protocol.mask(setting, ALL, split, seed), mask)


@pytest.mark.parametrize("rates", [(), (-0.1,), (1.0,), (0.1, 2.0)])
def test_impossible_rates_are_refused(rates):
    with pytest.raises(ValueError, match="rates"):
        Random(rates=rates)


def test_unknown_patterns_are_refused():
    with pytest.raises(ValueError, match="patterns"):
        Fixed(patterns=("l", "la", "x"))


UNEQUAL = {"l": 0.2, "a": 0.5, "v": 0.7}


def test_unequal_rates_are_one_setting_that_says_them_and_can_be_hashed():
    protocol = Random(rates=UNEQUAL)
    assert protocol.settings() == ["l0.2_a0.5_v0.7"] and protocol.complete == frozenset()
    assert Random(rates={"v": 0.3}).settings() == ["l0.0_a0.0_v0.3"]
    assert Random(rates={"l": 0.0}).complete == {"l0.0_a0.0_v0.0"}
    assert hash(protocol) == hash(Random(rates=dict(reversed(UNEQUAL.items())))) != hash(Random())
    assert protocol == Random(rates=dict(reversed(UNEQUAL.items())))


@settings(deadline=None)
@given(st.integers(1, 60), st.tuples(*[st.floats(0, 0.99)] * 3), st.integers(0, 2**31))
def test_of_whole_clips_each_modality_is_missing_at_its_own_rate_to_one_clip(size, rates, seed):
    if sum(rates) > 2:
        rates = tuple(rate * 2 / sum(rates) for rate in rates)
    protocol = Random(rates=dict(zip(MODALITIES, rates, strict=True)))
    available = protocol.mask(protocol.settings()[0], torch.ones(size, 3, dtype=torch.bool), "test", seed)
    assert available.any(1).all()
    for m, rate in enumerate(rates):
        assert abs(int((~available[:, m]).sum()) - rate * size) <= 1


@settings(deadline=None)
@given(recorded_masks(), st.tuples(*[st.floats(0, 0.66)] * 3), st.integers(0, 2**31))
def test_unequal_rates_never_take_more_than_asked_for_nor_all_of_a_clip(recorded, rates, seed):
    protocol = Random(rates=dict(zip(MODALITIES, rates, strict=True)))
    available = protocol.mask(protocol.settings()[0], recorded, "test", seed)
    assert not (available & ~recorded).any() and torch.equal(available.any(1), recorded.any(1))
    missing, slots = (recorded & ~available).sum(0), recorded.sum(0)
    for m, rate in enumerate(rates):
        assert int(missing[m]) <= round(rate * int(slots[m]))


def test_a_mask_of_unequal_rates_is_frozen():
    protocol = Random(rates=UNEQUAL)
    mask = protocol.mask(protocol.settings()[0], ALL, "test", 1)
    assert torch.equal(protocol.mask(protocol.settings()[0], ALL, "test", 1), mask)
    assert not torch.equal(protocol.mask(protocol.settings()[0], ALL, "test", 2), mask)
    assert (~mask).sum(0).tolist() == [137, 343, 480]  # of 686


@pytest.mark.parametrize("rates", [{}, {"x": 0.1}, {"l": 1.0}, {"l": 0.9, "a": 0.9, "v": 0.9}], ids=str)
def test_impossible_rates_of_modalities_are_refused(rates):
    with pytest.raises(ValueError, match="rates"):
        Random(rates=rates)
