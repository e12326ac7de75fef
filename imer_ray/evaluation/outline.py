"""What a model's configuration would build, held against the weights that came with it, before anything is built."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from imer_ray.data.missing import MODALITIES
from imer_ray.errors import UserError
from imer_ray.models.frame_mixture import FrameMixture
from imer_ray.models.mixture import MixtureRecogniser
from imer_ray.models.model import EmotionModel, build_model
from imer_ray.models.parts import Parts
from imer_ray.received import shown

MAX_TENSORS = 20_000  # more than any model of ours has; each of them is looked at


def untrained(parts: Parts, shape: Mapping[str, Any], trained: Mapping[str, Tensor]) -> EmotionModel:
    """An untrained model with the parts that trained weights are for."""
    if not any(name.startswith("recovery.") for name in trained):
        parts = replace(parts, diffusion=None, imputer=None)
    model = build_model(parts, shape, trained)
    own = model.recogniser
    if isinstance(own, MixtureRecogniser | FrameMixture):
        num_frames = parts.encoder.length(min(shape["lengths"].values()))
        law = own.law if isinstance(own, FrameMixture) else own
        read, given = tuple(law.components.centre.shape), (len(MODALITIES), num_frames * parts.encoder.latent_dim)
        if read != given:
            raise ValueError(f"the mixture reads latents of {list(read)} numbers, and the encoder gives {list(given)}")
        if isinstance(own, FrameMixture) and own.reading.padding.shape[1] != num_frames:
            raise ValueError(f"the mixture reads {own.reading.padding.shape[1]} frames, the encoder gives {num_frames}")
    return model


def check_fit(parts: Parts, shape: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.dtype]:
    """The data type of each tensor, where the tensors of these ``shapes`` are those of the model that is made of these
    parts.

    The model is outlined without memory for its numbers, and only as far as there are tensors for it: a setting cannot
    ask for more layers or wider ones.

    Raises:
        UserError: they are not.
    """
    if len(shapes) > MAX_TENSORS:
        raise UserError(f"it holds {len(shapes):,} tensors, and no model has more than {MAX_TENSORS:,}")
    try:
        with torch.device("meta"):
            given = {name: torch.empty(size) for name, size in shapes.items()}
            with _at_most(len(shapes), sum(tensor.numel() for tensor in given.values())):
                outline = untrained(parts, shape, given)
        wanted = outline.state_dict()
    except _TooLarge as error:
        raise UserError("they ask for a larger model than the weights are of") from error
    except LookupError as error:
        raise UserError(f"{shown(error.args[0])} is missing") from error
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(" ".join(str(error).split())[:200]) from error
    for name in [*wanted, *shapes]:
        here, there = (tuple(wanted[name].shape) if name in wanted else None), shapes.get(name)
        if here != there:
            sizes = [f"{list(size)}" if size is not None else "nothing" for size in (there, here)]
            raise UserError(f"{shown(name)} is {sizes[0]}, and should be {sizes[1]}")
    return {name: tensor.dtype for name, tensor in wanted.items()}


class _TooLarge(Exception):
    """A model has more parameters than there are weights."""


@contextlib.contextmanager
def _at_most(num_tensors: int, num_numbers: int) -> Iterator[None]:
    """End the building of modules that have more parameters, or larger ones, with `_TooLarge`.

    Twice as many are let pass, as a module may set a parameter again.
    """
    left = [2 * num_tensors, 2 * num_numbers]

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None:
            left[0] -= 1
            left[1] -= parameter.numel()
        if min(left) < 0:
            raise _TooLarge

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
