import os
import sys
from pathlib import Path

import pytest

STAGES = str(Path(__file__).parents[1] / "stages")
HERE = str(Path(__file__).parent)
sys.path[:0] = [STAGES, HERE]  # toy_stages, ports
from toy_hardware import hardware, worker_path  # noqa: E402

SCALING = hardware(num_workers=2, train_stages=("group",))


@pytest.fixture(scope="module")
def scaling():
    """A local Ray with two CPUs, whose workers know the toy stages, and the settings it was started with."""
    from imer_ray.scaling.cluster import start, stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", worker_path())
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
        start(SCALING, num_slots=6)
        yield SCALING
        stop()


@pytest.fixture
def broker(scaling, tmp_path):
    from imer_ray.scaling.cluster import session

    with session(str(tmp_path / "stages"), scaling, slots=6) as handle:
        yield handle
