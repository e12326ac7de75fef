"""Standard normal noise from explicit sources: a generator for a batch, or `RowNoise`, which gives each row its own."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imer_ray.diffusion.sde import SDE

Keys = NDArray[np.uint64]
WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15  # Weyl's step, 2^64 over the golden ratio
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # mix64's numbers
_BY_FIRST, _BY_SECOND, _BY_30, _BY_27, _BY_31 = (np.uint64(number) for number in (FIRST, SECOND, 30, 27, 31))


class Noise(Protocol):
    """A source that knows the rows it draws for."""

    def standard_normal(self, shape: Sequence[int], device: torch.device | str, dtype: torch.dtype) -> Tensor:
        """The next numbers of N(0, I), ``shape`` [R, ...] for its R rows."""
        ...


class Stream(Noise, Protocol):
    """A source that others can be joined to."""

    def joined(self, others: Sequence[Any]) -> Noise:
        """One source for this one's rows and those of other streams, one after another."""
        ...


class Streams(Protocol):
    """Independent sources for the same rows."""

    def of(self, identity: int) -> Stream:
        """The source of this number; the same number gives the same source."""
        ...


def standard_normal(
    shape: Sequence[int],
    generator: torch.Generator | Noise,
    device: torch.device | str,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Noise of N(0, I), drawn where the generator lives and brought to ``device``."""
    if isinstance(generator, torch.Generator):
        return torch.randn(*shape, generator=generator, device=generator.device, dtype=dtype).to(device)
    return generator.standard_normal(shape, device, dtype)


def initial_noise(
    sde: SDE, shape: Sequence[int], generator: torch.Generator | Noise, device: torch.device | str
) -> Tensor:
    """x_T [B, L, D] of N(0, prior_std^2 I), from which sampling starts."""
    return standard_normal(shape, generator, device) * sde.prior_std


class RowNoise:
    """Noise of each row's own: it depends on the row's key and on how much was drawn before, on no other row.

    Arguments:
        keys: uint64 [R].
    """

    def __init__(self, keys: Keys) -> None:
        self.keys, self.position = keys, 0

    def of(self, identity: int) -> RowNoise:
        """Another stream of numbers for the same rows."""
        return RowNoise(mixed(self.keys, identity))

    def joined(self, others: Sequence[Any]) -> RowNoise:
        return RowNoise(np.concatenate([self.keys, *(other.keys for other in others)]))

    def standard_normal(self, shape: Sequence[int], device: torch.device | str, dtype: torch.dtype) -> Tensor:
        size = math.prod(shape[1:])
        numbers = torch.from_numpy(normal_numbers(self.keys, self.position, size)).reshape(*shape)
        self.position += size
        return numbers.to(device, dtype, non_blocking=True)  # a GPU computes while the next numbers are made


class BatchNoise:
    """Noise of some rows of a batch, drawn for all its rows and cut: a row's does not depend on which others are asked
    for.

    Arguments:
        rows: [R], of a batch of ``num_rows``.
    """

    def __init__(self, generator: torch.Generator, num_rows: int, rows: Tensor) -> None:
        self.generator, self.num_rows, self.rows = generator, num_rows, rows

    def standard_normal(self, shape: Sequence[int], device: torch.device | str, dtype: torch.dtype) -> Tensor:
        whole = (self.num_rows, *shape[1:])
        drawn = torch.randn(whole, generator=self.generator, device=self.generator.device, dtype=dtype)
        return drawn[self.rows.to(drawn.device)].to(device)


def mixed(keys: Keys, identity: int | Keys) -> Keys:
    """Keys [R] that depend on keys [R] and on a number, or on numbers [R]: splitmix64's finaliser of their Weyl sum.

    References:
        Steele, Lea and Flood, 2014, Fast Splittable Pseudorandom Number Generators, OOPSLA, figure 16 (mix64).
    """
    # Of one key arrays, as numpy warns of scalars that wrap around.
    return _finalised(keys + (np.atleast_1d(np.asarray(identity, np.uint64)) + np.uint64(1)) * np.uint64(GOLDEN))


def mixed_one(key: int, identity: int) -> int:
    """As `mixed`, of one key in Python's integers, which are ten times as fast."""
    z = (key + GOLDEN * (identity + 1)) & WORD
    z = ((z ^ (z >> 30)) * FIRST) & WORD
    z = ((z ^ (z >> 27)) * SECOND) & WORD
    return z ^ (z >> 31)


def _finalised(z: Keys) -> Keys:
    """mix64, in place."""
    shifted = z >> _BY_30
    z ^= shifted
    z *= _BY_FIRST
    z ^= np.right_shift(z, _BY_27, out=shifted)
    z *= _BY_SECOND
    z ^= np.right_shift(z, _BY_31, out=shifted)
    return z


@functools.lru_cache(maxsize=64)
def _weyl(first: int, last: int) -> Keys:
    """The steps of Weyl's sequence that numbers ``first`` to ``last`` of a stream are mixed of."""
    steps = np.arange(first + 1, last + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    steps.flags.writeable = False
    return steps


def normal_numbers(keys: Keys, start: int, size: int) -> NDArray[np.float32]:
    """Numbers ``start`` to ``start + size`` of each key's stream of N(0, 1), [R, size].

    Number 2 i and 2 i + 1 are Box and Muller's pair (1958, The Annals of Mathematical Statistics 29) of the uniform
    numbers that the two halves of splitmix64's output number i are.
    """
    first, last = start // 2, (start + size + 1) // 2
    bits = _finalised(keys[:, None] + _weyl(first, last))
    numbers = bits.view(np.uint32).astype(np.float32)  # uniform in (0, 1], [R, 2 x pairs]
    numbers += np.float32(0.5)
    numbers *= np.float32(2**-32)
    radius, angle = np.log(numbers[:, ::2]), numbers[:, 1::2] * np.float32(2 * np.pi)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    np.multiply(radius, np.cos(angle), out=numbers[:, ::2])
    np.multiply(radius, np.sin(angle), out=numbers[:, 1::2])
    return numbers[:, start - 2 * first :][:, :size]
