"""What the default trains has a continuous gradient, so that rounding stays as small as it is."""

from __future__ import annotations

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

from imer_ray.config.components import build, option
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of, typed
from imer_ray.models.activations import ACTIVATIONS
from imer_ray.models.averaged import Averaged
from imer_ray.models.model import build_recogniser
from imer_ray.models.pooled import Pooled
from imer_ray.models.refiner import RCAN

KINKS = ("relu", "threshold", "hardtanh", "abs")  # parts of names


class Called(TorchDispatchMode):
    """The names of the operations that are called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def kinks(fusion, refiner, clips):
    """Operations with a kink through which gradients of a recogniser flow, forth and back."""
    latents, available, frames = clips
    recogniser = build_recogniser(latents.shape[-1], fusion, refiner).train()
    with Called() as called:
        recogniser(latents, available, frames).square().sum().backward()
    return {name for name in called.names if any(kink in name for kink in KINKS)}


@pytest.mark.parametrize("fusion", ["pooled", "averaged"])
def test_our_recognisers_have_no_relu(clips, fusion):
    assert not kinks(build(option("fusion", fusion)), build(option("refiner", "rcan")), clips)


@pytest.mark.parametrize("fusion", [Pooled(), Averaged(activation="relu")])
def test_as_published_they_have(clips, fusion):
    assert "relu" in kinks(fusion, RCAN(num_blocks=1), clips)


@pytest.mark.parametrize("of", [Pooled, Averaged, RCAN])
def test_another_activation_is_refused(of):
    with pytest.raises(ValueError, match=f"activation must be one of {', '.join(ACTIVATIONS)}, not swish"):
        of(activation="swish")


def test_what_was_saved_without_an_activation_has_relus():
    """Our options have had one since; what was trained before is read as it was."""
    tree = tree_of(compose(ExperimentConfig, "experiment", []))
    for part in ("fusion", "refiner"):
        assert tree[part].pop("activation") == "gelu"
    older = typed(tree, ExperimentConfig)
    assert older.fusion.build().activation == older.refiner.build().activation == "relu"
