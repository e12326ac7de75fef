"""Solvers of the reverse process, one file each.

A grid of N steps has N + 1 times, t_max to t_min. The last step starts at the last but one and lands on the estimate of
x_0 itself: noise at t_min is below the data's scale, and with few steps none can be spent on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from imer_ray.diffusion.sde import SDE

DenoiserFunction = Callable[[Tensor, float], Tensor]


class Sampler(Protocol):
    """A solver of the reverse process with settings of its own."""

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        """x_0 [B, L, D] from x_T [B, L, D] (see `imer_ray.diffusion.noise.initial_noise`), in x_T's precision.

        ``denoiser(x_t, t)`` gives E[x_0 | x_t]; it is called ``num_evaluations(num_steps)`` times.
        """
        ...

    def num_evaluations(self, num_steps: int) -> int:
        """Network evaluations (NFE) that ``num_steps`` steps take."""
        ...
