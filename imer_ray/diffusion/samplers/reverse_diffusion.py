"""Reverse diffusion sampling, the predictor of score-based models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.noise import standard_normal
from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import Node, check_spacing, walk


@dataclass(frozen=True)
class ReverseDiffusion:
    r"""Steps t -> s of the reverse SDE, discretised as the forward one is between the same two times.

    Forward, x_t = a x_s + G w exactly, with a = alpha_t/alpha_s and G^2 = sigma_t^2 - a^2 sigma_s^2, w ~ N(0, I). Its
    drift a - 1 and its noise G are taken over backwards:
    $$ x_s = (2 - a) x_t + G^2 s(x_t, t) + G z, \quad s = (\alpha_t D(x_t, t) - x_t) / \sigma_t^2 $$

    For VE this is x_t + (sigma_t^2 - sigma_s^2) s + sqrt(sigma_t^2 - sigma_s^2) z, for VP with beta = 1 - a^2
    (2 - sqrt(1 - beta)) x_t + beta s + sqrt(beta) z, as published. Weak order 1. Ancestral sampling (`DDIM` with
    eta = 1) has the same mean for VE, and noise smaller by sigma_s/sigma_t.

    References:
        Song et al., 2021, Score-Based Generative Modeling through SDEs, arXiv:2011.13456, appendix E, equation 46.
    """

    spacing: str = "angle"

    def __post_init__(self) -> None:
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        steps, last = walk(sde, num_steps, self.spacing)
        x = x_T
        for t, s in steps:
            c_x, c_0, G = reverse_diffusion_step(t, s)
            x = c_x * x + c_0 * denoiser(x, t.t) + G * standard_normal(x.shape, generator, x.device, x.dtype)
        return denoiser(x, last.t)

    def num_evaluations(self, num_steps: int) -> int:
        return num_steps


def reverse_diffusion_step(t: Node, s: Node) -> tuple[float, float, float]:
    """The factors of x_t and of D(x_t, t), and G, the standard deviation of the noise, for the step t -> s."""
    a = t.alpha / s.alpha
    square = t.sigma**2 - (a * s.sigma) ** 2
    return 2 - a - square / t.sigma**2, square * t.alpha / t.sigma**2, math.sqrt(square)
