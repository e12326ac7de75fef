"""The example in CONTRIBUTING.md is a sampler that does what it says."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml

from imer_ray.config import build
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.noise import initial_noise
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.sdes.vp import VP

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
ORACLE = GaussianMixture(torch.tensor([1.0]), torch.tensor([[1.0, -0.5]]), torch.tensor([[[0.3, 0.1], [0.1, 0.2]]]))


@pytest.fixture
def sampler(monkeypatch):
    (code,), (node,) = (re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL) for kind in ("python", "yaml"))
    node = yaml.safe_load(node)
    module = types.ModuleType(node["_target_"].rpartition(".")[0])
    monkeypatch.setitem(sys.modules, module.__name__, module)  # as if the file lay where the text says
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    return build(node)


def end(sampler, num_steps):
    sde = VP()
    denoiser = Denoiser(ORACLE.network(sde, "v"), sde, "v")
    generator = torch.Generator().manual_seed(0)
    x = sampler.sample(denoiser, sde, initial_noise(sde, (500, 1, 2), generator, "cpu"), num_steps, generator)
    assert denoiser.num_evaluations == sampler.num_evaluations(num_steps)
    return x


def test_the_example_follows_the_probability_flow_to_second_order(sampler):
    exact = end(DDIM(), 2000)
    errors = [(end(sampler, n) - exact).abs().mean().item() for n in (20, 40)]
    assert errors[1] < errors[0] / 3  # 4 in the limit; first order would halve it
