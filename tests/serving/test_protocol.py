"""What HTTP itself bounds, before a request is one: over real connections, with an application that answers ok."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from imer_ray.serving import protocol as module
from imer_ray.serving.server import bind, http_server

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def talk(say: Talk) -> bytes:
    """What a client that says ``say`` reads."""

    async def main() -> bytes:
        server: Any = http_server(ok)  # type: ignore[arg-type]
        with bind("127.0.0.1", 0) as listener:
            listener.listen()
            running = asyncio.create_task(server.serve(sockets=[listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            try:
                async with asyncio.timeout(30):
                    return await say(reader, writer)
            finally:
                writer.close()
                server.should_exit = True
                await running

    return asyncio.run(main())


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """A head that does not end, as far as somebody reads it."""
    writer.write(b"GET / HTTP/1.1\r\n")
    answer = asyncio.create_task(reader.readline())
    while not answer.done():
        writer.write(b"x: " + b"y" * 1000 + b"\r\n")
        await asyncio.sleep(0)
    return await answer


def test_a_head_without_an_end_is_refused() -> None:
    assert talk(endless) == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: here\r\nx: "])
def test_a_head_that_does_not_come_is_not_waited_for(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(begun)
        return await reader.read()

    assert talk(slow).startswith(b"HTTP/1.1 408 ")


def test_many_requests_over_one_connection_are_each_within_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds are of one head: neither those before it nor bodies count."""
    monkeypatch.setattr(module, "HEAD_BYTES", 2000)

    async def many(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for _ in range(20):
            writer.write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(2) == b"ok"
        return b"done"

    assert talk(many) == b"done"


def test_what_is_no_http_is_refused() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"\x16\x03\x01\x02\x00\r\n\r\n")  # TLS
        return await reader.readline()

    assert talk(garbage).startswith(b"HTTP/1.1 400 ")
