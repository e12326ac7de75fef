import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "stages"), str(Path(__file__).parent)]  # plain_s3, toy_hardware; world, faults


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from world import world

    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


TABLE: list[tuple[object, ...]] = []
HEAD = ("scenario", "store", "moments", "stages that began again", "epochs computed again", "seconds longer")


@pytest.fixture(scope="session")
def table() -> list[tuple[object, ...]]:
    """What the searches cost, told at the end."""
    return TABLE


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in (HEAD, ["---"] * len(HEAD), *TABLE) if TABLE else ():
        terminalreporter.write_line(f"| {' | '.join(map(str, line))} |")
