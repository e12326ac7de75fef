import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # local_client
from local_client import LocalClient  # noqa: E402


@pytest.fixture
def client(tmp_path):
    return LocalClient(tmp_path / "stages")
