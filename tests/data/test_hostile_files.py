"""Files changed at random or on purpose: a value or one sentence, nothing run, memory in bounds."""

import functools
import io
import json
import os
import pickle
import random
import shutil
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from mmsa_files import converted

from imer_ray import convert
from imer_ray.data import safe_pickle
from imer_ray.data.store import Store
from imer_ray.errors import UserError

NUM_INPUTS = 300
SIZES = {"train": 5, "valid": 3, "test": 3}
KEYS = ("text", "audio", "vision")
MEMORY = 48e6  # bytes, at most, for inputs of a few kilobytes
OPCODES = (
    b"(.0123FINPQRSTUVX]abcdegijlopqrstu}\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94"
)
EVIL = [
    b"cposix\nsystem\nU\x05touch\x85R",
    b"cbuiltins\neval\nU\x011\x85R",
    b"\x8c\x02os\x8c\x06system\x93U\x01x\x85R",
    b"(ios\nsystem\n",
    b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR",
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01(J\xff\xff\xff\x7fK\x01K\x01tN\x89C\x00tb",
    b"T\xff\xff\xff\x7f",
    b"\x8e" + b"\xff" * 8,
    b"\x8b\xff\xff\xff\x7f",
    b"r\xff\xff\xff\xff",
    b"]\x94" + b"]" + b"(h\x00h\x00h\x00h\x00e\x94" * 30,
    b"(" * 3000,
    b"]" * 3000,
    b"]" + b"\x85" * 3000,
]


def small(r):
    """Splits so small that what holds the numbers together is most of the file."""
    splits = {}
    for name, count in SIZES.items():
        split = {key: r.normal(1, 1, (count, 2, 2)).astype("f4") for key in KEYS}
        split |= {"audio_lengths": [2] * count, "id": [f"{name}{i}" for i in range(count)]}
        split |= {"regression_labels": r.uniform(-3, 3, count), "text_bert": np.ones((count, 3, 2), "i8")}
        splits[name] = split
    return splits


def mutated(content, r, more=OPCODES):
    """One to four changes of bytes: flipped, set, cut out, doubled, or an opcode or a payload put in."""
    out = bytearray(content)
    for _ in range(r.randint(1, 4)):
        i = r.randrange(len(out))
        kind = r.randrange(7)
        if kind == 0:
            out[i] ^= 1 << r.randrange(8)
        elif kind == 1:
            out[i] = r.randrange(256)
        elif kind == 2:
            del out[i : i + r.randint(1, 9)]
        elif kind == 3:
            out[i:i] = out[i : i + r.randint(1, 40)]
        elif kind == 4:
            out[i:i] = bytes([r.choice(more)])
        elif kind == 5:
            out[i : i + 4] = struct.pack("<i", r.choice([-1, 0, 255, 2**16, 2**31 - 1]))
        elif len(out) > 40:
            del out[r.randrange(len(out) - 20) + 20 :]
    return bytes(out)


def outcome(action, traced=True):
    """What an action raised of the errors that are meant for users, or None; any other error fails the test.

    Tracing memory takes most of the time, so that it is for those inputs which ask for some.
    """
    if traced:
        tracemalloc.start(1)
    try:
        action()
        error = None
    except UserError as caught:
        error = str(caught)
        assert "\n" not in error and len(error) < 1500
    finally:
        if traced:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert not traced or peak < MEMORY
    return error


@pytest.fixture
def quick_folder():
    """In memory where there is such a folder: on a disk, flushing each store takes most of the time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def test_changed_pickles_are_converted_or_refused_in_one_sentence(quick_folder, monkeypatch):
    monkeypatch.chdir(quick_folder)
    r, tree = random.Random(0), small(np.random.default_rng(0))
    whole = [pickle.dumps(tree, protocol) for protocol in (2, 4, 5)]
    converted(quick_folder, tree)  # imports made
    path, refused = quick_folder / "changed.pkl", 0
    for number in range(NUM_INPUTS):
        content = r.choice(whole)
        if number % 5 == 0:
            i = r.randrange(2, len(content))
            content = content[:i] + r.choice(EVIL) + content[i:]
        path.write_bytes(mutated(content, r))
        error = outcome(lambda: convert.convert(path, quick_folder / "out"), traced=number % 5 == 0)
        refused += error is not None
        shutil.rmtree(quick_folder / "out", ignore_errors=True)
    assert refused > NUM_INPUTS / 2
    assert {file.name for file in quick_folder.iterdir()} == {"changed.pkl", "clips.pkl", "store"}


def test_pickles_of_random_instructions_are_refused():
    r = random.Random(1)
    for _ in range(NUM_INPUTS):
        words = [bytes([r.choice(OPCODES)]), r.choice(EVIL[:10]), b"K\x01", b"U\x01a", b"]", b"}", b"(", b"N"]
        soup = b"\x80\x04" + b"".join(r.choices(words, k=r.randint(1, 60))) + b"."
        outcome(functools.partial(safe_pickle.load, Path("x"), io.BytesIO(soup)))


ODD = [
    *[(value,) for value in (0, -1, 2**31, 2**62)],
    *[(5, value, 2) for value in (0, 1, 3, -2, 2**31, 2**62)],
    *[(5, 2, 2, 1), (), (10, 2), (5, 4), (1, 1, 20), (5, 2), (20, 1, 1)],
]


@pytest.mark.parametrize("shape", ODD)
def test_an_array_of_odd_shape_is_refused(tmp_path, shape):
    tree = small(np.random.default_rng(0))
    content = pickle.dumps(tree, 2)
    wanted, odd = (pickle.dumps(tuple(s), 2)[2:-1] for s in ((5, 2, 2), shape))
    wanted = wanted.split(b"q")[0]
    assert content.count(wanted) >= 3
    (tmp_path / "odd.pkl").write_bytes(content.replace(wanted, odd.split(b"q\x00")[0]))
    assert outcome(lambda: convert.convert(tmp_path / "odd.pkl", tmp_path / "out"))


def changed_tree(tree, r):
    """JSON with one value replaced, removed or renamed."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    tree = json.loads(json.dumps(tree))
    walk(tree)
    node, key = r.choice(places)
    values = [None, True, -1, 0, 1, 2.5, 1e308, 10**400, "x", "1", [], {}, [[]], float("nan"), float("inf"), 2**40]
    kind = r.randrange(3)
    if kind == 0 and isinstance(node, dict):
        node[f"{key}x"] = node.pop(key)
    elif kind == 1:
        del node[key]
    else:
        node[key] = r.choice(values)
    return json.dumps(tree)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return converted(tmp_path_factory.mktemp("sound"), small(np.random.default_rng(0)))


def read_all(store):
    dataset = store.load()
    for split in SIZES:
        dataset.batch(split, torch.arange(dataset.size(split)))


def test_a_changed_description_of_a_store_is_read_or_refused_in_one_sentence(sound):
    r, path = random.Random(2), Path(sound.path) / "dataset.json"
    whole = path.read_text()
    fingerprint, refused = sound.fingerprint(), 0
    read_all(sound)
    try:
        for number in range(NUM_INPUTS):
            if number % 3:
                path.write_text(changed_tree(json.loads(whole), r))
            else:
                path.write_bytes(mutated(whole.encode(), r, b'{}[]",:0-.e\\n'))
            for action in (lambda: read_all(sound), sound.fingerprint):
                error = outcome(action, traced=number % 10 == 1)
                refused += error is not None
                assert error is None or "dataset.json" in error or ".arrow" in error
    finally:
        path.write_text(whole)
    assert refused > NUM_INPUTS / 2 and sound.fingerprint() == fingerprint


@pytest.mark.parametrize("content", [b"[" * 100_000, b"{" * 10, b"", b"null", b"[]", b'"x"', b"\xff\xfe", b"1"])
def test_a_description_that_is_none_is_refused(sound, content):
    path = Path(sound.path) / "dataset.json"
    whole = path.read_bytes()
    try:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"dataset.json is damaged: .*; convert the data again"):
            sound.load()
    finally:
        path.write_bytes(whole)


def test_a_changed_arrow_file_is_read_or_refused_and_its_checksum_always_tells(sound):
    r = random.Random(3)
    for number in range(NUM_INPUTS):
        path = Path(sound.path) / f"{r.choice(list(SIZES))}.arrow"
        whole = path.read_bytes()
        content = mutated(whole, r) if number % 2 else bytearray(whole)
        if not number % 2:
            content[r.randrange(len(content))] ^= 1 << r.randrange(8)  # of the same size
        if content == whole:
            continue
        try:
            path.write_bytes(content)
            error = outcome(lambda: read_all(sound), traced=number % 10 == 1)
            assert error is None or "is damaged" in error
            with pytest.raises(UserError, match="is damaged"):
                sound.fingerprint()
        finally:
            path.write_bytes(whole)
    read_all(Store(sound.path))
