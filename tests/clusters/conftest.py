import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # stubs, fake_slurm, pretended


@pytest.fixture(scope="session")
def namespaces() -> None:
    """What a second machine is pretended with."""
    from fake_slurm import FIRST_NODE

    if shutil.which("unshare") is None or subprocess.run([*FIRST_NODE, "ip", "link"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make namespaces")
