"""Results of a study as a search leaves them, made without one."""

import sys
from pathlib import Path

import pytest
from made_studies import rows_of, run, write_run

sys.path.insert(0, str(Path(__file__).parent))  # small_study, pages

__all__ = ["rows_of", "run", "write_run"]


@pytest.fixture
def small(tmp_path):
    """``small(rows, baselines, data=, ...)``: a study's folder."""
    from small_study import DATA, OBJECTIVES, write_study

    def write(rows, baselines=None, name="small", data=DATA, objectives=OBJECTIVES, folder="small", space=()):
        return write_study(tmp_path / folder, rows, baselines, name, data, objectives, space)

    return write


@pytest.fixture(scope="session")
def opened():
    """A browser, which takes seconds to start."""
    from pages import browser

    with browser() as found:
        yield found


@pytest.fixture(scope="session")
def drawn(run):
    """The address of the page of `run`, and the study."""
    from pages import draw

    from imer_ray.results.study import load

    return draw(run), load(run)


@pytest.fixture
def page(opened, drawn):
    """The page as it is when it is opened first."""
    from pages import complaints

    opened.get("about:blank")
    opened.get(drawn[0])
    yield opened
    assert complaints(opened) == []
