import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "commands")]  # installations, small

from installations import Installation, build, install  # noqa: E402

HOW = ("wheel", "editable")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {how: build(how, tmp_path_factory.mktemp(how)) for how in HOW}


@pytest.fixture(scope="session")
def installations(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Installation]:
    return {how: install(wheel, tmp_path_factory.mktemp(f"{how}-venv")) for how, wheel in wheels.items()}


@pytest.fixture(scope="session", params=HOW)
def installation(request: pytest.FixtureRequest, installations: dict[str, Installation]) -> Installation:
    return installations[request.param]
