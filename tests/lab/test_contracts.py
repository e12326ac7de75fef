"""The laboratory checks its own choices, as anybody can: two lines each."""

from my_lab.samplers import AdamsBashforth
from my_lab.searchers import restless

from imer_ray.testing import SamplerContract, SearcherContract, SystemContract


class TestAdamsBashforth(SamplerContract):
    sampler = AdamsBashforth()


class TestRestless(SearcherContract):
    searcher = restless


class TestHalfMasked(SystemContract):
    system, plugin = "half_masked", "my_lab"
