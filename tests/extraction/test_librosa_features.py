"""What is known of a tone in closed form, and both sets of features against what their authors' code calls."""

from __future__ import annotations

import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest

from imer_ray.extraction.librosa_features import MmsaFet, Sims

# librosa is compiled when it is first called: half a minute of a processor in a fresh environment.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("librosa_compiled")]
WINDOW = 2048  # samples
INNER = slice(3, -3)  # frames whose windows lie within the sound


def test_a_tone_s_loudness_crossings_and_pitch(tone) -> None:
    hz, rate, amplitude = 1000.0, 16_000, 0.5
    found = MmsaFet().extract(tone(hz, 2.0, amplitude, rate))[INNER]
    assert found.shape[1] == 24 and found.dtype == np.float32
    rms, crossings, rolloff, centroid = found[:, 20:].T
    np.testing.assert_allclose(rms, amplitude / np.sqrt(2), rtol=2e-3)  # windows hold no whole number of periods
    np.testing.assert_allclose(crossings, 2 * hz / rate, atol=1.5 / WINDOW)  # one more or less, and rounding
    np.testing.assert_allclose(rolloff, hz, atol=rate / WINDOW)  # a bin
    np.testing.assert_allclose(centroid, hz, rtol=0.02)  # a Hann window's side lobes


def test_the_tone_s_chroma_is_its_note(tone) -> None:
    found = Sims().extract(tone(440.0, 2.0, rate=44_100))
    assert found.shape == (87, 33) and found.dtype == np.float32  # 1 + 44,100 // 512
    np.testing.assert_allclose(found[INNER, 0], 2 * 440 / 22_050, atol=1.5 / WINDOW)
    assert (found[INNER, 21:].argmax(1) == 9).all(), "a is the tenth note from c"


@pytest.mark.filterwarnings("ignore:n_fft", "ignore::DeprecationWarning:audioread")
def test_features_are_what_the_authors_call(tone) -> None:
    path = tone(channels=2, rate=44_100)
    y, sr = librosa.load(path, sr=None)
    calls = {"mfcc": {"n_mfcc": 20, "htk": True, "sr": sr}, "rms": {}, "zero_crossing_rate": {}}
    calls |= {"spectral_rolloff": {"sr": sr}, "spectral_centroid": {"sr": sr}}
    wanted = np.concatenate([getattr(librosa.feature, name)(y=y, **given).T for name, given in calls.items()], axis=1)
    np.testing.assert_allclose(MmsaFet().extract(path), wanted, rtol=1e-4, atol=1e-3)
    y, sr = librosa.load(path)
    parts = [
        librosa.feature.zero_crossing_rate(y, hop_length=512),
        librosa.feature.mfcc(y=y, sr=sr, hop_length=512, htk=True),
        librosa.feature.chroma_cqt(y=y, sr=sr, hop_length=512),
    ]
    np.testing.assert_allclose(Sims().extract(path), np.concatenate(parts).T, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("extractor", [MmsaFet(), Sims()])
@pytest.mark.parametrize("amplitude", [0.0, 1.0])
@pytest.mark.parametrize("rate", [4_000, 48_000])
def test_the_shortest_sound_and_silence_have_features(tone, extractor, amplitude: float, rate: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = extractor.extract(tone(seconds=0.1, amplitude=amplitude, rate=rate))
    assert len(found) >= 1 and np.isfinite(found).all()


def test_a_longer_sound_has_more_frames(tone) -> None:
    path: Path = tone(seconds=4.0, rate=16_000)
    assert len(MmsaFet().extract(path)) == 1 + 64_000 // 512
