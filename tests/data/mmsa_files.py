"""Small files in MMSA's unaligned format, with frames at the beginning or at the end and lengths that say how many."""

import contextlib
import os
import pickle
import tempfile
from pathlib import Path

import numpy as np

from imer_ray import convert
from imer_ray.data.store import Store

SIZES = {"train": 40, "valid": 12, "test": 8}
SHAPES = {"text": (6, 4), "audio": (9, 3), "vision": (7, 2)}
KEYS = {"l": "text", "a": "audio", "v": "vision"}
NOBODY = 65534


def tree(front=False, seed=0):
    """The splits of a file; text has no lengths, as in MMSA's."""
    r = np.random.default_rng(seed)
    return {name: _split(r, name, count, front) for name, count in SIZES.items()}


def _split(r, name, count, front):
    split = {"id": [f"{name}{i}" for i in range(count)], "regression_labels": r.uniform(-3, 3, count).astype("f4")}
    for key, (L, D) in SHAPES.items():
        x, lengths = r.normal(1, 1, (count, L, D)).astype("f4"), r.integers(2, L, count)
        frame = np.arange(L)
        padding = frame < L - lengths[:, None] if front else frame >= lengths[:, None]
        x[padding] = 0
        split[key] = x
        if key != "text":
            split[f"{key}_lengths"] = lengths.tolist()
    return split


def converted(folder, data, protocol=4):
    """The store made of a tree, or of a pickle's bytes."""
    path = folder / "clips.pkl"
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol))
    convert.convert(path, folder / "store")
    return Store(str(folder / "store"))


@contextlib.contextmanager
def as_nobody():
    """Run as a user who owns nothing, if we may do everything: to root no mode forbids anything."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.contextmanager
def open_folder():
    """A folder that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)
