"""Stage `evaluate`: metrics of a trained recogniser with one sampler setting, per setting of a protocol."""

from __future__ import annotations

from imer_ray.config.slices import Evaluate
from imer_ray.evaluation import scored_clips
from imer_ray.evaluation.cost import load_cost
from imer_ray.evaluation.forecasts import clip_metrics
from imer_ray.evaluation.predict import Inference, draw_protocol
from imer_ray.evaluation.score import score
from imer_ray.models.parts import Parts
from imer_ray.stages.context import Context
from imer_ray.tasks import reads
from imer_ray.training.latents import load_dataset
from imer_ray.training.loaders import load_model


@reads(Evaluate)
def run(config: Evaluate, context: Context) -> dict[str, float]:
    """Score ``config.split`` under every setting of the protocol; the input ``cost`` says what predictions cost."""
    dataset = load_dataset(config)
    split, protocol, inference = config.split, config.protocol.build(), Inference.of(config, config.diffusion)
    model = load_model(Parts.of(config), context)
    drawn = draw_protocol(model, dataset, split, protocol, inference, config.seed, context.device)
    predictions = {setting: of_setting.mean for setting, of_setting in drawn.items()}
    by_clip = clip_metrics(drawn, model, dataset, split, protocol, inference, config.seed, context.device)
    results = score(predictions, dataset, split, protocol, by_clip)
    scored_clips.save(context.folder, predictions, by_clip)
    return {**results, "nfe": float(inference.num_evaluations), **load_cost(context)}
