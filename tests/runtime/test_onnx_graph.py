"""A graph predicts what the model does: every recovery, sampler, backbone, fusion, pattern and number of clips."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from pattern_models import DIMS, clips, model_of
from torch.utils._pytree import tree_map

from imer_ray.config.components import options
from imer_ray.data.missing import PATTERNS
from imer_ray.models.mixture import Components, MixtureRecogniser
from imer_ray.models.model import EmotionModel, Recogniser
from imer_ray.models.pattern_model import PatternModel
from imer_ray.runtime.onnx_graph import OnnxGraph
from imer_ray.runtime.onnx_session import OnnxSession
from imer_ray.runtime.pattern_graph import PatternGraph, example, exported, inputs_of, shape_of, traced
from imer_ray.runtime.pattern_session import PatternSession
from imer_ray.training.seeding import seeded

SIZES = (1, 3, 8)
TOLERANCE = 1e-5  # of predictions of about 1: single precision in another order
GUIDED = ("diffusion.guidance=1.5", "diffusion.condition_dropout=0.1")
ALONE = ("diffusion.backbone=none", "refiner=none")  # what a prior says, and no network
BACKBONES = [
    (name, sharing)
    for name in options("diffusion/backbone")
    if name != "none"
    for sharing in ("per_modality", "shared")
    if (name, sharing) != ("imder_unet", "shared")  # which cannot be
]


def sessions_of(ready: PatternModel, num_frames: int) -> tuple[OnnxSession, OnnxSession, Any]:
    """Of the graph for any clips and of that for one whole clip, and what they take."""
    shape = shape_of(ready, DIMS, dict.fromkeys(DIMS, num_frames))
    graph = OnnxGraph(exported(ready, shape), shape.inputs)
    any_clips, for_one = (OnnxSession(graph.filled(PatternGraph(ready), one), "a graph") for one in (False, True))
    return any_clips, for_one, shape


def check(ready: PatternModel, num_frames: int = 6) -> None:
    """Compare with the model on clips half of which end early, whose noise is their own, and on a whole clip."""
    any_clips, for_one, shape = sessions_of(ready, num_frames)
    assert set(any_clips.inputs) == set(shape.inputs)
    assert for_one.inputs == {name: (1, *size) for name, size in shape.inputs.items() if "_frames" not in name}
    asked = PatternSession(any_clips, for_one, shape, 5)
    whole = clips(3, num_frames).select(torch.tensor([0]))
    for batch in (*(clips(size, num_frames) for size in SIZES), whole):
        with torch.no_grad():
            expected = ready(batch.features, batch.frames, ready.noise(batch, 5)).numpy()
        found = asked(batch)
        assert found.shape == (len(batch),)
        difference = np.abs(found - expected)
        if not (difference <= TOLERANCE * np.maximum(1, np.abs(expected))).all():
            given = inputs_of(batch, shape, 5)
            assert difference.max() <= 4 * np.abs(in_double_precision(ready, given) - expected).max()


def in_double_precision(ready: PatternModel, given: dict[str, Any]) -> Any:
    """What the model predicts without rounding. IMDer's U-Net, and samplers that overshoot, enlarge the rounding of
    single precision above `TOLERANCE`; a graph may be no further from PyTorch than that is from the truth."""
    tensors = {name: torch.from_numpy(x) for name, x in given.items()}
    features = {m: tensors[m].double() for m in ready.pattern}
    frames = {m: tensors[f"{m}_frames"] for m in ready.pattern}
    noise = tensors["noise"].double() if "noise" in tensors else None
    with torch.no_grad():
        return PatternGraph(copy.deepcopy(ready).double())(features, frames, noise).numpy()


def check_settings(pattern: str, *overrides: str, num_steps: int = 2, num_draws: int = 1, **others: Any) -> None:
    num_frames = 8 if "diffusion.backbone=imder_unet" in overrides else 6
    layers = () if num_frames == 6 else ("diffusion.backbone.num_layers=1",)
    model, sampler = model_of(*overrides, *layers, num_frames=num_frames, **others)
    check(PatternModel(model, pattern, sampler, num_steps, num_draws), num_frames)


@pytest.mark.parametrize(
    ("pattern", "overrides", "others"),
    [
        pytest.param("l", ("diffusion.prior=mixture", *ALONE), {"num_steps": 1}, marks=pytest.mark.slow),
        pytest.param("lv", ("diffusion.backbone=mixer",), {}, marks=pytest.mark.slow),
        pytest.param("a", ("diffusion.sharing=shared", *GUIDED), {"num_draws": 2}, marks=pytest.mark.slow),
        pytest.param("lav", (), {}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_graph_predicts_what_the_model_does(pattern: str, overrides: tuple[str, ...], others: Any) -> None:
    check_settings(pattern, *overrides, **others)


def mixture_model() -> EmotionModel:
    """With covariances that are nearly singular, as those of few clips are."""
    model, _ = model_of()
    g, rank, count = seeded(0, "mixture"), 5, 3
    recogniser = MixtureRecogniser(Components(3, 6 * 8, rank), count)
    recogniser.components.basis.copy_(torch.randn(3, 6 * 8, rank, generator=g) / 7)
    roots = torch.randn(count, 16, 16, generator=g)
    recogniser.covariances.copy_(roots @ roots.mT / 16 + 1e-3 * torch.eye(16))
    recogniser.means.copy_(torch.randn(count, 16, generator=g))
    return EmotionModel(model.encoder, None, recogniser).eval()


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["l", "av"])
def test_a_mixture_is_read_in_double_precision(pattern: str) -> None:
    model = mixture_model()
    check(PatternModel(model, pattern))
    batch, available = clips(8), PATTERNS[pattern].expand(8, -1)
    latents, frames = model.encoder(batch.features, batch.frames)
    ready = PatternModel(model, pattern)
    found = ready(batch.features, batch.frames, ready.noise(batch, 0))
    expected = model.recogniser.double()(latents, available, frames)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_one_structure_takes_the_weights_of_another_model() -> None:
    """What the exporter folds or shares in one model must not be taken for a part of the structure."""
    model, sampler = model_of("diffusion.backbone=mixer")
    other, _ = model_of("diffusion.backbone=mixer")
    for parameter in other.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=seeded(1, tuple(parameter.shape))) * 0.2)
    first, second = (PatternModel(one, "la", sampler, 1) for one in (model, other))
    shape = shape_of(first, DIMS, dict.fromkeys(DIMS, 6))
    graph, batch = OnnxGraph(exported(first, shape), shape.inputs), clips(3)
    for ready in (second, first, second):
        content = graph.filled(PatternGraph(ready))
        assert b".py" not in content and b"site-packages" not in content  # nothing of the machine that made it
        found = OnnxSession(content, "a graph")(inputs_of(batch, shape, 0))
        expected = ready(batch.features, batch.frames, ready.noise(batch, 0))
        np.testing.assert_allclose(found, expected.numpy(), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["l", "v", "la", "lav"])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("backbone", "sharing"), BACKBONES)
def test_every_backbone_has_graphs(backbone: str, sharing: str, guided: bool, pattern: str) -> None:
    words = (f"diffusion.backbone={backbone}", f"diffusion.sharing={sharing}", *(GUIDED if guided else ()))
    check_settings(pattern, *words, num_draws=2 if guided else 1)


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [1, 100])
@pytest.mark.parametrize("others", [ALONE, ("diffusion.backbone=mixer",), GUIDED], ids=str)
@pytest.mark.parametrize("sharing", ["per_modality", "shared"])
@pytest.mark.parametrize("prior", ["gaussian", "mixture"])
def test_every_prior_has_graphs(prior: str, sharing: str, others: tuple[str, ...], num_steps: int) -> None:
    """Alone, beneath a network and guided; unrolled and in a loop."""
    check_settings("a", f"diffusion.prior={prior}", f"diffusion.sharing={sharing}", *others, num_steps=num_steps)


@pytest.mark.slow
@pytest.mark.parametrize("conditioning", ["pooled", "in_context"])
def test_every_way_to_condition_has_graphs(conditioning: str) -> None:
    check_settings("a", "diffusion.backbone=dit", f"diffusion.backbone.conditioning={conditioning}")


@pytest.mark.slow
@pytest.mark.parametrize("sharing", ["per_modality", "shared"])
@pytest.mark.parametrize("num_steps", [8, 100])
@pytest.mark.parametrize("sampler", options("diffusion/sampler"))
def test_every_sampler_has_graphs(sampler: str, num_steps: int, sharing: str) -> None:
    """At so many steps that none of them overshoots, and at so many that they are a loop."""
    words = ("diffusion.backbone=mixer", f"diffusion.sharing={sharing}", f"diffusion.sampler={sampler}")
    check_settings("a", *words, num_steps=num_steps, num_draws=2)


@pytest.mark.slow
def test_a_loop_of_imders_steps_is_exact_in_double_precision() -> None:
    """In single precision it is no test: 100 steps of that network enlarge the rounding of PyTorch itself to 1e-2."""
    words = ("diffusion.backbone=imder_unet", "diffusion.backbone.num_layers=1", "diffusion.sampler=euler_maruyama")
    model, sampler = model_of(*words, num_frames=8)
    ready = PatternModel(model, "la", sampler, 100)
    inputs = example(shape_of(ready, DIMS, dict.fromkeys(DIMS, 8)))
    exact = tree_map(lambda x: x.double() if x.is_floating_point() else x, inputs)
    whole = PatternGraph(ready).eval().double()
    found, expected = traced(whole, exact).module()(*exact), whole(*exact)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("backbone", "sharing"), [one for one in BACKBONES if one[0] != "imder_unet"])
def test_every_backbone_has_graphs_with_a_loop(backbone: str, sharing: str, guided: bool) -> None:
    words = (f"diffusion.backbone={backbone}", f"diffusion.sharing={sharing}", *(GUIDED if guided else ()))
    check_settings("la", *words, "diffusion.sampler=euler_maruyama", num_steps=100)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("imputer", options("imputer"))
def test_every_imputer_has_graphs(imputer: str, pattern: str) -> None:
    check_settings(pattern, imputer=imputer)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["a", "lv", "lav"])
@pytest.mark.parametrize("fusion", options("fusion"))
def test_every_fusion_and_every_pattern_have_graphs(fusion: str, pattern: str) -> None:
    check_settings(pattern, f"fusion={fusion}", "diffusion.backbone=mixer")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_cannot_be_recovered_is_left_out_of_graphs(pattern: str) -> None:
    check_settings(pattern, "diffusion.sharing=shared", recoverable=("l", "a"))


@pytest.mark.slow
@pytest.mark.parametrize("refiner", [*options("refiner"), None])
def test_every_refiner_has_graphs(refiner: str | None) -> None:
    model, sampler = model_of(*(() if refiner is None else (f"refiner={refiner}",)))
    if refiner is None:
        model.recogniser.refiners = None
    check(PatternModel(model, "lv", sampler, 1))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["a", "lav"])
def test_systems_without_recovery_and_with_a_reconstructor_have_graphs(pattern: str) -> None:
    model, _ = model_of()
    check(PatternModel(EmotionModel(model.encoder, None, model.recogniser), pattern))
    own = model.recogniser
    assert isinstance(own, Recogniser)
    from imer_ray.models.adversary import Reconstructor

    reconstructor = Reconstructor(own.head.num_features).eval()
    torch.nn.init.normal_(reconstructor.out.weight, std=0.1)
    with_one = Recogniser(own.fusion, own.head, None, 8, reconstructor).eval()
    check(PatternModel(EmotionModel(model.encoder, None, with_one), pattern))


@pytest.mark.slow
def test_modalities_of_other_lengths_have_graphs() -> None:
    """Longer ones are averaged down, also where the lengths are no multiples."""
    from experiments import experiment, of_model

    from imer_ray.models.model import build_encoder
    from imer_ray.models.parts import Parts

    model, sampler = model_of()
    lengths = {"l": 6, "a": 11, "v": 18}
    encoder = build_encoder(Parts.of(of_model(experiment("encoder.latent_dim=8"))).encoder, DIMS, lengths).eval()
    ready = PatternModel(EmotionModel(encoder, model.recovery, model.recogniser), "av", sampler, 1)
    shape = shape_of(ready, DIMS, lengths)
    session = OnnxSession(OnnxGraph(exported(ready, shape), shape.inputs).filled(PatternGraph(ready)), "a graph")
    features = {m: torch.randn(4, lengths[m], DIMS[m], generator=seeded(0, m)) for m in "av"}
    frames = {m: torch.arange(lengths[m])[None] < torch.tensor([[1], [4], [6], [18]]) for m in "av"}
    noise = torch.randn(4, *shape.noise, generator=seeded(1, "noise"))
    expected = PatternGraph(ready)(features, frames, noise)
    given = {**features, **{f"{m}_frames": x for m, x in frames.items()}, "noise": noise}
    found = session({name: x.detach().numpy() for name, x in given.items()})
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=TOLERANCE, atol=TOLERANCE)
