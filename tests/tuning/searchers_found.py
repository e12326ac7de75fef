"""The searchers in their folder, and the conditional parameters that tests of them search."""

from importlib import resources

import pytest

SAMPLERS = sorted(
    entry.name[:-3]
    for entry in resources.files("imer_ray.tuning.searchers").iterdir()
    if entry.name.endswith(".py") and not entry.name.startswith("_")
)
every_sampler = pytest.mark.parametrize(  # a proposal of Gaussian processes takes half a second
    "sampler", [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in SAMPLERS]
)
