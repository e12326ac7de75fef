"""The command's own HTTP server: one process, one port."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from imer_ray.errors import UserError
from imer_ray.serving.front import Front
from imer_ray.serving.protocol import BoundedProtocol

DRAIN_SECONDS = 10  # that requests under way get to end, once the server is told to
KEEP_ALIVE_SECONDS = 75  # that an idle connection is kept: longer than what clients and proxies keep theirs
BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A socket with the address, to which nobody can connect before `serve` listens.

    Raises:
        UserError: the port is taken or not allowed, or the host is no address of this machine.
    """
    with _errors(host, port):
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(address)
        except OSError:
            found.close()
            raise
    return found


@contextlib.contextmanager
def _errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(_reason(host, port, error)) from error


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port={port} is taken on {host}: another port=... is free, or port=0 takes any that is"
    if error.errno == errno.EACCES:
        return f"port={port} may not be used by this user: take one from 1024 on"
    return f"host={host} is no address of this machine ({error.strerror or error}); host=127.0.0.1 is"


def url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def warn_if_open(listener: socket.socket) -> None:
    """Say on the terminal if other machines reach the socket."""
    host = listener.getsockname()[0]
    if not ipaddress.ip_address(host).is_loopback:
        print(
            f"warning: host={host} lets other machines in, without authentication and without encryption: put a proxy "
            "that has both before it, or leave host at 127.0.0.1",
            file=sys.stderr,
        )


def serve(front: Front, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Answer requests until ctrl-C or SIGTERM, which has its usual effect once requests under way are answered."""
    with _errors(*listener.getsockname()[:2]):
        listener.listen(BACKLOG)
    announce()
    http_server(front).run(sockets=[listener])


def http_server(front: Front) -> uvicorn.Server:
    """HTTP/1.1 before a front, which answers all else."""
    config = uvicorn.Config(
        front,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return uvicorn.Server(config)
