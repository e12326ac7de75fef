"""Requests that a server must refuse, from a seed: of a wrong shape, no JSON, too large, or no HTTP at all."""

from __future__ import annotations

import asyncio
import collections
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from serving_load import described, request

CLIENTS = 8  # at a time
SECONDS = 60.0  # that an answer may take
Rng = np.random.Generator


def hostile(url: str, count: int, seed: int) -> dict[str, int]:
    """How many of ``count`` requests got which status; "none": no answer."""
    found = described(url)
    return dict(asyncio.run(_send(url, list(hostile_requests(found, count, seed)))))


async def _send(url: str, requests: list[bytes]) -> collections.Counter[str]:
    statuses: collections.Counter[str] = collections.Counter()
    left = iter(requests)

    async def client() -> None:
        for one in left:
            statuses[await _status(url, one)] += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return statuses


async def _status(url: str, content: bytes) -> str:
    """The status of the answer to ``content``, sent over a connection of its own; answers may come before its end."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(content)
        async with asyncio.timeout(SECONDS):
            line = await reader.readline()
        return line.split(b" ", 2)[1].decode() if line.startswith(b"HTTP/1.1 ") else "none"
    except (OSError, TimeoutError):
        return "none"
    finally:
        writer.close()


def hostile_requests(described: Mapping[str, Any], count: int, seed: int) -> Iterator[bytes]:
    """``count`` whole requests, of every kind about as many.

    Args:
        described: what the server's ``/docs`` says.
    """
    rng = np.random.default_rng(seed)
    makers = [_shape, _no_json, _nested, _values, _several, _large, _http, _other]
    for number in range(count):
        yield makers[number % len(makers)](rng, described)


def _clip(rng: Rng, described: Mapping[str, Any]) -> dict[str, Any]:
    reads = described["reads"]
    return {m: rng.standard_normal((2, one["features"])).round(3).tolist() for m, one in reads.items()}


def _any(rng: Rng, *makers: Callable[[], bytes]) -> bytes:
    return makers[rng.integers(len(makers))]()


def _post(content: Any) -> bytes:
    return request(content if isinstance(content, bytes) else json.dumps(content).encode())


def _shape(rng: Rng, described: Mapping[str, Any]) -> bytes:
    """Widths and frames that no clip has."""
    clip = _clip(rng, described)
    m = list(clip)[rng.integers(len(clip))]
    width = len(clip[m][0])
    wrong = int(rng.choice([1, width - 1, width + 1, 2 * width, 10 * width]))
    return _any(
        rng,
        lambda: _post({**clip, m: [[0.5] * wrong] * 2}),
        lambda: _post({**clip, m: [[0.5] * width, [0.5] * wrong]}),
        lambda: _post({**clip, m: []}),
        lambda: _post({**clip, m: [0.5] * wrong}),
        lambda: _post({**clip, m: [[[0.5] * width]]}),
        lambda: _post({**clip, m: [[]]}),
        lambda: _post({**clip, m: 0.5}),
        lambda: _post({**clip, m: {"0": [0.5] * width}}),
        lambda: _post(dict.fromkeys(clip)),
        lambda: _post({}),
        lambda: _post({**clip, "x": clip[m]}),
        lambda: _post({**clip, m.upper(): clip[m]}),
    )


def _no_json(rng: Rng, described: Mapping[str, Any]) -> bytes:
    whole = json.dumps(_clip(rng, described)).encode()
    cut = int(rng.integers(len(whole)))
    strange = bytes(rng.integers(0, 256, 1000, dtype=np.uint8))
    return _any(
        rng,
        lambda: _post(whole[:cut]),
        lambda: _post(whole[:cut] + strange + whole[cut:]),
        lambda: _post(whole.replace(b"0.", bytes(rng.choice([b"NaN ", b"Infinity ", b"-Infinity ", b"0x"])), 1)),
        lambda: _post(b"\xef\xbb\xbf" + whole),
        lambda: _post(whole + b"\x00"),
        lambda: _post(whole + whole),
        lambda: _post(b""),
        lambda: _post(strange),
        lambda: _post(whole.decode().encode("utf-16")),
    )


def _nested(rng: Rng, described: Mapping[str, Any]) -> bytes:
    clip, depth = _clip(rng, described), int(rng.integers(250, 500_000))
    too_many = described["limits"]["frames"] + depth  # of frames that are said to be missing, which is no fault
    return _any(
        rng,
        lambda: _post(b"[" * depth),
        lambda: _post(b"[" * depth + b"]" * depth),
        lambda: _post(b'{"l":' * depth + b"1" + b"}" * depth),
        lambda: _post(b'{"l":' + b"[" * depth + b"]" * depth + b"}"),
        lambda: _post(b'{"l":[' + b"[]," * depth + b"[]]}"),
        lambda: _post(b'{"l":[' + b"{}," * depth + b"{}]}"),
        lambda: _post(b'{"l":[[' + b"[0]," * depth + b"[0]]]}"),
        lambda: _post(b'{"l":[' + b"null," * depth + b"1]}"),
        lambda: _post(b'{"l":[' + b"null," * too_many + json.dumps(clip["l"][0]).encode() + b"]}"),
    )


def _values(rng: Rng, described: Mapping[str, Any]) -> bytes:
    """What is no number, in the place of one."""
    clip = _clip(rng, described)
    m = list(clip)[rng.integers(len(clip))]
    wrong = ["x" * 100_000, {}, [], "0.5", "NaN", {"l": 1}, 10**400, "\u0000", [0.5]]
    clip[m][int(rng.integers(2))][int(rng.integers(len(clip[m][0])))] = wrong[rng.integers(len(wrong))]
    huge = b'{"l":[[' + b"9" * int(rng.integers(5000, 1_000_000)) + b"]]}"
    return _any(rng, lambda: _post(clip), lambda: _post(clip), lambda: _post(huge))


def _several(rng: Rng, described: Mapping[str, Any]) -> bytes:
    clip, most = _clip(rng, described), described["limits"]["clips"]
    small = {"l": [[0]]}
    return _any(
        rng,
        lambda: _post({"clips": []}),
        lambda: _post({"clips": None}),
        lambda: _post({"clips": clip}),
        lambda: _post({"clips": [clip], "l": clip["l"]}),
        lambda: _post({"clips": [clip, None]}),
        lambda: _post({"clips": [clip, {}]}),
        lambda: _post({"clips": [clip, small]}),
        lambda: _post({"clips": [small] * (most + 1)}),
        lambda: _post({"clips": [{}] * 100_000}),
        lambda: _post({"clips": [{"clips": [clip]}]}),
        lambda: _post([clip]),
        lambda: _post(rng.choice([b"1", b"null", b"true", b'"l"', b"[]"]).item()),
    )


def _large(rng: Rng, described: Mapping[str, Any]) -> bytes:
    """Beyond the limit of bytes: said to be, or found to be; and what is within it and fills memory."""
    most = described["limits"]["bytes"]
    head = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    chunk = b"%x\r\n" % 2**20 + b"0" * 2**20 + b"\r\n"
    return _any(
        rng,
        lambda: head + b"content-length: %d\r\n\r\n" % (most + 1 + int(rng.integers(2**40))) + b"[" * 100,
        lambda: head + b"transfer-encoding: chunked\r\n\r\n" + chunk * (most // 2**20 + 1) + b"0\r\n\r\n",
        lambda: _post(b'{"l":[[' + b"0," * ((most - 20) // 2) + b"0]]}"),
        lambda: _post(b'{"l":[' + b"[0]," * ((most - 20) // 4) + b"[0]]}"),
        lambda: _post(b'"' + b"a" * (most - 2) + b'"'),
    )


def _http(rng: Rng, described: Mapping[str, Any]) -> bytes:
    """What is no HTTP, or bends it."""
    head = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    return _any(
        rng,
        lambda: bytes(rng.integers(128, 256, 200, dtype=np.uint8)) + b"\r\n\r\n",
        lambda: b"GET / HTTP/9.9\r\n\r\n",
        lambda: b"POST /predict\r\n\r\n",
        lambda: head + b"content-length: -1\r\n\r\n",
        lambda: head + b"content-length: 5\r\ncontent-length: 6\r\n\r\n123456",
        lambda: head + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        lambda: head + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        lambda: head + b"x: " + b"y" * 2**18,
        lambda: b"GET /" + b"y" * 2**18,
        lambda: head + b"".join(b"x%d: y\r\n" % i for i in range(30_000)),
        lambda: head + b"x y: z\r\n\r\n",
        lambda: head + b"content-length: 2\r\nx: a\r\n b\r\n\r\n{}",
    )


def _other(rng: Rng, described: Mapping[str, Any]) -> bytes:
    """Methods, paths and kinds of content that the server does not have."""
    body = json.dumps(_clip(rng, described)).encode()
    method = str(rng.choice(["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD"]))
    path = str(rng.choice(["/predict/", "//predict", "/Predict", "/predict/../predict", "/%00", "/..%2f", "/-/routes"]))
    kinds = ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded", "multipart/form-data", ""]
    gzip = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
    return _any(
        rng,
        lambda: request(body, method=method),
        lambda: request(body, path=path),
        lambda: request(body, kind=str(rng.choice(kinds))),
        lambda: gzip + b"content-length: 20\r\n\r\n" + bytes(20),
        lambda: request(b"", method="POST", path=str(rng.choice(["/", "/healthz", "/metrics", "/docs"]))),
    )
