"""Stage `cost`: what a prediction of a configuration costs, measured without training anything.

Time depends on the networks' shapes and the sampler's work, not on weights. So configurations that differ in training,
loss weights, process or parametrization have one cost, measured once, and no noise between them.
"""

from __future__ import annotations

import json

from imer_ray.config.slices import Cost
from imer_ray.evaluation.cost import COST_FILE, measure, parts_of, untrained
from imer_ray.evaluation.predict import Inference
from imer_ray.evaluation.timing.speedup import check_lengths
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.latents import load_dataset


@reads(Cost)
def run(config: Cost, context: Context) -> dict[str, float]:
    """Measure the untrained networks of a configuration, in ``cost.json``; only a mixture's shape is learnt from data,
    and it is the input ``recogniser``."""
    dataset = load_dataset(config)
    parts = parts_of(config)
    check_lengths(parts.encoder, config.encoder.name, dataset.lengths)
    model = untrained(parts, config.reconstructor, dataset, context, config.seed)
    inference, speed = Inference.of(config, config.diffusion), config.speed
    found = measure(model, dataset, config.split, inference, speed, config.seed, context.device)
    (context.folder / COST_FILE).write_text(json.dumps(found), encoding="utf-8")
    return found
