"""Stage `impute`: what fills missing modalities without diffusion, by a closed form or trained by gradient.

It needs no labels: every training clip that recorded what is asked for counts. A density of classes reads them where
they are.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import save_file

from imer_ray.config.slices import Impute
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.imputing import train_density, train_imputer
from imer_ray.training.loaders import IMPUTER_FILE, load_latents, load_shape
from imer_ray.training.loop import summary
from imer_ray.training.seeding import seeded


@reads(Impute)
def run(config: Impute, context: Context) -> dict[str, float]:
    """Fit ``config.imputer`` to the training clips; with ``config.loop`` it is trained."""
    data = {split: load_latents(context, split) for split in ("train", "valid")}
    train, recoverable = data["train"], load_shape(context)["recoverable"]
    torch.manual_seed(seeded(config.seed, "autoencode").initial_seed())
    latent_dim = config.encoder.build().latent_dim
    imputer: Any = config.imputer.build().build(latent_dim, train.num_frames, recoverable).to(context.device)
    if config.loop is None:
        metrics = imputer.fit(train.x, train.recorded, train.frames)
    else:
        train_it = train_density if hasattr(imputer, "negative_log_likelihood") else train_imputer
        metrics = summary(train_it(imputer, data, config.loop, context, config.seed))
    if context.rank == 0:
        save_file(weights(imputer), context.folder / IMPUTER_FILE)
    return metrics
