"""What every sampler, searcher, scheduler and system must do, as tests that a laboratory runs on its own.

A class of tests for pytest takes two lines; no more than pytest itself is needed, and imer_ray does not need pytest:

    class TestAdamsBashforth(imer_ray.testing.SamplerContract):
        sampler = AdamsBashforth()

    class TestRestless(imer_ray.testing.SearcherContract):
        searcher = restless

``pytest.register_assert_rewrite("imer_ray.testing")`` in a ``conftest.py`` has it explain what fails.
"""

from imer_ray.testing.samplers import SamplerContract
from imer_ray.testing.schedulers import SchedulerContract
from imer_ray.testing.searchers import SearcherContract
from imer_ray.testing.systems import SystemContract

__all__ = ["SamplerContract", "SchedulerContract", "SearcherContract", "SystemContract"]
