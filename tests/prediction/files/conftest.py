import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "data")]  # clip_files; mmsa_files, ...


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A small table of utterances."""
    from utterance_files import rows, write

    return write(tmp_path / "clips.parquet", rows())
