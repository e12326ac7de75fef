"""Compiled predictions: equal to those as written, for any number of clips, in what costs and is saved too.

Those on a GPU want CUDA_VISIBLE_DEVICES set, which the tests otherwise empty.
"""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace

import pytest
import torch
from experiments import experiment, of_model

from imer_ray.config.experiment import SpeedConfig
from imer_ray.data.batch import Batch
from imer_ray.data.missing import PATTERNS
from imer_ray.errors import UserError
from imer_ray.evaluation.predict import Inference, predict_clips, predictor
from imer_ray.evaluation.timing.reference_work import eager_reference
from imer_ray.evaluation.timing.speedup import cost
from imer_ray.models.compiled import compile_parts, parts
from imer_ray.models.model import EmotionModel, build_encoder, build_recogniser
from imer_ray.models.parts import Parts
from imer_ray.models.recovery import build_recovery
from imer_ray.training.seeding import seeded

DIMS = {"l": 5, "a": 3, "v": 4}
NUM_FRAMES = 6
SIZES = (7, 1, 4, 3)
SMALL = ("diffusion.backbone.num_layers=1", "refiner.num_blocks=1", "diffusion.sampler=ddim", "diffusion.num_steps=2")
SPEED = SpeedConfig(batch_size=2, reference_steps=1, max_repeats=1, max_seconds=0.0)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler to compile with")
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU, or CUDA_VISIBLE_DEVICES is empty"
)


def config_of(*overrides):
    return experiment(*SMALL, *overrides)


def model_of(config, randomise):
    lengths = dict.fromkeys(DIMS, NUM_FRAMES)
    torch.manual_seed(3)
    parts = Parts.of(of_model(config))
    latent_dim, num_frames = parts.encoder.latent_dim, parts.encoder.length(NUM_FRAMES)
    model = EmotionModel(
        build_encoder(parts.encoder, DIMS, lengths),
        build_recovery(parts.diffusion, latent_dim, num_frames),
        build_recogniser(latent_dim, parts.fusion, parts.refiner),
    )
    return randomise(model, 0.05).eval().requires_grad_(False)


def clips_of(size, device="cpu"):
    g = seeded(size, "clips")
    frames = torch.ones(size, NUM_FRAMES, dtype=torch.bool)
    frames[size // 2 :, :2] = size == 1  # shorter clips, but for the single one
    return Batch(
        features={m: torch.randn(size, NUM_FRAMES, d, generator=g) * frames[..., None] for m, d in DIMS.items()},
        frames=dict.fromkeys(DIMS, frames),
        recorded=torch.ones(size, 3, dtype=torch.bool),
        labels=torch.zeros(size),
        index=torch.arange(size),
    ).to(device)


def inference_of(config):
    return Inference.of(config, config.diffusion)


def predict(model, config, size, pattern, device="cpu"):
    return predictor(model, inference_of(config), pattern, seed=0)(clips_of(size, device))


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["transformer", "mixer"])
def test_compiled_predictions_are_the_same_and_no_number_of_clips_compiles_again(backbone, randomise):
    """1e-5: sums in another order, of numbers around 1."""
    from torch._dynamo.utils import counters  # takes seconds, not where each test process collects it

    torch._dynamo.reset()
    config = config_of(f"diffusion.backbone={backbone}")
    model, compiled = model_of(config, randomise), replace(config, compile="default")
    faster = copy.deepcopy(model)
    expected = {(n, p): predict(model, config, n, p) for n in SIZES for p in ("av", "l")}
    graphs = []
    for (size, pattern), there in expected.items():
        torch.testing.assert_close(predict(faster, compiled, size, pattern), there, rtol=0, atol=1e-5)
        graphs.append(counters["stats"]["unique_graphs"])
    assert graphs[0] > 0, "nothing was compiled"
    assert graphs[3] == graphs[-1], "a number of clips was compiled for"
    batch, one = clips_of(2), clips_of(1)
    flops = {
        cost(m, batch, one, SPEED, predict, predict, eager_reference(model, "av"), warm_ups)["flops_per_clip"]
        for m, c, warm_ups in ((model, config, 1), (faster, compiled, 3))
        for predict in [predictor(m, inference_of(c), "av", 0)]
    }
    assert len(flops) == 1 and flops.pop() > 0  # operations are counted as written


@needs_compiler
def test_compiling_leaves_weights_and_their_names_and_is_done_once(randomise):
    model = model_of(config_of(), randomise)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    compile_parts(model, "default")
    calls = [getattr(part, name) for part, name in parts(model)]
    compile_parts(model, "default")
    assert calls == [getattr(part, name) for part, name in parts(model)]
    assert len(calls) == 3 + 3 + 1  # networks, refiners, fusion with head
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)


def test_without_a_compiler_the_user_is_told_what_to_do(randomise, monkeypatch, tmp_path):
    model = model_of(config_of(), randomise)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"compile=default needs a C\+\+ compiler.*or set compile=none"):
        predict(model, config_of("compile=default"), 2, "av")
    monkeypatch.setenv("CXX", "/no/such/compiler")
    with pytest.raises(UserError, match="/no/such/compiler is not on PATH"):
        predict(model, config_of("compile=max-autotune-no-cudagraphs"), 2, "av")
    predict(model, config_of(), 2, "av")


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="compile=reduce_overhead: .*did you mean reduce-overhead"):
        config_of("compile=reduce_overhead")


@needs_gpu
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune-no-cudagraphs"])
@pytest.mark.parametrize("backbone", ["transformer", "mixer"])
def test_compiled_predictions_are_the_same_on_a_gpu(backbone, mode, randomise):
    """Every size three times: the first call compiles, the second records the CUDA graph, the third replays it."""
    torch._dynamo.reset()
    config = config_of(f"diffusion.backbone={backbone}")
    model = model_of(config, randomise).to("cuda")
    faster = copy.deepcopy(model)
    for pattern in ("av", "l"):
        for size in SIZES:
            expected = predict(model, config, size, pattern, "cuda")
            for _ in range(3):
                found = predict(faster, replace(config, compile=mode), size, pattern, "cuda")
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@needs_gpu
@pytest.mark.parametrize("system", ["transformer", "mixer", "as published"])
def test_half_precision_on_a_gpu_stays_near_single(system, randomise):
    """bfloat16 has 8 bits: 2^-8 of predictions around 1, through a few layers; clips miss different modalities."""
    published = ("refiner=imder", "refiner.num_blocks=1", "fusion=imder")
    config = config_of(*published) if system == "as published" else config_of(f"diffusion.backbone={system}")
    model = model_of(config, randomise).to("cuda")
    available = torch.stack([PATTERNS[pattern] for pattern in ("av", "l", "lav", "lv")] * 8)

    def predicted(precision):
        inference = inference_of(replace(config, precision=precision))
        return predict_clips(clips_of(32), available, lambda pattern: predictor(model, inference, pattern, seed=0))

    half, full = predicted("bf16"), predicted("fp32")
    assert half.dtype == torch.float32 and not torch.equal(half, full)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


@needs_gpu
def test_a_gpu_predicts_what_a_cpu_does(randomise):
    """With the same noise; single precision, whose products of matrices a GPU sums in another order."""
    config = config_of()
    model = model_of(config, randomise)
    here = predictor(model, inference_of(config), "av", seed=0)(clips_of(5))
    there = predictor(copy.deepcopy(model).to("cuda"), inference_of(config), "av", seed=0)(clips_of(5))
    torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-4)
