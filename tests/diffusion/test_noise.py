"""Each row's noise is standard normal, its own, and the same however it is asked for."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import stats

from imer_ray.diffusion.noise import RowNoise, mixed, mixed_one, normal_numbers, standard_normal


def keys(count: int, start: int = 0) -> np.ndarray:
    return mixed(np.arange(start, start + count, dtype=np.uint64), 0)


def test_numbers_are_standard_normal_within_rows_and_across_them() -> None:
    numbers = normal_numbers(keys(2000), 0, 500)
    for sample in (numbers[0:40].ravel(), numbers[:, 0], numbers[:, 1], numbers[:, 499]):
        assert stats.kstest(sample, "norm").pvalue > 1e-3
    count = numbers.size
    assert abs(numbers.mean()) < 4 / np.sqrt(count)
    assert abs(np.square(numbers).mean() - 1) < 4 * np.sqrt(2 / count)
    assert abs((numbers.astype(float) ** 4).mean() - 3) < 4 * np.sqrt(96 / count)


def test_rows_streams_and_numbers_are_uncorrelated() -> None:
    source = RowNoise(keys(64))
    rows = np.concatenate([normal_numbers(s.keys, 0, 4096) for s in (source, source.of(0), source.of(1))])
    correlations = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(4096)
    assert abs(np.corrcoef(rows[:, 0::2].ravel(), rows[:, 1::2].ravel())[0, 1]) < 4 / np.sqrt(rows.size / 2)


def test_the_finaliser_is_the_published_one() -> None:
    """splitmix64 with the state 1234567, as its authors' C code and Java's SplittableRandom give it."""
    state = np.full(3, 1234567, np.uint64)
    assert mixed(state, np.arange(3, dtype=np.uint64)).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_one_key_is_mixed_as_many_are(key: int, identity: int) -> None:
    assert mixed(np.array([key], np.uint64), np.array([identity], np.uint64)).tolist() == [mixed_one(key, identity)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 6))
@settings(max_examples=50)
def test_a_stream_does_not_depend_on_the_portions_it_is_drawn_in(portions: list[int], count: int) -> None:
    source, whole = RowNoise(keys(count)), normal_numbers(keys(count), 0, sum(portions))
    drawn = [standard_normal((count, size), source, "cpu") for size in portions]
    np.testing.assert_array_equal(torch.cat(drawn, 1).numpy(), whole)


@given(st.permutations(range(6)))
@settings(max_examples=20)
def test_a_row_does_not_depend_on_the_rows_beside_it(order: list[int]) -> None:
    every = normal_numbers(keys(6), 3, 40)
    np.testing.assert_array_equal(normal_numbers(keys(6)[order], 3, 40), every[order])
    np.testing.assert_array_equal(normal_numbers(keys(6)[order[:1]], 3, 40), every[order[:1]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_generator_and_rows_are_asked_alike(dtype: torch.dtype) -> None:
    for source in (torch.Generator().manual_seed(0), RowNoise(keys(3))):
        drawn = standard_normal((3, 4, 5), source, "cpu", dtype)
        assert drawn.shape == (3, 4, 5) and drawn.dtype == dtype and drawn.unique().numel() > 30
