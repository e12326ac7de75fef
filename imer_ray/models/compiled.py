"""Compilation of what a prediction spends its time in: denoising networks, refiners, fusion and head.

Every part becomes one graph for any number of rows (batch 1 has one of its own), so that it is not compiled again for
every number of clips that miss something. ``reduce-overhead`` replays CUDA graphs on a GPU, which saves the launches of
small kernels; it records one per number of rows. Sampler, condition and the choice of rows stay as they are: they ask
the data how to go on, and are a small share of the time. Results differ by rounding.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from imer_ray.errors import UserError
from imer_ray.models.model import EmotionModel, Recogniser
from imer_ray.models.recovery import Recovery

NUM_WARM_UPS = 3  # a first call compiles, a second records the CUDA graph, a third replays it

# Positions are cached between calls where nothing is compiled; a graph works them out, which is as right.
warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`", category=UserWarning)


def compile_parts(model: EmotionModel, mode: str) -> None:
    """Compile a model's parts in place for inference with a mode of `torch.compile`; a compiled part stays as it is.

    Weights, their names and what hooks see do not change. Compilation itself happens in the first calls.

    Raises:
        UserError: there is no compiler for the device that the model is on.
    """
    check_compiler(next(model.encoder.buffers()).device.type, mode)
    for part, name in parts(model):
        if name not in vars(part):
            setattr(part, name, _compiled(getattr(part, name), mode))


def parts(model: EmotionModel) -> Iterator[tuple[nn.Module, str]]:
    """The modules to compile, each with the name of the method that is called."""
    if isinstance(model.recovery, Recovery):
        yield from ((network, "forward") for network in model.recovery.networks)
    if isinstance(model.recogniser, Recogniser):
        yield from ((refiner, "forward") for refiner in model.recogniser.refiners or ())
        yield model.recogniser, "answer"


def check_compiler(device_type: str, mode: str) -> None:
    """Refuse a machine that cannot compile for a device.

    Raises:
        UserError: without a C++ compiler for a CPU, or without Triton for a GPU.
    """
    if device_type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise UserError(f"compile={mode} needs the package triton on a GPU: install it, or set compile=none")
        return
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"compile={mode} needs a C++ compiler on a CPU, and {compiler} is not on PATH: install one (apt install "
            f"g++, or xcode-select --install), name yours in the variable CXX, or set compile=none"
        )


def _compiled(function: Callable[..., Tensor], mode: str) -> Callable[..., Tensor]:
    run = torch.compile(function, mode=mode, dynamic=True)

    def call(*inputs: Any) -> Tensor:
        out = run(*inputs)
        return out.clone() if out.is_cuda else out  # the next replay of a CUDA graph writes where this one wrote

    return call
