"""The two-step Adams-Bashforth method on the probability-flow ODE: second order at one evaluation a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk


@dataclass(frozen=True)
class AdamsBashforth:
    r"""y_s = y_t + h v_t + h^2/(2 h') (v_t - v_t') along the angle, y = x/n, with the step h and the one before, h'."""

    spacing: str = "angle"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        way = walk(sde, num_steps, self.spacing)
        y, before = x_T / way.first.norm, None
        for t, s in way.steps:
            h, v = s.angle - t.angle, (t.alpha * y - t.norm * denoiser(t.norm * y, t.t)) / t.sigma
            y = y + h * v if before is None else y + h * v + h**2 / (2 * before[0]) * (v - before[1])
            before = h, v
        return denoiser(way.last.norm * y, way.last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps
