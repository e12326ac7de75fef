"""What somebody could send: small models, ways to spoil their files, and the bounds within which these must be read."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import signal
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from experiments import experiment, of_model

from imer_ray.errors import UserError
from imer_ray.evaluation.model_folder import save
from imer_ray.evaluation.model_manifest import MANIFEST
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.models.recovery import build_recovery
from imer_ray.training.latents import load_dataset

SMALL = [
    *("data.num_train=8", "data.num_valid=8", "data.num_test=12", "data.num_frames=8", "data.dim_l=4", "data.dim_a=3"),
    *("data.dim_v=3", "encoder.latent_dim=8", "diffusion.backbone.width=8", "diffusion.backbone.num_layers=1"),
    *("diffusion.num_steps=1", "refiner.width=4", "refiner.reduction=2", "refiner.num_blocks=1"),
    *("speed.max_repeats=1", "speed.max_seconds=0", "speed.batch_size=2"),
]
MOST_BYTES = 2**28  # of address space, with what torch reserves; a model here has 60 kB
MOST_SECONDS = 60  # of one input, on a machine with other work
LONGEST_MESSAGE = 700
LOADER = {"name": "projection", "_target_": "imer_ray.stages.run.load_function"}


def save_model(folder: Path, overrides: Sequence[str]) -> Path:
    """An untrained model, in the folder of its seed."""
    config = experiment(*overrides)
    dataset = load_dataset(config)
    kept = of_model(replace(config, data_fingerprint=dataset.fingerprint))
    parts = Parts.of(kept)
    torch.manual_seed(0)
    encoder = build_encoder(parts.encoder, dataset.dims, dataset.lengths)
    recovery = build_recovery(parts.diffusion, parts.encoder.latent_dim, encoder.encoder.num_frames)
    model = EmotionModel(encoder, recovery, build_recogniser(parts.encoder.latent_dim, parts.fusion, parts.refiner))
    save(folder / "1111", model, kept, {"dims": dataset.dims, "lengths": dataset.lengths}, dataset.statistics)
    return folder / "1111"


def save_unsigned(folder: Path) -> Path:
    """One without checksums, as older versions wrote it: who spoils a file can leave them out, or make new ones."""
    model = save_model(folder, SMALL)
    (model / MANIFEST).unlink()
    return model


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """No more than a little memory and time for what is done here."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {MOST_SECONDS} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, end)
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, hard))
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def check_sentence(error: UserError, folder: Path) -> None:
    """One line that a terminal can show and that says where."""
    text = str(error)
    assert text.isprintable() and len(text) <= LONGEST_MESSAGE + 3 * len(str(folder)), text
    assert str(folder) in text or "data" in text, text


ODD: list[Any] = [
    *(None, True, -1, 0, 3, 0.5, 10**9, 10**12, 2**63, -(2**70), float("inf"), float("nan"), -float("inf"), 1e300),
    *("", "x" * 5000, "\ud800", "../../etc/passwd", "none", "nan", b"\xff", date(2001, 1, 1), {1, 2}),
    *([], {}, [[[]]], [None], {"a": {"b": 1}}, {"name": "x", "_target_": "os.system"}, LOADER),
]


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def mutate_tree(tree: Any, r: random.Random) -> None:
    """Put something odd somewhere, or leave something out, or write it under another name."""
    *parents, last = r.choice(list(places(tree)))
    for key in parents:
        tree = tree[key]
    what = r.random()
    if what < 0.75:
        tree[last] = r.choice(ODD)
    elif what < 0.9 or not isinstance(tree, dict):
        del tree[last]
    else:
        tree[r.choice(["x", 7, None, (1, 2), "\x1b[2J", "name", "_target_"])] = tree.pop(last)


def mutate_bytes(content: bytes, r: random.Random, first: int) -> bytes:
    """Flip bits, cut, leave out, repeat or put in bytes among the ``first`` ones or anywhere."""
    start = r.randrange(min(first, len(content)) if r.random() < 0.7 else len(content))
    stop = min(len(content), start + r.choice([1, 1, 2, 8, 100]))
    match r.randrange(5):
        case 0:
            flipped = bytes(byte ^ (1 << r.randrange(8)) for byte in content[start:stop])
            return content[:start] + flipped + content[stop:]
        case 1:
            return content[:start]
        case 2:
            return content[:start] + content[stop:]
        case 3:
            return content[:stop] + content[start:]
        case _:
            return content[:start] + r.randbytes(stop - start) + content[start:]


def mutate_header(content: bytes, r: random.Random) -> bytes:
    """Other shapes, types or offsets in the header of a file of tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    for _ in range(r.randint(1, 3)):
        *parents, last = r.choice(list(places(header)))
        node = header
        for key in parents:
            node = node[key]
        node[last] = r.choice([0, -1, 1, 10**9, 2**63, 2**64, "F64", "I8", "BOOL", "x", [], {}, None, 1.5])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]
