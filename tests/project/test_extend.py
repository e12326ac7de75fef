"""The example in docs/how-to/extend.md is a sampler that does what it says."""

from __future__ import annotations

import re
import shutil
import sys
import types
from importlib import resources
from pathlib import Path

import pytest
import torch
import yaml

from imer_ray.config import components
from imer_ray.diffusion.denoiser import Denoiser
from imer_ray.diffusion.noise import initial_noise
from imer_ray.diffusion.oracle import GaussianMixture
from imer_ray.diffusion.samplers.ddim import DDIM
from imer_ray.diffusion.sdes.vp import VP
from imer_ray.errors import UserError

TEXT = (Path(__file__).parents[2] / "docs" / "how-to" / "extend.md").read_text()
ORACLE = GaussianMixture(torch.tensor([1.0]), torch.tensor([[1.0, -0.5]]), torch.tensor([[[0.3, 0.1], [0.1, 0.2]]]))


def forget_components():
    for known in (components.read_option, components._registered, components.targets):
        known.cache_clear()


@pytest.fixture
def sampler(monkeypatch, tmp_path):
    """The files' content where the text says that they lie: a module, and one more option in a copy of ``conf/``."""
    (code,), (node,) = (re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL) for kind in ("python", "yaml"))
    name, target = yaml.safe_load(node)["name"], yaml.safe_load(node)["_target_"]
    module = types.ModuleType(target.rpartition(".")[0])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "extend.md", "exec"), module.__dict__)
    shutil.copytree(resources.files(components.CONF_MODULE), tmp_path / "more_conf")
    (tmp_path / f"more_conf/diffusion/sampler/{name}.yaml").write_text(node)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(components, "CONF_MODULE", "more_conf")
    forget_components()
    yield components.build(components.option("diffusion/sampler", name))
    forget_components()


def test_what_no_option_file_names_is_no_component():
    (node,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    with pytest.raises(UserError, match="AdamsBashforth' is not"):
        components.build(yaml.safe_load(node))


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
