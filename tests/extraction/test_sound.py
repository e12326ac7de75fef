"""Sound is read as librosa reads it, within bounds, and what cannot be read is said in a sentence."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from imer_ray.errors import UserError
from imer_ray.extraction.sound import read_sound


@pytest.mark.slow  # as what calls librosa in test_librosa_features.py
@pytest.mark.usefixtures("librosa_compiled")
@pytest.mark.parametrize("rate", [None, 16_000, 22_050])
def test_samples_are_librosa_s(tone, rate: int | None) -> None:
    path = tone(rate=44_100, channels=2)
    y, found = read_sound(path, rate)
    wanted, wanted_rate = librosa.load(path, sr=rate)
    assert found == wanted_rate
    np.testing.assert_allclose(y, wanted, atol=1e-6)  # a mean of 16-bit samples, resampled in single precision


def test_channels_are_averaged(tone) -> None:
    y, _ = read_sound(tone(amplitude=0.8, channels=2, hz=1000))
    assert np.abs(y).max() == pytest.approx(0.4, abs=1e-3)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_other_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path, y = tmp_path / f"clip.{suffix}", 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    soundfile.write(path, y, 16_000)
    found, rate = read_sound(path)
    assert rate == 16_000 and len(found) == pytest.approx(16_000, abs=2_400)  # mp3 pads
    assert np.sqrt(np.mean(found**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_sound_that_is_too_short_or_too_long_is_refused_unread(tone, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clip.wav lasts 0.050 s; at least 0.1 s are needed"):
        read_sound(tone(seconds=0.05))
    with pytest.raises(UserError, match=r"clip.wav lasts 0.000 s"):
        read_sound(tone(seconds=0))
    with pytest.raises(UserError, match=r"lasts 301 s at 4000 samples a second; at most 300 s and .* cut it"):
        read_sound(tone(seconds=301, rate=4_000))
    with pytest.raises(UserError, match=r"has 3999 samples a second; 4000 to 192000 are read"):
        read_sound(tone(rate=3_999))


def test_a_header_that_promises_gigabytes_makes_no_room_for_them(tmp_path: Path) -> None:
    claimed = 2**31
    header = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + b"data" + struct.pack("<I", claimed)
    path = tmp_path / "clip.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", claimed + 36) + b"WAVE" + header + b"\1\0" * 8000)
    assert len(read_sound(path)[0]) == 8000  # what is there, as of a recording that was cut off


def test_what_is_no_sound_is_refused(tone, tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    for content in (b"", b"RIFF", os.urandom(1000)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"noise.wav is damaged or no sound that can be read"):
            read_sound(path)
    cut = tmp_path / "cut.flac"
    soundfile.write(cut, np.random.default_rng(0).normal(size=16_000) / 10, 16_000)
    cut.write_bytes(cut.read_bytes()[:8000])
    with pytest.raises(UserError, match=r"cut.flac is damaged"):
        read_sound(cut)
    with pytest.raises(UserError, match=r"gone.wav: no such file"):
        read_sound(tmp_path / "gone.wav")
    soundfile.write(path, np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"noise.wav holds samples that are not finite"):
        read_sound(path)


def test_a_missing_package_is_said_with_what_to_install(tone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(UserError, match=r"reading sound needs .*: pip install 'imer-ray\[extract\]'"):
        read_sound(tone())
