"""A sampler whose steps a graph holds once, in a loop, where it would hold hundreds of them one after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.recurrence import MAX_MEMORY, Recurrence, Step, recurrence_of
from imer_ray.errors import UserError
from imer_ray.models.recovery import Sampler

MAX_UNROLLED = 32  # evaluations: each adds its operations to a graph, and seconds to its export


def for_graph(sampler: Sampler | None, num_steps: int) -> Sampler | None:
    """The sampler that a graph is made of: above `MAX_UNROLLED` evaluations, one whose steps are a loop."""
    if sampler is None or sampler.num_evaluations(num_steps) <= MAX_UNROLLED:
        return sampler
    return LoopedSampler(sampler)


class LoopedSampler:
    """The same sampler; while a graph is exported, its `imer_ray.diffusion.recurrence.Recurrence` in a loop."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self._known: dict[tuple[Any, int], Recurrence] = {}

    def sample(self, denoiser: Denoiser, sde: Any, x_T: Tensor, num_steps: int, generator: Any) -> Tensor:
        """As the sampler's.

        Raises:
            UserError: no recurrence of it is known.
        """
        if (sde, num_steps) not in self._known:
            self._known[sde, num_steps] = self._recurrence(sde, num_steps)
        if torch.compiler.is_exporting():
            return _loop(self._known[sde, num_steps], denoiser, x_T, generator.rest())
        return self.sampler.sample(denoiser, sde, x_T, num_steps, generator)

    def num_evaluations(self, num_steps: int) -> int:
        return self.sampler.num_evaluations(num_steps)

    def _recurrence(self, sde: Any, num_steps: int) -> Recurrence:
        found = recurrence_of(self.sampler, sde, num_steps)
        if found is None:
            raise UserError(
                f"a graph holds {MAX_UNROLLED} evaluations of a network one after another, and more of them in a loop, "
                f"for which a sampler must be linear, remember at most {MAX_MEMORY} estimates, or have a method "
                f"recurrence; {type(self.sampler).__name__} takes {self.num_evaluations(num_steps)}: use fewer steps "
                f"(settings.diffusion.num_steps), or the eager runtime"
            )
        return found


def _loop(recurrence: Recurrence, denoiser: Denoiser, x_T: Tensor, arrays: Tensor) -> Tensor:
    """`Recurrence.sample` as `torch` exports a loop; arrays of noise [R, K, L, D]."""
    moves, memory, any_noise = recurrence.moves, recurrence.memory, arrays.shape[1] > 0
    rows = [(s.t, s.alpha, s.sigma, s.keep, s.noise, s.snr, *s.weights) for s in recurrence.steps]
    numbers = torch.tensor(rows, dtype=x_T.dtype, device=x_T.device)

    def step(carried: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
        x, *before = carried
        t, alpha, sigma, keep, noise, snr, *weights = given[0].unbind(0)
        estimates = [denoiser.given_marginal(x, t[None], alpha, sigma), *before]
        now = Step(t, alpha, sigma, keep, tuple(weights), noise, snr)
        y = now.next_point(x, estimates, given[1] if any_noise else torch.zeros_like(x), moves)
        return (y, *(D.clone() for D in estimates[: memory - 1])), t.clone()

    start = (recurrence.start * x_T, *(torch.zeros_like(x_T) for _ in range(memory - 1)))
    if not any_noise:
        return scan(step, start, (numbers,))[0][0]
    drawn = torch.tensor([step.draws for step in recurrence.steps]).cumsum(0) - 1
    return scan(step, start, (numbers, arrays.transpose(0, 1)[drawn.clamp(min=0)]))[0][0]
