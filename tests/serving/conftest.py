import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "scaling")]  # serving_load, serving_hostile, ports


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two seeds."""
    from saved_models import save_model

    folder = tmp_path_factory.mktemp("models") / "ours"
    for seed in (1, 2):
        save_model(folder, seed)
    return folder
