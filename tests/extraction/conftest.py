"""Recordings of tones, for tests of extractors."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imer_ray.extraction.compiling import compiled_alone


@pytest.fixture
def tone(tmp_path: Path) -> Callable[..., Path]:
    """``tone(hz, seconds, amplitude, ...)``: a 16-bit wav of a sine that only its first channel has."""

    def write(
        hz: float = 440.0,
        seconds: float = 1.0,
        amplitude: float = 0.5,
        rate: int = 16_000,
        channels: int = 1,
        name: str = "clip.wav",
    ) -> Path:
        y = amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
        samples = np.zeros((len(y), channels), "<i2")
        samples[:, 0] = np.round(y * 32767)
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(samples.tobytes())
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def librosa_compiled() -> None:
    """For tests that call librosa themselves: another test process may do so at the same time."""
    with compiled_alone("tests"):
        from librosa import core, feature, sequence

        y = np.sin(np.arange(44_100, dtype=np.float32))
        feature.chroma_cqt(y=core.resample(y, orig_sr=44_100, target_sr=22_050), sr=22_050)
        feature.zero_crossing_rate(y)
        assert sequence
