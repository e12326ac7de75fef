"""Clips of people who whisper."""

from __future__ import annotations

from dataclasses import dataclass

from imer_ray.data.dataset import Dataset
from imer_ray.data.synthetic import Synthetic


@dataclass(frozen=True)
class Whispers:
    """Synthetic clips whose sound says little of the sentiment.

    Attributes:
        num_train, num_valid, num_test: clips of each split.
        clarity: how strongly the sound reads the sentiment, as in `imer_ray.data.synthetic.Synthetic`.
    """

    num_train: int = 1284
    num_valid: int = 229
    num_test: int = 686
    clarity: float = 0.3

    def _clips(self) -> Synthetic:
        sizes = {"num_train": self.num_train, "num_valid": self.num_valid, "num_test": self.num_test}
        return Synthetic(**sizes, clarity=(2.5, self.clarity, 1.05))

    def fingerprint(self) -> str:
        return self._clips().fingerprint()

    def load(self) -> Dataset:
        return self._clips().load()
