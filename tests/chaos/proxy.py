"""What stands between a store and its clients, and can fail as a network or an overloaded server does."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

BLOCK_BYTES = 2**16
UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: 36\r\n"
    b"Connection: close\r\n\r\n<Error><Code>SlowDown</Code></Error>"
)
RESET = struct.pack("ii", 1, 0)  # a closed connection is reset: whoever writes to it is told at once


class Proxy:
    """Passes connections on to a server on this machine.

    Attributes:
        fault: None, or what becomes of every request until it is None again: "refuse" (the connection is reset), "503",
            or "hang" (no answer ever comes).
        num_refused: requests that met a fault.
    """

    def __init__(self, port: int) -> None:
        self.fault: str | None = None
        self.num_refused = 0
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._hung: set[socket.socket] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            _end(self._listener)  # which ends the thread that waits in accept, too
            self.restore()

    def restore(self) -> None:
        """End the fault; connections that hung are reset."""
        self.fault = None
        with self._lock:
            hung, self._hung = self._hung, set()
        for connection in hung:
            _reset(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # the listener is closed
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._upstream))
        except OSError:
            _reset(client)
            return
        for connection in (client, server):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
        with contextlib.suppress(OSError):
            while block := client.recv(BLOCK_BYTES):
                if self.fault is not None:
                    break
                server.sendall(block)
            if block:
                self._fail(client, "request")
        _end(server)  # and with it the thread that waits for its answers

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := server.recv(BLOCK_BYTES):
                if self.fault is not None:
                    self._fail(client, "answer")
                    break
                client.sendall(block)
        with self._lock:
            hangs = client in self._hung
        if not hangs:
            _end(client)

    def _fail(self, client: socket.socket, what: str) -> None:
        fault = self.fault
        with self._lock:
            self.num_refused += 1
            if fault == "hang":
                self._hung.add(client)
                return
        if fault == "503" and what == "request":
            client.sendall(UNAVAILABLE)
            client.shutdown(socket.SHUT_WR)
            while client.recv(BLOCK_BYTES):  # what is left of the request; closed before that, it would be a reset
                pass
            client.close()
        else:
            _reset(client)


def _end(connection: socket.socket) -> None:
    """Close it, also for a thread that waits for it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()
