"""Sound files as one channel of samples, within bounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.errors import UserError
from imer_ray.extraction.extractor import from_the_extra
from imer_ray.received import check_file, one_line

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
MIN_SECONDS, MAX_SECONDS = 0.1, 300.0  # openSMILE's first frame takes 60 ms; an utterance lasts seconds
MAX_SAMPLES = int(MAX_SECONDS) * 48_000  # of a channel: the features of so many take a gigabyte and some seconds
MIN_RATE, MAX_RATE = 4_000, 192_000  # samples a second
BLOCK = 2**20  # numbers that are read at once, of all channels


def read_sound(path: Path, rate: int | None = None) -> tuple[NDArray[np.float32], int]:
    """Samples [N] in [-1, 1], the mean over the channels, and how many there are a second.

    The same as ``librosa.load(path, sr=rate)``.

    Args:
        rate: samples a second to resample to (soxr, high quality); None: those of the file.

    Raises:
        UserError: the file is missing, no sound, damaged, too short or too long, or a package is missing.
    """
    check_file(path, absent="no such file")
    with from_the_extra("reading sound"):
        import soundfile
        import soxr
    try:
        with soundfile.SoundFile(path) as file:
            given = file.samplerate
            _check_size(path, file.frames, given)
            y = _one_channel(path, file)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UserError(f"{path} is damaged or no sound that can be read: {one_line(error)}") from error
    if len(y) < MIN_SECONDS * given:
        raise UserError(f"{path} lasts {len(y) / given:.3f} s; at least {MIN_SECONDS} s are needed")
    if not np.isfinite(y).all():
        raise UserError(f"{path} holds samples that are not finite; write it again")
    if rate is None or rate == given:
        return y, given
    resampled = soxr.resample(y, given, rate, quality="HQ")
    wanted = math.ceil(len(y) * rate / given)  # soxr rounds, librosa does not
    return np.pad(resampled[:wanted], (0, max(0, wanted - len(resampled)))), rate


def _check_size(path: Path, num_samples: int, rate: int) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UserError(f"{path} has {rate} samples a second; {MIN_RATE} to {MAX_RATE} are read")
    if num_samples > min(MAX_SECONDS * rate, MAX_SAMPLES):
        raise UserError(
            f"{path} lasts {num_samples / rate:.0f} s at {rate} samples a second; at most {MAX_SECONDS:.0f} s and "
            f"{MAX_SAMPLES:,} samples are read: cut it into utterances"
        )


def _one_channel(path: Path, file: Any) -> NDArray[np.float32]:
    """The mean over the channels [N], read block by block: what the header says of the length may be wrong."""
    parts, num_samples, num_rows = [], 0, max(1, BLOCK // file.channels)
    while len(block := file.read(num_rows, dtype="float32", always_2d=True)):
        num_samples += len(block)
        _check_size(path, num_samples, file.samplerate)
        parts.append(block.mean(1))
    if num_samples < file.frames:
        raise UserError(f"{path} is damaged: it ends after {num_samples} of {file.frames} samples")
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
