"""Stage `pretrain[m]`: the conditional diffusion of one modality, on its own and before any recogniser.

`pretrain[shared]` trains one network for all modalities.

Decoupling after the NTUA thesis on IMDer: an untrained diffusion no longer disturbs the recogniser, and the task loss
never waits for a sampler.
"""

from __future__ import annotations

from safetensors.torch import save_file

from imer_ray.config.slices import Pretrain
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.checkpoint import weights
from imer_ray.training.denoising import denoising_step, train
from imer_ray.training.loop import summary


@reads(Pretrain)
def run(config: Pretrain, context: Context) -> dict[str, float]:
    """Train the network of ``config.modality`` to denoise its latents given any subset of the others.

    With ``shared`` one network learns all modalities; an epoch has every clip once per modality it has recorded, so
    that it is as much training as three networks get together.
    """
    network, history = train(
        config,
        config.encoder.build().latent_dim,
        context,
        model_with=lambda network: network,
        step=lambda *given: {"loss": denoising_step(*given)},
    )
    if context.rank == 0:
        save_file(weights(network), context.folder / f"network_{config.modality}.safetensors")
    return summary(history)
