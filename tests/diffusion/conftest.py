"""Every process and every sampler that ``conf`` offers."""

import pytest

from imer_ray.config.components import build, option, options

# Settings that make another process of the same option, and the hardest that a search may ask for.
VARIANTS = {
    "imder_ve": [{}, {"sigma": 50.0}],
    "ve": [{}, {"sigma_max": 50.0}],
    "vp": [{"schedule": "linear"}, {"schedule": "cosine"}, {"schedule": "shifted_cosine", "shift": 0.25}],
}
PROCESSES = {
    " ".join([name, *map(str, settings.values())]): {**option("diffusion/sde", name), **settings}
    for name in options("diffusion/sde")
    for settings in VARIANTS.get(name, [{}])
}


@pytest.fixture(params=PROCESSES.values(), ids=PROCESSES.keys())
def sde(request):
    return build(request.param)


@pytest.fixture(params=options("diffusion/sampler"))
def sampler(request):
    return build(option("diffusion/sampler", request.param))
