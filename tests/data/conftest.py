import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # mmsa_files, utterance_files


@pytest.fixture
def path(tmp_path):
    """A small table of utterances."""
    from utterance_files import rows, write

    return write(tmp_path / "clips.parquet", rows())
