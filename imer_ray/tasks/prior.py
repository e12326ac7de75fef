"""Stage `prior`: a closed form of the latents of every modality given any others, which diffusions stand on."""

from __future__ import annotations

from safetensors.torch import save_file

from imer_ray.config.slices import Prior
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.loaders import PRIOR_FILE, load_latents
from imer_ray.training.losses import check_learnable
from imer_ray.training.seeding import seeded


@reads(Prior)
def run(config: Prior, context: Context) -> dict[str, float]:
    """Fit it to training clips, incomplete ones included; labels are not read."""
    latents = load_latents(context, "train").to("cpu").without(config.fold)  # where priors are made: small, in float64
    check_learnable(latents.recorded)
    settings = config.prior.build()
    prior = settings.build(latents.x.shape[3], latents.num_frames)
    found: dict[str, float] = settings.fit(prior, latents, seeded(config.seed, "prior"))
    if context.rank == 0:
        save_file(weights(prior), context.folder / PRIOR_FILE)
    return found
