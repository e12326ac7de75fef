"""Stage `evaluate`: metrics of a trained recogniser with one sampler setting, per setting of a protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safetensors.torch import save_file

from imer_ray.config.components import build
from imer_ray.evaluation.cost import load_cost
from imer_ray.evaluation.predict import num_evaluations, predict_protocol
from imer_ray.evaluation.score import score
from imer_ray.stages.context import Context
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_model


def run(config: Mapping[str, Any], context: Context) -> dict[str, float]:
    """Score ``config["split"]`` under every setting of the protocol; the input ``cost`` says what predictions cost."""
    dataset = load_dataset(config)
    model = load_model(config, context)
    split = config["split"]
    predictions = predict_protocol(model, dataset, split, config, context.device)
    results = score(predictions, dataset, split, build(config["protocol"]))
    save_file({k: v.contiguous() for k, v in predictions.items()}, context.folder / "predictions.safetensors")
    return {**results, "nfe": float(num_evaluations(config)), **load_cost(context)}
