import sys
from pathlib import Path

import pytest

from imer_ray.config import plugins

sys.path.insert(0, str(Path(__file__).parent))  # my_lab, as if it were installed


@pytest.fixture(autouse=True)
def forgotten():
    yield
    plugins.forget()
