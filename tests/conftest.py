"""Settings of every test process, made before torch or ray are imported."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # other_user, made_studies, small_studies

pytest.register_assert_rewrite("imer_ray.testing")

LONG = ("commands", "serving", "lab", "tuning", "scaling")  # folders whose tests start Ray

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same results on every machine
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 would have its workers starve beside a busy process
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

# No deadline: a busy machine is no failure. The same examples every time: a green run stays green.
settings.register_profile("project", deadline=None, derandomize=True, database=None)
settings.register_profile("quick", settings.get_profile("project"), max_examples=30)


def pytest_configure(config: pytest.Config) -> None:
    """Before a test is collected: a hundred examples of whatever says no other number only where the slow tests run."""
    settings.load_profile("quick" if config.option.markexpr == "not slow" else "project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no process has one left when the other has done (`make test` keeps this order)."""
    order = {folder: number for number, folder in enumerate(LONG)}
    items.sort(key=lambda item: min((order[p] for p in item.path.parts if p in order), default=len(LONG)))
