"""Many evaluations of a network are a loop in a graph, which draws what the sampler draws."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.samplers.euler_maruyama import EulerMaruyama
from imer_ray.diffusion.samplers.predictor_corrector import PredictorCorrector
from imer_ray.diffusion.samplers.unipc import UniPC
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.errors import UserError
from imer_ray.runtime.looped_sampler import MAX_UNROLLED, LoopedSampler, for_graph
from imer_ray.runtime.onnx_graph import OnnxGraph
from imer_ray.runtime.onnx_session import OnnxSession
from imer_ray.runtime.pattern_graph import GivenRows, traced
from imer_ray.training.seeding import seeded

STEPS = MAX_UNROLLED + 1


class Drawn(nn.Module):
    """Samples whose network is a small one: x_T [B, L, D] and noise [B, K, L, D] to the mean of each, [B]."""

    def __init__(self, sampler: Any) -> None:
        super().__init__()
        self.sampler, self.inner = sampler, nn.Linear(2, 2)
        self.requires_grad_(False)

    def forward(self, x_T: Tensor, noise: Tensor) -> Tensor:
        denoiser = Denoiser(lambda x, t: self.inner(x).tanh() * (1 + t)[:, None, None], VP(), "v")
        return self.sampler.sample(denoiser, VP(), x_T, STEPS, GivenRows(noise)).mean((1, 2))


def looped(sampler: Any, num_arrays: int) -> tuple[Drawn, torch.export.ExportedProgram, Tensor, Tensor]:
    x_T, noise = torch.randn(3, 4, 2, generator=seeded(0, "x")), torch.randn(3, num_arrays, 4, 2, generator=seeded(0))
    chosen = for_graph(sampler, STEPS)
    assert isinstance(chosen, LoopedSampler)
    whole = Drawn(chosen)
    return whole, traced(whole, (x_T, noise)), x_T, noise


@pytest.mark.parametrize(
    ("sampler", "num_arrays"),
    [(EulerMaruyama(), STEPS - 1), (UniPC(order=3), 0), (PredictorCorrector(), 2 * STEPS - 2)],
    ids=repr,
)
def test_a_program_asks_the_network_in_one_place(sampler: Any, num_arrays: int) -> None:
    whole, program, x_T, noise = looped(sampler, num_arrays)
    asked = [
        node
        for part in program.graph_module.modules()
        if isinstance(part, torch.fx.GraphModule)
        for node in part.graph.nodes
        if "linear" in str(node.target)
    ]
    assert len(asked) == 1
    file = io.BytesIO()
    torch.export.save(program, file)
    again = torch.export.load(io.BytesIO(file.getvalue())).module()
    for size in (1, 3):
        expected = whole(x_T[:size], noise[:size])
        torch.testing.assert_close(again(x_T[:size], noise[:size]), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_graph_holds_the_weights_of_any_model_once() -> None:
    first, program, x_T, noise = looped(EulerMaruyama(), STEPS - 1)
    graph, second = OnnxGraph(program, ("x_T", "noise")), copy.deepcopy(first)
    second.inner.weight.mul_(-0.5)
    for module in (second, first):
        content = graph.filled(module)
        weight = module.inner.weight.numpy()
        assert content.count(weight.tobytes()) + content.count(weight.T.tobytes()) == 1
        for size in (1, 3):
            found = OnnxSession(content, "a graph")({"x_T": x_T[:size].numpy(), "noise": noise[:size].numpy()})
            np.testing.assert_allclose(found, module(x_T[:size], noise[:size]).numpy(), rtol=1e-5, atol=1e-5)


def test_few_evaluations_stay_one_after_another() -> None:
    sampler = EulerMaruyama()
    assert for_graph(sampler, MAX_UNROLLED) is sampler and for_graph(None, 100) is None


def test_what_no_loop_can_draw_is_refused_in_one_sentence() -> None:
    class Curved(EulerMaruyama):
        def sample(self, denoiser: Any, sde: Any, x_T: Tensor, num_steps: int, generator: Any) -> Tensor:
            return super().sample(denoiser, sde, x_T, num_steps, generator).sin()

    with pytest.raises(UserError, match=f"Curved takes {STEPS}: use fewer steps") as caught:
        looped(Curved(), STEPS - 1)
    assert "\n" not in str(caught.value)
