"""A sampler as one step that is repeated: what a graph needs to hold its network once, whatever the number of steps.

Legend: N evaluations, K arrays of noise, w estimates that a step remembers, R rows, L frames, D latent features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imer_ray.diffusion.langevin import langevin_move
from imer_ray.diffusion.sde import SDE, marginal_at

MAX_MEMORY = 8  # estimates; the samplers of `imer_ray.diffusion.samplers` remember four at most
ROUNDING = 1e-12  # of factors in double precision, relative to the largest of a point
AGREEMENT = 1e-8  # of a recurrence and its sampler, in double precision


class Step(NamedTuple):
    """From the point at which estimate i is asked for to the next one, or to the sample.

    Attributes:
        t: time of the estimate; alpha and sigma are the process's there.
        keep: factor of the point.
        weights: factors of the last w estimates, the newest first.
        noise: factor of the noise.
        snr: r of a Langevin move (`imer_ray.diffusion.langevin.langevin_move`) that is added; 0 for none.
        draws: whether noise is drawn.
    """

    t: Any
    alpha: Any
    sigma: Any
    keep: Any
    weights: tuple[Any, ...]
    noise: Any
    snr: Any = 0.0
    draws: bool = True

    def next_point(self, x: Tensor, estimates: Sequence[Tensor], z: Tensor, moves: bool) -> Tensor:
        """From x, the last w estimates and z, each [R, L, D]; without a Langevin move where none ``moves``."""
        y = self.keep * x + self.noise * z
        for weight, D in zip(self.weights, estimates, strict=True):
            y = y + weight * D
        if moves:
            y = y + langevin_move((self.alpha * estimates[0] - x) / self.sigma**2, z, self.snr)
        return y


@dataclass(frozen=True)
class Recurrence:
    r"""A sampler of N evaluations, written for any of its steps.

    $$ x_0 = c\, x_T, \quad x_{i+1} = a_i x_i + \sum_{j<w} b_{ij} D(x_{i-j}, t_{i-j}) + g_i z_i, \quad 0 \le i < N $$

    and the sample is x_N. A method of several evaluations a step has as many steps here, and remembers what it needs of
    them, as multistep methods do (w > 1).

    Attributes:
        start: c.
        steps: N of them.
    """

    start: float
    steps: tuple[Step, ...]

    @property
    def memory(self) -> int:
        """w."""
        return len(self.steps[0].weights)

    @property
    def moves(self) -> bool:
        """Whether any step has a Langevin move."""
        return any(step.snr > 0 for step in self.steps)

    def sample(self, denoiser: Callable[[Tensor, float], Tensor], x_T: Tensor, noise: Sequence[Tensor]) -> Tensor:
        """The sample [R, L, D] from x_T [R, L, D] and the K arrays of noise in the order in which they are drawn."""
        arrays, x = iter(noise), self.start * x_T
        estimates = [torch.zeros_like(x_T)] * self.memory
        for step in self.steps:
            estimates = [denoiser(x, step.t), *estimates[:-1]]
            z = next(arrays) if step.draws else torch.zeros_like(x_T)
            x = step.next_point(x, estimates, z, step.snr > 0)
        return x


def recurrence_of(sampler: Any, sde: SDE, num_steps: int) -> Recurrence | None:
    """The recurrence of a sampler; None where it has none that is known.

    A sampler that is linear in x_T, estimates and noise is found out by asking it for unit vectors: each point at which
    it asks for an estimate then holds its own factors of all of them. Another one may have a method
    ``recurrence(sde, num_steps)``.
    """
    if hasattr(sampler, "recurrence"):
        return sampler.recurrence(sde, num_steps)
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    heard = _listen(sampler, sde, num_steps, one, lambda i: one, lambda k: one)
    N, K = len(heard.times), heard.drawn[-1]
    unit = torch.eye(1 + N + K, dtype=torch.float64)[:, None, :, None]
    heard = _listen(sampler, sde, num_steps, unit[0], lambda i: unit[1 + i], lambda k: unit[1 + N + k])
    for memory in range(1, min(N, MAX_MEMORY) + 1):
        found = _with_memory(heard, sde, memory)
        if found is not None:
            return found if _agrees(found, sampler, sde, num_steps, K) else None
    return None


class _Listener:
    """A denoiser and source of noise whose answers are given; it keeps what it is asked.

    Attributes:
        points, times: of each evaluation; the last point is the sample.
        drawn: how many arrays of noise were drawn before each point.
    """

    def __init__(self, estimate: Callable[[int], Tensor], noise: Callable[[int], Tensor]) -> None:
        self.estimate, self.noise, self.num_drawn = estimate, noise, 0
        self.points, self.times, self.drawn = list[Tensor](), list[float](), list[int]()

    def __call__(self, x: Tensor, t: float) -> Tensor:
        self.reach(x)
        self.times.append(float(t))
        return self.estimate(len(self.times) - 1)

    def reach(self, x: Tensor) -> None:
        self.points.append(x)
        self.drawn.append(self.num_drawn)

    def standard_normal(self, shape: Sequence[int], device: torch.device | str, dtype: torch.dtype) -> Tensor:
        self.num_drawn += 1
        return self.noise(self.num_drawn - 1)


def _listen(sampler: Any, sde: SDE, num_steps: int, x_T: Tensor, estimate: Any, noise: Any) -> _Listener:
    listener = _Listener(estimate, noise)
    listener.reach(sampler.sample(listener, sde, x_T, num_steps, listener))
    return listener


def _with_memory(heard: _Listener, sde: SDE, memory: int) -> Recurrence | None:
    """The recurrence that points [N + 1] of factors [1 + N + K] obey with so many estimates; None: they obey none."""
    factors = torch.stack(heard.points).flatten(1).numpy().copy()
    factors[np.abs(factors) <= ROUNDING * np.abs(factors).max(1, keepdims=True)] = 0
    if heard.drawn[0] or factors[0, 1:].any():
        return None
    steps = []
    for i, t in enumerate(heard.times):
        step = _step(factors, heard.drawn, i, memory)
        if step is None:
            return None
        keep, weights, noise = step
        steps.append(Step(t, *marginal_at(sde, t), keep, weights, noise, draws=heard.drawn[i + 1] > heard.drawn[i]))
    return Recurrence(float(factors[0, 0]), tuple(steps))


def _step(
    factors: NDArray[np.float64], drawn: Sequence[int], i: int, memory: int
) -> tuple[float, tuple[float, ...], float] | None:
    """keep, weights and noise of step i: what is older than they reach is in the next point as in this one, times keep.

    None: it is not, or there is more than one new array of noise.
    """
    N, (before, after) = len(factors) - 1, factors[i : i + 2]
    old = np.r_[0, 1 : max(2 + i - memory, 1), 1 + N : 1 + N + drawn[i]]
    square = before[old] @ before[old]
    keep = float(after[old] @ before[old] / square) if square else 0.0
    left = after - keep * before
    left[np.abs(left) <= 1e3 * ROUNDING * np.abs(after).max()] = 0
    if left[old].any() or drawn[i + 1] - drawn[i] > 1:
        return None
    weights = tuple(float(left[1 + i - j]) if j <= i else 0.0 for j in range(memory))
    return keep, weights, float(left[1 + N + drawn[i]]) if drawn[i + 1] > drawn[i] else 0.0


def _agrees(recurrence: Recurrence, sampler: Any, sde: SDE, num_steps: int, num_arrays: int) -> bool:
    """Whether it draws what the sampler draws; one that is not linear is no such recurrence."""
    generator = torch.Generator().manual_seed(0)
    N = len(recurrence.steps)
    x_T, *given = torch.randn(1 + N + num_arrays, 3, 2, 2, generator=generator, dtype=torch.float64)
    heard = _listen(sampler, sde, num_steps, x_T * sde.prior_std, lambda i: given[i], lambda k: given[N + k])
    estimates = iter(given[:N])
    found = recurrence.sample(lambda x, t: next(estimates), x_T * sde.prior_std, given[N:])
    return bool(torch.allclose(found, heard.points[-1], rtol=AGREEMENT, atol=AGREEMENT))
