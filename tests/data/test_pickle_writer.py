"""What is written piece by piece is the pickle that Python reads as if it had been written whole."""

import io
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imer_ray.data import safe_pickle
from imer_ray.data.pickle_writer import PickleWriter

F4, F8, I8 = np.dtype("<f4"), np.dtype("<f8"), np.dtype("<i8")


def test_plain_values_come_back_equal():
    file = io.BytesIO()
    writer = PickleWriter(file)
    with writer.dictionary():
        writer.string("texts")
        writer.strings(["", "one", "Grüße, 世界", "x" * 300])
        writer.string("numbers")
        writer.integers([0, -1, 255, 256, 70_000, 2**31 - 1, -(2**31)])
        writer.string("inside")
        with writer.dictionary():
            pass
    writer.finish()
    assert pickle.loads(file.getvalue()) == {
        "texts": ["", "one", "Grüße, 世界", "x" * 300],
        "numbers": [0, -1, 255, 256, 70_000, 2**31 - 1, -(2**31)],
        "inside": {},
    }


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
    dtype=st.sampled_from([F4, F8, I8, np.dtype(">f4"), np.dtype("u1")]),
    step=st.integers(1, 3),
)
def test_an_array_filled_in_any_order_equals_the_array_that_is_pickled_whole(shape, dtype, step):
    whole = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    file = io.BytesIO()
    writer = PickleWriter(file)
    hole = writer.array(shape, dtype)
    writer.finish()
    for first in reversed(range(0, shape[0], step)):
        hole.fill(first, whole[first : first + step])
    if not whole.size:  # nothing was sought past the end
        assert file.getvalue().endswith(b".")
    read = pickle.loads(file.getvalue())
    same = pickle.loads(pickle.dumps(whole))
    assert read.dtype == same.dtype and read.shape == same.shape and read.flags.writeable
    np.testing.assert_array_equal(read, whole)


def test_what_is_never_filled_is_zero(tmp_path):
    with open(tmp_path / "a.pkl", "xb") as file:
        writer = PickleWriter(file)
        hole = writer.array((4, 2), F4)
        writer.finish()
        hole.fill(2, np.ones((1, 2)))
    assert pickle.loads((tmp_path / "a.pkl").read_bytes()).tolist() == [[0, 0], [0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize(("first", "shape"), [(-1, (1, 2)), (3, (2, 2)), (0, (5, 2)), (0, (1, 3)), (0, (2,))])
def test_rows_that_do_not_fit_are_refused_and_nothing_is_overwritten(first, shape):
    file = io.BytesIO()
    writer = PickleWriter(file)
    hole = writer.array((4, 2), F4)
    writer.finish()
    before = file.getvalue()
    with pytest.raises(ValueError, match="do not fit"):
        hole.fill(first, np.ones(shape, np.float32))
    assert file.getvalue() == before


def test_an_array_of_a_terabyte_is_described_without_memory_and_read_without_it(tmp_path):
    path, shape = tmp_path / "large.pkl", (1_000_000, 500, 500)
    tracemalloc.start()
    with open(path, "xb") as file:  # the file has holes: it takes no space on the disk
        writer = PickleWriter(file)
        with writer.dictionary():
            writer.string("x")
            hole = writer.array(shape, F4)
        writer.finish()
        hole.fill(999_999, np.full((1, 500, 500), 7.0))
    with open(path, "rb") as file:
        array = safe_pickle.load(path, file)["x"]
        assert array.shape == shape and path.stat().st_size > 1e12
        last = array.rows(999_998)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    path.unlink()
    assert (last[0] == 0).all() and (last[1] == 7).all()
    assert peak < 20e6
