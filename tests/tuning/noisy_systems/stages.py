import os
import random
import time

from imer_ray.errors import NonFiniteError

BROKEN_SEED = 1114


def encode(config, context):
    return {"epochs": 2.0}


def pretrain(config, context):
    for epoch in range(3):
        time.sleep(float(os.environ.get("NOISY_SECONDS", "0")))
        context.report(epoch + 1, 3, {})
    return {"epochs": 3.0}


def evaluate(config, context):
    """The more steps, the better and slower; ``loss.recovery`` is the standard deviation of the noise."""
    steps, seed, fold = config["num_steps"], config["seed"], config["fold"]
    if (seed == BROKEN_SEED and not fold) or str(fold) == os.environ.get("NOISY_BROKEN_FOLD"):
        raise NonFiniteError("the loss became nan")
    noise = config["loss"]["recovery"] * random.Random(f"{steps} {seed} {fold}").gauss(0, 1)
    return {
        "valid.Non0_F1_score": 0.8 - 0.2 / steps + noise,
        "valid.l.Non0_F1_score": 0.7,
        "speedup_vs_imder": 100.0 / steps,
        "nfe": float(steps),
        "flops_per_clip": 1e6 * steps,
    }
