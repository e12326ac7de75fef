"""Acoustic features by openSMILE, whose licence allows research and private use only."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from imer_ray.data import feature_names
from imer_ray.extraction.extractor import from_the_extra
from imer_ray.extraction.sound import SUFFIXES, read_sound

RATE = 16_000  # samples a second


@dataclass(frozen=True)
class Egemaps:
    """[T, 25], a frame every 10 ms: eGeMAPS v02's low-level descriptors (loudness, spectrum, pitch, voice quality and
    formants), smoothed over three frames; resampled to 16,000 samples a second.

    As MMSA-FET sets openSMILE in its ``bert+opensmile+openface.json`` (thuiar/MMSA-FET, src/MSA_FET/example_configs).

    References:
        Eyben et al., 2016, The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research and Affective
        Computing, IEEE Transactions on Affective Computing 7(2), doi:10.1109/TAFFC.2015.2457417.
        Eyben, Woellmer, Schuller, 2010, openSMILE, ACM Multimedia, doi:10.1145/1873951.1874246.
    """

    modality: ClassVar[str] = "a"
    name: ClassVar[str] = feature_names.EGEMAPS
    width: ClassVar[int] = 25
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def extract(self, path: Path) -> NDArray[np.float32]:
        y, rate = read_sound(path, RATE)
        return _smile().process_signal(y, rate).to_numpy(np.float32)


@functools.cache
def _smile() -> Any:
    with from_the_extra("openSMILE's features"):
        import opensmile
    level = opensmile.FeatureLevel.LowLevelDescriptors
    return opensmile.Smile(feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=level)
