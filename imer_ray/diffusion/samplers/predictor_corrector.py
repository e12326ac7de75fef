"""Predictor-corrector sampling: reverse diffusion and Langevin dynamics in turn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imer_ray.diffusion.langevin import langevin_move
from imer_ray.diffusion.noise import standard_normal
from imer_ray.diffusion.recurrence import Recurrence, Step
from imer_ray.diffusion.samplers import DenoiserFunction
from imer_ray.diffusion.samplers.reverse_diffusion import reverse_diffusion_step
from imer_ray.diffusion.sde import SDE
from imer_ray.diffusion.time_grid import check_spacing, walk

MAX_CORRECTIONS = 100  # of a step; published samplers take one or two


@dataclass(frozen=True)
class PredictorCorrector:
    r"""A step of reverse diffusion (`ReverseDiffusion`), then Langevin steps at the time it has reached.

    $$ x \leftarrow x + \epsilon\, s(x, s) + \sqrt{2 \epsilon} z, \quad
       \epsilon = 2 \left( r \frac{\lVert z \rVert}{\lVert s \rVert} \right)^2 $$

    r sets the ratio of the Langevin step's drift to its noise. The authors' code averages the norms over the batch, so
    that a clip's sample depends on what else is in it; here they are each clip's own, which is the same for a batch of
    one. That biases small clips (`imer_ray.diffusion.langevin.langevin_move`): take another sampler where latents have
    fewer than some thirty numbers. The factor alpha_i = 1 - beta_i of the published VP form, 1 to the order of the
    steps, is left out, as it would stop the corrector in the long steps of a small grid. N steps with M corrections
    take (N - 1)(M + 1) + 1 evaluations.

    References:
        Song et al., 2021, arXiv:2011.13456, algorithms 2 and 3 (predictor-corrector), 4 and 5 (corrector), appendix G.

    Attributes:
        snr: r, the signal-to-noise ratio of the Langevin steps.
        num_corrections: M, Langevin steps after each predictor.
    """

    snr: float = 0.16
    num_corrections: int = 1
    spacing: str = "angle"

    def __post_init__(self) -> None:
        if not 0 < self.snr < 1:
            raise ValueError(f"snr must be between 0 and 1, not {self.snr}")
        if self.num_corrections < 1:
            raise ValueError(f"num_corrections must be at least 1, not {self.num_corrections}")
        if self.num_corrections > MAX_CORRECTIONS:
            raise ValueError(f"num_corrections must be at most {MAX_CORRECTIONS}, not {self.num_corrections}")
        check_spacing(self.spacing)

    def sample(
        self, denoiser: DenoiserFunction, sde: SDE, x_T: Tensor, num_steps: int, generator: torch.Generator
    ) -> Tensor:
        steps, last = walk(sde, num_steps, self.spacing)
        x = x_T
        for t, s in steps:
            c_x, c_0, G = reverse_diffusion_step(t, s)
            x = c_x * x + c_0 * denoiser(x, t.t) + G * standard_normal(x.shape, generator, x.device, x.dtype)
            for _ in range(self.num_corrections):
                score = (s.alpha * denoiser(x, s.t) - x) / s.sigma**2
                z = standard_normal(x.shape, generator, x.device, x.dtype)
                x = x + langevin_move(score, z, self.snr)
        return denoiser(x, last.t)

    def recurrence(self, sde: SDE, num_steps: int) -> Recurrence:
        """Each evaluation's step, for `imer_ray.diffusion.recurrence.recurrence_of`."""
        way, steps = walk(sde, num_steps, self.spacing), list[Step]()
        for t, s in way.steps:
            c_x, c_0, G = reverse_diffusion_step(t, s)
            steps.append(Step(t.t, t.alpha, t.sigma, c_x, (c_0,), G))
            steps += [Step(s.t, s.alpha, s.sigma, 1.0, (0.0,), 0.0, self.snr)] * self.num_corrections
        last = Step(way.last.t, way.last.alpha, way.last.sigma, 0.0, (1.0,), 0.0, draws=False)
        return Recurrence(1.0, (*steps, last))

    def num_evaluations(self, num_steps: int) -> int:
        return (num_steps - 1) * (self.num_corrections + 1) + 1
