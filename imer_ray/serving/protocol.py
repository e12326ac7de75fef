"""uvicorn's HTTP/1.1, with bounds that it lacks: how large a request's head may be, and how long it may take."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES = 2**16  # beyond what arrived together with the last body
HEAD_SECONDS = 30.0


class BoundedProtocol(HttpToolsProtocol):
    """Without it, one connection that never ends its head would fill the memory."""

    _bytes = 0  # since the last head was whole
    _whole = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._whole and not self.transport.is_closing():
            self._bytes += len(data)
            if self._bytes > HEAD_BYTES:
                self._refuse(431)

    def _begin(self) -> None:
        self._end()
        self._whole, self._bytes = False, 0
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse, 408)

    def _end(self) -> None:
        self._whole = True
        if self._deadline is not None:
            self._deadline.cancel()

    def _refuse(self, status: int) -> None:
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
