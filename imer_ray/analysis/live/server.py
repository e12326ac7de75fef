"""Serves one page, and what is new on it, to browsers of this machine and of whoever knows the link.

Results may be nobody else's business, so that the link has a word that cannot be guessed; nothing but the page is there
to be asked for, no path leads to a file, and a request that names another host than the loopback is refused: it comes
from a page of somebody else's whose name was made to point here (DNS rebinding).
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imer_ray.analysis.live.source import Source
from imer_ray.errors import UserError
from imer_ray.files import similar
from imer_ray.results.driver import is_searched

HOST = "127.0.0.1"
NAMES = {HOST, "localhost", "::1"}  # of the loopback, with any port: a tunnel's may be another than ours
LOOK_SECONDS = 1.0  # between two looks at whether the search still runs
FAREWELL_SECONDS = 5.0  # in which open pages, which ask every second or two, are given the last version
IDLE_SECONDS = 30.0  # after which a connection that says nothing is closed
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server:
    """A page's server, on a free port of the loopback or on ``port``.

    Raises:
        UserError: the port is taken, or may not be used.
    """

    def __init__(self, source: Source, port: int = 0) -> None:
        self._word = secrets.token_urlsafe(16)
        try:
            self._http = _Http((HOST, port), _handler(source, f"/{self._word}/"))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"port={port} cannot be used ({reason}); choose another, or leave it out for a free one"
            ) from error

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._http.server_address[1]}/{self._word}/"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def watch(folder: Path, port: int = 0, panels: Sequence[str] = (), say: Callable[[str], None] = print) -> None:
    """Serve the page of the study in ``folder`` until its search ends, or a KeyboardInterrupt; ``say`` gets the link.

    Where no search runs yet, one that begins is waited for.

    Raises:
        UserError: there is no such folder, or the port cannot be used.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist{similar(folder)}; watch a study that a search has begun")
    source = Source(folder, panels)
    pause = threading.Event()
    with Server(source, port) as server:
        say(f"watching {folder} at {server.url} (ctrl-C ends this, and no search)")
        has_run = is_searched(folder)
        if not has_run:
            say("no search of it runs now; one that begins will be followed")
        while (runs := is_searched(folder)) or not has_run:
            has_run = has_run or runs
            pause.wait(LOOK_SECONDS)
        source.last()
        pause.wait(FAREWELL_SECONDS)
    say("the search has ended")


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 (socketserver's)
        """A browser that has gone away is nobody's business."""


def _handler(source: Source, root: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "imer_ray", ""
        timeout = IDLE_SECONDS

        def do_GET(self) -> None:  # noqa: N802 (http.server's)
            if not _is_own(self.headers.get("Host", "")):
                self._answer(HTTPStatus.MISDIRECTED_REQUEST, b"this is no site of another name\n")
            elif _same(self.path, root):
                self._answer(HTTPStatus.OK, source.now().html(), "text/html; charset=utf-8")
            elif _same(self.path, root + "changes"):
                version = source.now()
                if self.headers.get("If-None-Match") == version.tag:
                    self._answer(HTTPStatus.NOT_MODIFIED, tag=version.tag)
                else:
                    self._answer(HTTPStatus.OK, version.changes, "application/json", version.tag)
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"there is nothing here; the whole link is in the terminal\n")

        do_HEAD = do_GET  # noqa: N815 (http.server's)

        def _answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "text/plain", tag: str = "") -> None:
            self.send_response(status)
            headers = HEADERS | ({"ETag": tag} if tag else {})
            if status != HTTPStatus.NOT_MODIFIED:
                headers |= {"Content-Type": kind, "Content-Length": str(len(body))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """The terminal is the study's."""

    return Handler


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def _is_own(host: str) -> bool:
    """Whether a Host header names the loopback."""
    try:
        return urlsplit(f"//{host}").hostname in NAMES
    except ValueError:
        return False
