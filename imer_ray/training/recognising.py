"""How a recogniser learns: from all clips with a label, watched under every missing pattern."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from imer_ray.config.experiment import LoopConfig
from imer_ray.stages.context import Context
from imer_ray.training.latents import Latents
from imer_ray.training.loop import Losses, Training, fit
from imer_ray.training.losses import has_label, labelled, mean_over_patterns


def fit_recogniser(
    module: nn.Module,
    losses: Losses,
    task_loss: Callable[[nn.Module, str, Tensor, Tensor], Tensor],
    data: Mapping[str, Latents],
    loop: LoopConfig,
    seed: int,
    context: Context,
) -> list[dict[str, float]]:
    """Train ``module`` in place on the labelled clips of ``data["train"]``; the history of `fit`.

    Args:
        losses: what training minimises.
        task_loss: of validation clips under a pattern, from the averaged weights, the pattern's name, rows [n] and
            available modalities [n, M]: their losses [n]. Its mean over the patterns is what epochs and trials are
            compared by.
    """
    valid = has_label(data["valid"].labels).cpu()

    def validate(average: nn.Module) -> float:
        return mean_over_patterns(
            functools.partial(task_loss, average), data["valid"].recorded, lambda available: valid
        )

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
