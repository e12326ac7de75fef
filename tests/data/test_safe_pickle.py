"""The restricted reader: what numpy writes comes back, and nothing is ever run."""

import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imer_ray.data import safe_pickle
from imer_ray.data.pickled_array import Array
from imer_ray.errors import UserError

PROTOCOLS = [2, 3, 4, 5]
NUMBERS = st.sampled_from(["<f4", ">f8", "<f2", "<i8", ">i2", "|u1", "<u4", "|b1", "<U3", "|S4"])
ARRAYS = hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
PLAIN = st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    PLAIN | ARRAYS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5) | st.tuples(inner, inner),
    max_leaves=12,
)


def load(content):
    return safe_pickle.load(Path("x.pkl"), io.BytesIO(content))


def assert_same(found, wanted):
    assert type(found) is (Array if isinstance(wanted, np.ndarray) else type(wanted))
    if isinstance(wanted, np.ndarray):
        assert found.shape == wanted.shape and found.dtype == wanted.dtype
        np.testing.assert_array_equal(found.rows(), wanted)
        np.testing.assert_array_equal(found.rows(1, 3), wanted[1:3])
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for a, b in zip(found, wanted, strict=True):
            assert_same(a, b)
    else:
        assert found == wanted


@settings(deadline=None, max_examples=80)
@given(VALUES, st.sampled_from(PROTOCOLS))
def test_plain_values_and_arrays_come_back(value, protocol):
    assert_same(load(pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_module_paths_of_numpy_1_are_read_too(protocol):
    value = {
        "x": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "s": np.float32(1.5),
    }
    content = pickle.dumps(value, protocol)
    assert b"numpy._core" in content
    # Protocol 4 on gives the length of a name: one letter less.
    for name in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        content = content.replace(bytes([len(name)]) + name, bytes([len(name) - 1]) + name.replace(b"_core", b"core"))
    found = load(content.replace(b"numpy._core", b"numpy.core"))
    np.testing.assert_array_equal(found["x"].rows(), value["x"])
    np.testing.assert_array_equal(found["f"].rows(1), value["f"][1:])
    assert found["s"] == 1.5


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_strings_in_object_arrays_and_repeated_values_come_back(protocol):
    text = np.array(["a", "é", "a"], dtype=object)
    found = load(pickle.dumps({"one": text, "two": text, "list": ["a"] * 300}, protocol))
    assert found["one"].rows().tolist() == ["a", "é", "a"] and found["two"] is found["one"]
    assert found["list"] == ["a"] * 300


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.mkdir, (), "posix.mkdir"),
        (eval, ("__import__('os').mkdir({folder!r})",), "eval"),
        (exec, ("import os; os.mkdir({folder!r})",), "exec"),
        (np.load, ("x", None, True), "numpy.load"),
        (getattr, ("x", "y"), "getattr"),
        (np.ndarray, ((10**9,),), "damaged"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_calls_are_refused_by_name_and_not_made(tmp_path, protocol, function, arguments, name):
    folder = tmp_path / "made"
    arguments = tuple(a.format(folder=str(folder)) if isinstance(a, str) else a for a in arguments) or (str(folder),)
    for value in (Calls(function, *arguments), {"train": [Calls(function, *arguments)]}):
        with pytest.raises(UserError, match=name):
            load(pickle.dumps(value, protocol))
    assert not folder.exists()


class Plain:
    pass


@pytest.mark.parametrize(
    "value", [Plain(), {1, 2}, frozenset("a"), {(1,): 2}, {2**99: 1}, np.zeros(2, "M8[s]"), np.zeros(2, "f4,i4")]
)
def test_other_kinds_of_values_are_refused(value):
    with pytest.raises(UserError, match="refused|damaged"):
        load(pickle.dumps(value))


def instructions(*parts):
    return b"\x80\x04" + b"".join(parts) + b"."


NUMPY_CALL = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
LAUGHS = b"]" + b"".join(b"(" + b"h\x00" * 50 + b"t\x94" for _ in range(3))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"\x80\x01]." + b"\n",
        b"\x80\x06].",
        b"PAR1 this is another format",
        pickle.dumps([1, 2], 0),
        instructions(b"\x8e" + struct.pack("<Q", 2**62)),
        instructions(b"\x8d" + struct.pack("<Q", 2**40) + b"a"),
        instructions(b"\x8b" + struct.pack("<i", 2**30)),
        instructions(b"\x8b" + struct.pack("<i", -5)),
        instructions(b"h\x07"),
        instructions(b"0"),
        instructions(b"t"),
        instructions(b"K\x01e"),
        instructions(b"\x82\x01"),
        instructions(b"Pname\n"),
        instructions(b"]K\x01b"),
        instructions(b"(]]d"),
        instructions(b"}]K\x01s"),
        instructions(NUMPY_CALL, b"(K\x01J\xff\xff\xff\xff\x85N\x89C\x00tb"),
        instructions(NUMPY_CALL, b"K\x01b"),
        instructions(b"cnumpy\ndtype\n\x8c\x05f4,f4\x85R"),
        instructions(b"cnumpy\ndtype\n]\x94", LAUGHS, b"\x85R"),
        instructions(b"c" + b"a" * 5000 + b"\nb\n"),
    ],
    ids=range(24),
)
def test_damaged_and_hostile_files_are_refused_at_once(content):
    with pytest.raises(UserError):
        load(content)


def test_a_refused_name_is_shown_without_its_control_codes():
    with pytest.raises(UserError) as caught:
        load(instructions(b"\x8c\x06\x1b[31mx\x8c\x01y\x93"))
    assert "\x1b" not in str(caught.value) and "[31mx.y" in str(caught.value)


def test_a_claimed_memo_index_takes_no_memory():
    assert load(instructions(b"]r" + struct.pack("<I", 2**32 - 1))) == []


GOOD = pickle.dumps({"x": np.arange(5.0), "id": ["a", "b"], "s": np.float64(2), "o": np.array(["u"], dtype=object)}, 4)


def test_every_shortened_file_is_refused():
    for length in range(len(GOOD)):
        with pytest.raises(UserError):
            load(GOOD[:length])


@settings(deadline=None, max_examples=400)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_changed_bytes_give_a_value_or_a_clear_error(i, a, j, b):
    content = bytearray(GOOD)
    content[i], content[j] = a, b
    try:
        load(bytes(content))
    except UserError:
        pass
