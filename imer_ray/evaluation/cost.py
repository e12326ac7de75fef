"""What a prediction of a configuration costs, measured on untrained networks of its shapes."""

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
from imer_ray.evaluation.predict import is_compiled, predictor
from imer_ray.evaluation.timing.speedup import cost, reference_for
from imer_ray.models.compiled import NUM_WARM_UPS
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser, build_recogniser_of
from imer_ray.stages.context import Context
from imer_ray.training.loaders import build_filling
from imer_ray.training.loop import seeded

# Every process and parametrization is the same work with other numbers (a test counts the operations).
PROCESS = {"parametrization": "v", "sigma_data": 1.0}


GUIDANCE = 2.0  # any weight but 1 asks for both estimates


def with_process(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The slice with a process and a guidance weight of no matter which value, where anything is sampled."""
    if "diffusion" not in config:
        return config
    diffusion = dict(config["diffusion"])
    guidance = GUIDANCE if diffusion.pop("guided") else 1.0
    process = {**PROCESS, "sde": option("diffusion/sde", "vp"), "guidance": guidance}
    return {**config, "diffusion": {**diffusion, **process}}


def untrained(config: Mapping[str, Any], dataset: Dataset, context: Context) -> EmotionModel:
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
    return EmotionModel(encoder, recovery, recogniser).eval().requires_grad_(False).to(context.device)


def measure(
    model: EmotionModel, dataset: Dataset, split: str, config: Mapping[str, Any], device: str
) -> dict[str, float]:
    """Cost beside the IMDer reference, on the split's first clips (time does not depend on the values)."""
    rows = torch.arange(config["speed"]["batch_size"]) % dataset.size(split)
    batch, one = (dataset.batch(split, some).to(device) for some in (rows, rows[:1]))
    reference = reference_for(config, dataset.dims, dataset.lengths, device)
    predict = predictor(model, config, seeded(config["seed"], "cost", device=device))
    return cost(model, reference, batch, one, config["speed"], predict, NUM_WARM_UPS if is_compiled(config) else 1)


COST_FILE = "cost.json"


def load_cost(context: Context) -> dict[str, float]:
    """What the stage `cost` measured."""
    return json.loads((context.inputs["cost"] / COST_FILE).read_text(encoding="utf-8"))
