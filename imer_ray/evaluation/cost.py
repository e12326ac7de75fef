"""What a prediction of a configuration costs, measured on untrained networks of its shapes."""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from imer_ray.config.experiment import SpeedConfig
from imer_ray.config.slices import Cost
from imer_ray.data.dataset import Dataset
from imer_ray.data.missing import recoverable_modalities
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.errors import UserError
from imer_ray.evaluation.predict import Inference, predictor
from imer_ray.evaluation.timing.graphs import graph_predictor, graph_reference
from imer_ray.evaluation.timing.reference_work import eager_reference
from imer_ray.evaluation.timing.speedup import cost, reference_for, timed_pattern
from imer_ray.models.compiled import NUM_WARM_UPS
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser, build_recogniser_of
from imer_ray.models.parts import Diffusion, Parts, output_of
from imer_ray.models.pattern_model import PatternModel
from imer_ray.models.recovery import build_filling
from imer_ray.stages.context import Context
from imer_ray.training.seeding import seeded

GUIDANCE = 2.0  # any weight but 1 asks for both estimates


def parts_of(config: Cost) -> Parts:
    """The parts of a model of the work that a slice describes.

    Every process and parametrization is the same work with other numbers (a test counts the operations).
    """
    diffusion = None
    if config.diffusion is not None:
        diffusion = Diffusion(
            sde=VP(),
            backbone=config.diffusion.backbone.build(),
            sharing=config.diffusion.sharing,
            parametrization=output_of(config.diffusion.backbone, "v"),
            guidance=GUIDANCE if config.diffusion.guided else 1.0,
            prior=None if config.diffusion.prior is None else config.diffusion.prior.build(),
        )
    return Parts(
        encoder=config.encoder.build(),
        fusion=config.fusion.build(),
        refiner=None if config.refiner is None else config.refiner.build(),
        diffusion=diffusion,
        imputer=None if config.imputer is None else config.imputer.build(),
    )


def untrained(parts: Parts, with_reconstructor: bool, dataset: Dataset, context: Context, seed: int) -> EmotionModel:
    """Networks of the shapes that a configuration's trained ones have."""
    recoverable = recoverable_modalities(dataset.recorded("train"))
    num_frames = parts.encoder.length(min(dataset.lengths.values()))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(seed, "cost").initial_seed())
        encoder = build_encoder(parts.encoder, dataset.dims, dataset.lengths)
        recovery = build_filling(parts, num_frames, recoverable)
        if parts.imputer is not None:
            for parameter in recovery.parameters():
                nn.init.normal_(parameter, std=0.02)  # may be no numbers at all before they are fitted
        if "recogniser" in context.inputs:
            trained = load_file(context.inputs["recogniser"] / "recogniser.safetensors")
            recogniser: Any = build_recogniser_of(parts, trained, recoverable)
            recogniser.load_state_dict(trained)
        else:
            latent_dim, refiner = parts.encoder.latent_dim, parts.refiner
            recogniser = build_recogniser(latent_dim, parts.fusion, refiner, with_reconstructor, recoverable)
    return EmotionModel(encoder, recovery, recogniser).eval().requires_grad_(False).to(context.device)


def measure(
    model: EmotionModel,
    dataset: Dataset,
    split: str,
    inference: Inference,
    speed: SpeedConfig,
    seed: int,
    device: str,
) -> dict[str, float]:
    """Cost beside the IMDer reference, on the split's first clips (time does not depend on the values).

    Args:
        seed: of what is drawn.
    """
    rows = torch.arange(speed.batch_size) % dataset.size(split)
    batch, one = (dataset.batch(split, some).to(device) for some in (rows, rows[:1]))
    reference = reference_for(dataset.dims, dataset.lengths, device)
    pattern = timed_pattern(model)
    eager = predictor(model, inference, pattern, seed)
    num_warm_ups = NUM_WARM_UPS if inference.is_compiled else 1
    if speed.runtime == "eager":
        return cost(model, batch, one, speed, eager, eager, eager_reference(reference, pattern), num_warm_ups)
    if device != "cpu":
        raise UserError(f"speed.runtime=onnx is measured on a CPU, not on {device}: set speed.runtime=eager")
    ready = PatternModel(model, pattern, inference.sampler, inference.num_steps, inference.num_draws)
    predict = graph_predictor(ready, dataset.dims, dataset.lengths, speed.num_threads, seed)
    theirs = graph_reference(
        reference, pattern, speed.reference_steps, dataset.dims, dataset.lengths, speed.num_threads
    )
    return cost(model, batch, one, speed, predict, eager, theirs)


COST_FILE = "cost.json"


def load_cost(context: Context) -> dict[str, float]:
    """What the stage `cost` measured."""
    return json.loads((context.inputs["cost"] / COST_FILE).read_text(encoding="utf-8"))
