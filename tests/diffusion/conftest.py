"""Every process and every sampler that ``conf`` offers."""

import pytest

from imer_ray.config.components import build, option, options
from imer_ray.testing.samplers import processes

PROCESSES = processes()


@pytest.fixture(params=PROCESSES.values(), ids=PROCESSES.keys())
def sde(request):
    return request.param


@pytest.fixture(params=options("diffusion/sampler"))
def sampler(request):
    return build(option("diffusion/sampler", request.param))
