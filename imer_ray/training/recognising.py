"""How a recogniser learns: from all clips with a label, watched in every setting of what may be missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.stages.context import Context
from imer_ray.training.latents import Latents
from imer_ray.training.loop import Losses, Training, fit
from imer_ray.training.losses import labelled
from imer_ray.training.readings import Reading, Readings


def fit_recogniser(
    module: nn.Module,
    losses: Losses,
    task_loss: Callable[[nn.Module, str, Tensor, Reading], Tensor],
    readings: Readings,
    data: Mapping[str, Latents],
    loop: LoopConfig,
    seed: int,
    context: Context,
) -> list[dict[str, float]]:
    """Train ``module`` in place on the labelled clips of ``data["train"]``; the history of `fit`.

    Args:
        losses: what training minimises.
        task_loss: of validation clips in a setting, from the averaged weights, the setting's name, rows [n] and what is
            read of them: their losses [n]. Its mean over the settings of ``readings`` is what epochs and trials are
            compared by.
    """

    def validate(average: nn.Module) -> float:
        return float(torch.stack([task_loss(average, *read).mean() for read in readings.validation()]).mean())

    training = Training(
        module=module,
        losses=losses,
        rows=labelled(data["train"].labels, data["train"].recorded),
        loop=loop,
        seed=seed,
        validate=validate,
        compared=validate,
    )
    return fit(training, context)
