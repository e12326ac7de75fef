"""How bright a film is, of films in the laboratory's own format: a byte a pixel, 16 pixels a frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Brightness:
    """Mean and standard deviation of a frame's pixels, in [0, 1]."""

    modality: ClassVar[str] = "v"
    name: ClassVar[str] = "brightness (my_lab)"
    width: ClassVar[int] = 2
    suffixes: ClassVar[tuple[str, ...]] = (".film",)

    gain: float = 1.0

    def extract(self, path: Path) -> NDArray[np.float32]:
        pixels = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 16) / np.float32(255) * self.gain
        return np.stack([pixels.mean(1), pixels.std(1)], axis=1)
