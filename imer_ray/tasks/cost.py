"""Stage `cost`: what a prediction of a configuration costs, measured without training anything.

Time depends on the networks' shapes and the sampler's work, not on weights. So configurations that differ in training,
loss weights, process or parametrization have one cost, measured once, and no noise between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from imer_ray.evaluation.cost import COST_FILE, measure, untrained, with_process
from imer_ray.evaluation.timing.speedup import check_reference
from imer_ray.stages.context import Context
from imer_ray.training.latents import load_dataset


def run(config: Mapping[str, Any], context: Context) -> dict[str, float]:
    """Measure the untrained networks of a configuration, in ``cost.json``; only a mixture's shape is learnt from data,
    and it is the input ``recogniser``."""
    dataset = load_dataset(config)
    check_reference(config, dataset.lengths)
    config = with_process(config)
    model = untrained(config, dataset, context)
    found = measure(model, dataset, config["split"], config, context.device)
    (context.folder / COST_FILE).write_text(json.dumps(found), encoding="utf-8")
    return found
