import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # toy_stages, worlds


@pytest.fixture(params=[False, True], ids=["local", "object store"])
def world(request, tmp_path):
    from worlds import World

    return World(tmp_path, request.param)


@pytest.fixture
def views(tmp_path):
    """One folder as two machines see it: by default one view twice; two clients' mounts of one NFS export where
    ``IMER_RAY_TEST_VIEWS=/mnt/a:/mnt/b`` names them."""
    first, second = (Path(view) for view in os.environ.get("IMER_RAY_TEST_VIEWS", f"{tmp_path}:{tmp_path}").split(":"))
    name = Path(tempfile.mkdtemp(dir=first)).name
    return first / name, second / name
