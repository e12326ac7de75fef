"""Load on a running server, by clients that cost little themselves: ``python benchmarks/serving_load.py URL
[seconds=10] [clients=32] [hostile=3000]``.

Keep-alive connections on plain asyncio protocols send bodies that were serialised before; each client sends its next
request when it has the answer to the last (a closed loop). Clips are random with the widths that the server's
``/docs`` names. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np

from imer_ray.data.missing import PATTERNS


def described(url: str) -> dict[str, Any]:
    """What the server's ``/docs`` says."""
    with urlopen(f"{url}/docs", timeout=60) as answer:
        return json.load(answer)


def bodies(reads: Mapping[str, Mapping[str, int]], count: int, seed: int) -> list[bytes]:
    """Requests of one random clip each, of full length, with every pattern of missing modalities in turn."""
    rng, patterns = np.random.default_rng(seed), list(PATTERNS)
    found = []
    for number in range(count):
        available = patterns[number % len(patterns)]
        clip = {
            m: rng.standard_normal((one["frames"], one["features"])).round(5).tolist() if m in available else None
            for m, one in reads.items()
        }
        found.append(json.dumps(clip).encode())
    return found


class Client(asyncio.Protocol):
    """One connection, which has one request at a time under way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(self._buffer[:end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or b"0")
        if len(self._buffer) >= end + 4 + length:
            content = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._answer.set_result((int(head[9:12]), content))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and content of the answer to a whole request, head and body."""
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def connect(url: str) -> Client:
    parts = urlsplit(url)
    _, client = await asyncio.get_running_loop().create_connection(Client, parts.hostname, parts.port)
    return client


def request(body: bytes, *, method: str = "POST", path: str = "/predict", kind: str = "application/json") -> bytes:
    """A whole HTTP/1.1 request."""
    head = f"{method} {path} HTTP/1.1\r\nhost: here\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def load(
    url: str, bodies: Sequence[bytes], clients: int, seconds: float, during: Callable[[], None] | None = None
) -> dict[str, float]:
    """`closed_loop` in a running event loop.

    Args:
        during: called in a thread when half of the time is over.
    """
    requests = [request(body) for body in bodies]
    milliseconds: list[float] = []
    failed = 0
    begun = time.perf_counter()

    async def client(number: int) -> None:
        nonlocal failed
        connection = await connect(url)
        turn = number
        while (sent := time.perf_counter()) < begun + seconds:
            try:
                status, _ = await connection.ask(requests[turn % len(requests)])
                failed += status != 200
            except OSError:
                failed += 1
                connection = await connect(url)
            milliseconds.append((time.perf_counter() - sent) * 1e3)
            turn += clients
        connection.close()

    async def interfere() -> None:
        if during is not None:
            await asyncio.sleep(seconds / 2)
            await asyncio.to_thread(during)

    await asyncio.gather(interfere(), *(client(number) for number in range(clients)))
    elapsed = time.perf_counter() - begun
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return {
        "clips_per_s": (len(milliseconds) - failed) / elapsed,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "max_ms": max(milliseconds),
        "failed": failed,
        "requests": len(milliseconds),
    }


def closed_loop(url: str, bodies: Sequence[bytes], clients: int = 32, seconds: float = 10.0) -> dict[str, float]:
    """Answers a second and their latency with ``clients`` that each wait for an answer before they ask again.

    ``failed`` counts answers other than 200 and broken connections.
    """
    return asyncio.run(load(url, bodies, clients, seconds))


def kill_under_load(
    url: str, bodies: Sequence[bytes], kill: Callable[[], None], clients: int = 32, seconds: float = 20.0
) -> dict[str, float]:
    """`closed_loop`, in the middle of which ``kill`` is called, to end a replica."""
    return asyncio.run(load(url, bodies, clients, seconds, kill))


def main(words: Sequence[str]) -> None:
    from serving_hostile import hostile

    url, *settings = words
    options = {"seconds": 10.0, "clients": 32.0, "hostile": 0.0}
    options |= {key: float(value) for key, value in (word.split("=") for word in settings)}
    reads = described(url)["reads"]
    figures: dict[str, Any] = closed_loop(url, bodies(reads, 70, 0), int(options["clients"]), options["seconds"])
    if options["hostile"]:
        figures["hostile"] = hostile(url, int(options["hostile"]), 0)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
