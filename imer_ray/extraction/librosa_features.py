"""Acoustic features by librosa, as the two toolboxes of CH-SIMS's authors make them.

Window 2,048 samples, hop 512, frames centred (librosa's own settings, which both leave as they are).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from imer_ray.data import feature_names
from imer_ray.extraction.compiling import compiled_alone
from imer_ray.extraction.extractor import from_the_extra
from imer_ray.extraction.sound import SUFFIXES, read_sound

NUM_MFCC, NUM_CHROMA = 20, 12
SIMS_RATE = 22_050  # samples a second, to which librosa.load resamples unless told otherwise


@dataclass(frozen=True)
class MmsaFet:
    """[T, 24], a frame every 512 samples: 20 MFCC on HTK's mel scale, root mean square, zero-crossing rate, spectral
    roll-off and centroid, both in hertz; at the file's own rate.

    The configuration ``librosa`` that MMSA-FET comes with and its README shows (thuiar/MMSA-FET,
    src/MSA_FET/example_configs/librosa.json). What it gives depends on the rate: use recordings of the same one.

    References:
        Mao et al., 2022, M-SENA: An Integrated Platform for Multimodal Sentiment Analysis, arXiv:2203.12441.
    """

    modality: ClassVar[str] = "a"
    name: ClassVar[str] = feature_names.LIBROSA
    width: ClassVar[int] = NUM_MFCC + 4
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def extract(self, path: Path) -> NDArray[np.float32]:
        y, rate = read_sound(path)
        with _quiet_librosa(self.name) as feature:
            parts = [
                feature.mfcc(y=y, sr=rate, n_mfcc=NUM_MFCC, htk=True),
                feature.rms(y=y),
                feature.zero_crossing_rate(y),
                feature.spectral_rolloff(y=y, sr=rate),
                feature.spectral_centroid(y=y, sr=rate),
            ]
        return np.concatenate(parts).T.astype(np.float32)


@dataclass(frozen=True)
class Sims:
    """[T, 33], a frame every 23 ms: zero-crossing rate, 20 MFCC on HTK's mel scale and 12 chroma of a constant-Q
    transform; resampled to 22,050 samples a second.

    The acoustic features of CH-SIMS and of its files for MMSA (thuiar/MMSA, data/getFeature.py; the paper calls the
    first of them log F0, and the code takes the zero-crossing rate).

    References:
        Yu et al., 2020, CH-SIMS: A Chinese Multimodal Sentiment Analysis Dataset with Fine-grained Annotations of
        Modality, ACL.
    """

    modality: ClassVar[str] = "a"
    name: ClassVar[str] = feature_names.LIBROSA_SIMS
    width: ClassVar[int] = 1 + NUM_MFCC + NUM_CHROMA
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def extract(self, path: Path) -> NDArray[np.float32]:
        y, rate = read_sound(path, SIMS_RATE)
        with _quiet_librosa(self.name) as feature:
            parts = [
                feature.zero_crossing_rate(y),
                feature.mfcc(y=y, sr=rate, n_mfcc=NUM_MFCC, htk=True),
                feature.chroma_cqt(y=y, sr=rate),
            ]
        return np.concatenate(parts).T.astype(np.float32)


@contextmanager
def _quiet_librosa(name: str) -> Iterator[Any]:
    """``librosa.feature`` for the features ``name``, without its warnings of windows longer than a sound and of sounds
    without a pitch."""
    with compiled_alone(name):
        with from_the_extra("librosa's features"):
            from librosa import feature
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield feature
