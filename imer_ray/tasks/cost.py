"""Stage `cost`: what a prediction of a configuration costs, measured without training anything.

Time depends on the networks' shapes and the sampler's work, not on weights. So configurations that differ in training,
loss weights, process or parametrization have one cost, measured once, and no noise between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from imer_ray.config.components import build, option
from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import recoverable_modalities
from imer_ray.evaluation.timing.speedup import check_reference, cost, reference_for
from imer_ray.models.compiled import NUM_WARM_UPS
from imer_ray.models.model import Imer, build_encoder, build_recogniser, build_recogniser_of
from imer_ray.stages.context import Context
from imer_ray.tasks.evaluate import COST_FILE, is_compiled, predictor
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import build_filling
from imer_ray.training.loop import seeded

# Every process and parametrization is the same work with other numbers (a test counts the operations).
PROCESS = {"parametrization": "v", "sigma_data": 1.0}
GUIDANCE = 2.0  # any weight but 1 asks for both estimates


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


def with_process(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The slice with a process and a guidance weight of no matter which value, where anything is sampled."""
    if "diffusion" not in config:
        return config
    diffusion = dict(config["diffusion"])
    guidance = GUIDANCE if diffusion.pop("guided") else 1.0
    process = {**PROCESS, "sde": option("diffusion/sde", "vp"), "guidance": guidance}
    return {**config, "diffusion": {**diffusion, **process}}


def untrained(config: Mapping[str, Any], dataset: Dataset, context: Context) -> Imer:
    """Networks of the shapes that the configuration's trained ones have."""
    recoverable = recoverable_modalities(dataset.recorded("train"))
    num_frames = build(config["encoder"]).length(min(dataset.lengths.values()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(config["seed"], "cost").initial_seed())
        encoder = build_encoder(config, dataset.dims, dataset.lengths)
        fills = "diffusion" in config or "imputer" in config
        recovery = build_filling(config, num_frames, recoverable) if fills else None
        if recovery is not None and "imputer" in config:
            for parameter in recovery.parameters():
                nn.init.normal_(parameter, std=0.02)  # may be no numbers at all before they are fitted
        if "recogniser" in context.inputs:
            trained = load_file(context.inputs["recogniser"] / "recogniser.safetensors")
            recogniser: Any = build_recogniser_of(config, trained, recoverable)
            recogniser.load_state_dict(trained)
        else:
            recogniser = build_recogniser(config, "refiner" in config, config["reconstructor"], recoverable)
    return Imer(encoder, recovery, recogniser).eval().requires_grad_(False).to(context.device)


def measure(model: Imer, dataset: Dataset, split: str, config: Mapping[str, Any], device: str) -> dict[str, float]:
    """Cost beside the IMDer reference, on the split's first clips (time does not depend on the values)."""
    rows = torch.arange(config["speed"]["batch_size"]) % dataset.size(split)
    batch, one = (dataset.batch(split, some).to(device) for some in (rows, rows[:1]))
    reference = reference_for(config, dataset.dims, dataset.lengths, device)
    predict = predictor(model, config, seeded(config["seed"], "cost", device=device))
    return cost(model, reference, batch, one, config["speed"], predict, NUM_WARM_UPS if is_compiled(config) else 1)
