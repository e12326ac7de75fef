"""A search that runs, watched in a real browser by the command that it names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pages import browser as chromium
from pages import complaints, until
from small import ROOT, SMALL

from imer_ray.results.study import load

NUM_DRAWN = """return (document.getElementById("pareto")?.data ?? []).filter((trace) => trace.meta === "points")
    .reduce((sum, trace) => sum + trace.x.length, 0)"""
SAYS = "return document.querySelector('p.live')?.textContent.includes(arguments[0])"


@contextmanager
def started(words: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str], beginning: str) -> str:
    """The first line that begins so, as soon as it is printed, without its beginning."""
    assert process.stdout is not None
    return next(said for said in process.stdout if said.startswith(beginning)).removeprefix(beginning).strip()


@pytest.mark.slow
def test_the_command_that_a_search_names_shows_it_in_a_browser_until_it_ends(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "imer_ray.search", "study.num_trials=6", *SMALL]
    with started(words, tmp_path) as search, chromium() as browser:
        python, *watching = shlex.split(line(search, "watch it: "))
        assert python == "python"
        with started([sys.executable, *watching], tmp_path) as watcher:
            link = line(watcher, "watching runs/demo at ").split()[0]
            browser.get(link)
            assert until(browser, SAYS, "live")
            first: Any = until(browser, NUM_DRAWN)
            assert search.poll() is None, "points are there while the search still runs"
            until(browser, SAYS, "the search has ended")
            points = load(tmp_path / "runs/demo").points
            assert browser.execute_script(NUM_DRAWN) == len(points) > first
            assert search.wait() == 0 and watcher.wait() == 0
            assert complaints(browser) == []
