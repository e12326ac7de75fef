import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imer_ray.config import plugins

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "commands")]  # my_lab, as if it were installed; small


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    plugins.forget()


@pytest.fixture(scope="session", autouse=True)
def found_by_workers() -> Iterator[None]:
    """The processes of a search find the package as they would an installed one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE), prepend=os.pathsep)
        yield
