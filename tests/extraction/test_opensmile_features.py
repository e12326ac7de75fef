"""eGeMAPS's descriptors say what is known of a tone."""

from __future__ import annotations

import numpy as np
import pytest

from imer_ray.extraction.opensmile_features import Egemaps

LOUDNESS, PITCH = 0, 10  # columns; the pitch is in semitones above 27.5 Hz
INNER = slice(10, -10)


def test_a_frame_every_ten_milliseconds(tone) -> None:
    found = Egemaps().extract(tone(seconds=2.0, rate=44_100, channels=2))
    assert found.shape == (196, 25) and found.dtype == np.float32 and np.isfinite(found).all()


def test_louder_is_louder(tone) -> None:
    loudness = [Egemaps().extract(tone(amplitude=a))[INNER, LOUDNESS].mean() for a in (0.0, 0.01, 0.1, 0.5, 0.9)]
    assert (np.diff(loudness) > 0).all()


def test_the_pitch_of_a_tone(tone) -> None:
    semitones = Egemaps().extract(tone(hz=220.0, seconds=2.0))[INNER, PITCH]
    assert np.median(semitones) == pytest.approx(36, abs=0.5)  # three octaves above 27.5 Hz


def test_the_shortest_sound_has_a_frame(tone) -> None:
    found = Egemaps().extract(tone(seconds=0.1))
    assert len(found) >= 1 and np.isfinite(found).all()
