"""The page of a study's folder as it is now, made anew when somebody asks and its results have changed."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from imer_ray.analysis import report
from imer_ray.analysis.page.page import Page, json_in_script, section
from imer_ray.errors import UserError
from imer_ray.results.driver import is_searched
from imer_ray.results.schema import RESULTS
from imer_ray.results.study import load
from imer_ray.results.timeline import FILE_NAME, RUNNING, read_timeline

DRAWING_SHARE = 0.1  # of the time, at most, goes into drawing: the machine is the search's
SUFFIXES = (".parquet", ".json")  # of the files in a study's folder that the page is made from


@dataclass(frozen=True)
class Version:
    """The page at one moment.

    Attributes:
        tag: names its content, quoted as in HTTP's ETag.
        changes: what a page that is open needs to become this one, as JSON.
        is_running: whether a search of the study runs.
    """

    tag: str
    changes: bytes
    page: Page
    is_running: bool

    def html(self) -> bytes:
        live = {"tag": self.tag, "is_running": self.is_running}
        return self.page.render(live).encode(errors="replace")


class Source:
    """Draws the page of the study in a folder.

    Args:
        panels: settings to draw the quality against.
    """

    def __init__(self, folder: Path, panels: Sequence[str] = ()) -> None:
        self._folder, self._panels = folder, panels
        self._drawing = threading.Lock()
        self._drawn_from: tuple[object, ...] = ()
        self._next = 0.0
        self._version: Version | None = None

    def now(self) -> Version:
        """The newest version; of results that change all the time, the one from a moment ago."""
        if self._version is None:
            with self._drawing:
                self._draw()
        elif time.monotonic() >= self._next and self._drawing.acquire(blocking=False):
            try:
                self._draw()
            finally:
                self._drawing.release()
        assert self._version is not None
        return self._version

    def last(self) -> Version:
        """The version of what lies there now, however long it takes."""
        with self._drawing:
            self._draw()
        assert self._version is not None
        return self._version

    def _draw(self) -> None:
        state = self._state()
        if state == self._drawn_from:
            return
        began = time.monotonic()
        page, is_running = self._page(), bool(state[0])
        live = {"is_running": is_running}
        content = {"title": page.title, "body": page.body, "report": page.report, "live": live}
        changes = json_in_script(content).encode()
        self._version = Version(f'"{hashlib.sha256(changes).hexdigest()}"', changes, page, is_running)
        self._drawn_from = state
        took = time.monotonic() - began
        self._next = began + took / DRAWING_SHARE

    def _state(self) -> tuple[object, ...]:
        """What the page depends on: whether a search runs, and the files with their times and sizes."""
        found: list[tuple[object, ...]] = []
        for path in sorted(self._folder.glob("*")):
            if path.suffix in SUFFIXES:
                try:
                    status = path.stat()
                except OSError:  # it has just been replaced: the next look sees it
                    continue
                found.append((path.name, status.st_mtime_ns, status.st_size, status.st_ino))
        return (is_searched(self._folder), *found)

    def _page(self) -> Page:
        try:
            if (self._folder / RESULTS).exists():
                return report.whole_page(load(self._folder), self._panels)
            return self._waiting()
        except UserError as error:  # a damaged file, which the search may write anew
            page = Page(self._folder.name)
            page.add(section("Nothing to show", f"<p>{escape(str(error))}</p>", kind="warning"))
            return page

    def _waiting(self) -> Page:
        """Before any trial has ended."""
        page = Page(self._folder.name)
        runs = [run for run in read_timeline(self._folder / FILE_NAME) if run["status"] == RUNNING]
        names = [
            run["stage"] + (f" ({run['epoch']} of {run['num_epochs']} epochs)" * bool(run["epoch"])) for run in runs
        ]
        said = f"Computing {', '.join(names)}." if names else ""
        page.add(f"<header><h1>{escape(self._folder.name)}</h1></header>")
        text = f"No trial has ended yet. What the first one gives will stand here. {said}"
        page.add(section("Waiting for the first trial", f"<p>{escape(text)}</p>"))
        return page
