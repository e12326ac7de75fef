"""Stage `impute`: what fills missing modalities without diffusion and has a closed-form fit (mean, ridge regression).

It needs no labels: every training clip that recorded what is asked for counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safetensors.torch import save_file

from imer_ray.stages.context import Context
from imer_ray.training.checkpoint import weights
from imer_ray.training.loaders import IMPUTER_FILE, build_imputer, load_latents, load_shape


def run(config: Mapping[str, Any], context: Context) -> dict[str, float]:
    """Fit ``config["imputer"]`` to the training clips."""
    latents = load_latents(context, "train")
    imputer: Any = build_imputer(config, latents.num_frames, load_shape(context)["recoverable"]).to(context.device)
    metrics = imputer.fit(latents.x, latents.recorded, latents.frames)
    if context.rank == 0:
        save_file(weights(imputer), context.folder / IMPUTER_FILE)
    return metrics
