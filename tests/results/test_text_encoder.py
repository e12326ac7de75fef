"""What a text encoder leaves of a speedup: by hand, at its ends, and as it was measured."""

import math

import pytest

from imer_ray.results import text_encoder
from imer_ray.results.text_encoder import SHAPES, over_published, sentence, shape, with_encoder


@pytest.mark.parametrize("column", SHAPES)
@pytest.mark.parametrize("frames", [4, 8, 20, 48, 500])
def test_a_speedup_with_the_encoder_is_that_of_the_sums_of_times(column, frames):
    at = shape(column, frames)
    reference, encoder, published = 1.0, at.encoder, at.published  # times, the reference's being one
    ours = reference / 250
    assert with_encoder(column, 250, frames) == pytest.approx((reference + encoder) / (ours + encoder))
    assert over_published(column, 250, frames) == pytest.approx(
        (published / ours, (published + encoder) / (ours + encoder))
    )


@pytest.mark.parametrize("column", SHAPES)
def test_it_is_one_where_nothing_is_gained_and_bounded_however_fast_the_rest_is(column):
    b = shape(column, 48).encoder
    assert with_encoder(column, 1.0, 48) == pytest.approx(1.0)
    assert with_encoder(column, 1e12, 48) == pytest.approx((1 + b) / b)
    assert math.isnan(with_encoder(column, math.nan, 48)) and math.isnan(with_encoder(column, 0.0, 48))


@pytest.mark.parametrize(("column", "known"), SHAPES.items())
def test_measured_shapes_are_met_and_what_is_not_known_is_imders_own(column, known):
    for one in known:
        found = shape(column, one.frames)
        assert (found.encoder, found.published) == pytest.approx((one.encoder, one.published))
    assert shape(column, 0) == shape(column, 48)
    assert shape(column, 4).encoder > shape(column, 8).encoder > shape(column, 20).encoder > shape(column, 200).encoder


def test_beside_the_published_code_as_it_was_timed_at_its_own_shape():
    """3.8 in batches of 32 and 9.7 on one clip, with the encoder on both sides; both vary by a tenth between days."""
    assert over_published("speedup_vs_imder", 300, 48)[1] == pytest.approx(3.8, rel=0.1)
    assert over_published("speedup_vs_imder_b1", 250, 48)[1] == pytest.approx(9.7, rel=0.1)


def test_the_sentence_has_all_four_ratios():
    said = sentence("speedup_vs_imder", 300, 48)
    numbers = [300, with_encoder("speedup_vs_imder", 300, 48), *over_published("speedup_vs_imder", 300, 48)]
    for ratio in numbers:
        assert (f"{ratio:.1f}×" if ratio < 10 else f"{ratio:.0f}×") in said
    assert text_encoder.ENCODER in said and "(at 48 frames)" in said
