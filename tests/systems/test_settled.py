"""Configurations of equal results are one: the same stages, and no trial of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from experiments import experiment

from imer_ray.config.components import build, option, options, targets
from imer_ray.diffusion.noise import initial_noise
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.systems import decoupled, graph
from imer_ray.systems._settled import DDIM, DENOISE_ONCE

OTHERS = sorted(set(options("diffusion/sampler")) - DENOISE_ONCE)
SETTINGS: dict[str, Mapping[str, Any]] = {"ddim": {"eta": 1.0}}
SMALL = (
    *("data.num_train=64", "data.num_valid=48", "data.num_test=48"),
    *(f"training.{stage}.num_epochs=1" for stage in ("encode", "pretrain", "recognise")),
    *("speed.max_repeats=1", "speed.batch_size=4", "diffusion.num_draws=2", "bank.mode=same"),
)


@pytest.mark.parametrize("process", options("diffusion/sde"))
@pytest.mark.parametrize("name", sorted(DENOISE_ONCE))
def test_their_one_step_is_the_denoisers_answer_to_the_last_bit_and_needs_no_noise(name: str, process: str) -> None:
    sde, generator = build(option("diffusion/sde", process)), torch.Generator().manual_seed(0)
    weight, times = torch.randn(4, 4, generator=generator), list[float]()
    x_T = initial_noise(sde, (3, 8, 4), generator, "cpu")
    before = generator.get_state()

    def denoise(x: torch.Tensor, t: float) -> torch.Tensor:
        times.append(float(t))
        return torch.tanh(x @ weight)

    for spacing in ("angle", "uniform"):
        sampler = build({**option("diffusion/sampler", name), **SETTINGS.get(name, {}), "spacing": spacing})
        assert torch.equal(sampler.sample(denoise, sde, x_T, 1, generator), torch.tanh(x_T @ weight))
        assert sampler.num_evaluations(1) == 1
    assert torch.equal(generator.get_state(), before) and len(set(times)) == 1


def keys(*words: str) -> set[str]:
    return {stage.key for stage in graph(experiment(*SMALL, *words), "valid").in_order()}


@pytest.mark.parametrize("name", sorted(DENOISE_ONCE - {"ddim"}))
def test_in_one_step_they_have_the_stages_of_ddim_and_in_two_their_own(name: str) -> None:
    ddim, own = "diffusion.sampler=ddim", f"diffusion.sampler={name}"
    assert keys("diffusion.num_steps=1", own) == keys("diffusion.num_steps=1", ddim, "diffusion.sampler.eta=1.0")
    assert keys("diffusion.num_steps=2", own) != keys("diffusion.num_steps=2", ddim)
    banks = [f"{word.replace('diffusion', 'bank')}" for word in (own, ddim)]
    one, other = (keys("bank.mode=reference", "bank.num_steps=1", bank) for bank in banks)
    assert one == other


def test_the_one_in_their_place_is_ddim_as_by_default() -> None:
    assert {**DDIM, "_target_": targets("diffusion/sampler")["ddim"]} == option("diffusion/sampler", "ddim")


@pytest.mark.parametrize("name", OTHERS)
def test_all_others_keep_stages_of_their_own(name: str) -> None:
    assert keys("diffusion.num_steps=1", f"diffusion.sampler={name}") != keys("diffusion.num_steps=1")


def test_what_the_one_stage_measures_is_what_each_would_have(tmp_path: Path) -> None:
    """The graph of the system itself, which leaves the sampler as it is, has the same metrics in stages of its own."""
    config = experiment(*SMALL, "diffusion.num_steps=1", "diffusion.sampler=dpmpp_2m")
    store, found = Store(str(tmp_path)), []
    for final in (graph(config, "valid"), decoupled.graph(config, "valid")):
        metrics = run_graph(final, store)[-1].metrics
        found.append((final.key, {name: value for name, value in metrics.items() if name.startswith("valid.")}))
    (one, ours), (other, theirs) = found
    assert one != other and ours == theirs
