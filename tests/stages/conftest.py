import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # toy_stages, worlds


@pytest.fixture(params=[False, True], ids=["local", "object store"])
def world(request, tmp_path):
    from worlds import World

    return World(tmp_path, request.param)
