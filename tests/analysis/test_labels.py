import math

import pytest

from imer_ray.analysis.labels import duration, number, setting, short


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.73124, "0.731"),
        (41.25, "41.2"),
        (412.7, "413"),
        (12345, "12345"),
        (3.21e9, "3.21 G"),
        (1.9e6, "1.90 M"),
        (0.00123, "0.00123"),
        (1.3e-7, "1.30e-07"),
        (-0.5, "-0.500"),
        (0, "0"),
        (math.nan, "–"),
        (None, "–"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (16.0, "16"),
        (0.04567, "0.0457"),
        ("ddim", "ddim"),
        (True, "True"),
        (None, "–"),
        (math.nan, "–"),
        (1e-4, "0.0001"),
    ],
)
def test_settings_read_as_in_the_configuration(value, text):
    assert setting(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (4.24, "4.2 s"), (59.4, "59 s"), (247, "4 min 07 s"), (12300, "3 h 25 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_paths_keep_what_tells_them_apart():
    assert [short(path) for path in ("diffusion.sde", "diffusion.sde.sigma", "loss.recovery", "seed")] == [
        "sde",
        "sde.sigma",
        "loss.recovery",
        "seed",
    ]
