"""The server's front: an ASGI application that bounds requests, hands their bodies on in batches, and never reads one.

It runs in an HTTP server of the command's own (`imer_ray.serving.server`) or in a replica of Ray Serve's ingress.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol

from pydantic_core import to_json

from imer_ray.config.commands import ServeLimits
from imer_ray.serving import metrics
from imer_ray.serving.answer import Answer, refusal
from imer_ray.serving.batcher import Batcher, Full
from imer_ray.serving.openapi import openapi
from imer_ray.serving.request import Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ANSWER_SECONDS = 60.0  # that a request waits, replicas that die and start anew included
BODY_SECONDS = 30.0  # that a body may take to come in
HEALTH_SECONDS = 5.0
READ_ANYWAY = 4  # times the largest body
JSON = b"application/json"
HINT = {"hint": 'POST /predict {"l": [[...]], "a": null, "v": [[...]]}; GET /docs, /openapi.json, /healthz, /metrics'}

logger = logging.getLogger(__name__)


class Service(Protocol):
    """Who answers: replicas, or whatever else."""

    async def answer(self, bodies: Sequence[bytes]) -> list[Answer]:
        """An answer to each body; raises `imer_ray.serving.batcher.Gone` if it may be asked again."""
        ...

    async def describe(self) -> dict[str, Any]:
        """What ``GET /docs`` says."""
        ...


class Response(NamedTuple):
    status: int
    content: bytes
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Front:
    """ASGI application of one event loop.

    Args:
        slots: batches that the service is given at a time.
    """

    def __init__(self, service: Service, limits: ServeLimits, slots: int) -> None:
        self._service, self._limits = service, limits
        self._metrics = metrics.Metrics()
        self._batcher = Batcher(
            service.answer,
            slots=slots,
            max_batch=limits.max_batch,
            max_waiting=limits.max_waiting,
            metrics=self._metrics,
        )
        self._described: asyncio.Task[dict[str, Any]] | None = None
        self._routes: dict[str, tuple[str, Callable[[Message, Receive], Awaitable[Response]]]] = {
            "/predict": ("POST", self._predict),
            "/healthz": ("GET", self._health),
            "/metrics": ("GET", self._count),
            "/docs": ("GET", self._docs),
            "/openapi.json": ("GET", self._openapi),
            "/": ("GET", self._hint),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            raise ValueError(f"{scope['type']} is not spoken here")

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        with self._metrics.in_flight.track_inprogress():
            try:
                response = await self._routed(path, scope, receive)
            except Refused as error:
                response = Response(*refusal(error.status, str(error)))
            except Exception:
                logger.exception("a request failed")
                response = Response(*refusal(500, "the server failed; its log says why"))
        self._metrics.requests.labels(path if path in self._routes else "other", str(response.status)).inc()
        if path == "/predict":
            self._metrics.seconds.observe(time.perf_counter() - begun)
        length = str(len(response.content)).encode()
        headers = [(b"content-type", response.kind), (b"content-length", length), *response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.content})

    async def _routed(self, path: str, scope: Message, receive: Receive) -> Response:
        if path not in self._routes:
            raise Refused(404, f"there is nothing at this path; {HINT['hint']}")
        method, respond = self._routes[path]
        if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
            allowed = b"GET, HEAD" if method == "GET" else method.encode()
            return Response(*refusal(405, f"{path} takes {method}"), headers=((b"allow", allowed),))
        return await respond(scope, receive)

    async def _predict(self, scope: Message, receive: Receive) -> Response:
        headers = dict(scope["headers"])
        _check_kind(headers)
        body = await self._body(headers, receive)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return Response(*await self._batcher.answer(body))
        except Full:
            answer = refusal(429, "too many requests wait already; come again in a second")
            return Response(*answer, headers=((b"retry-after", b"1"),))
        except TimeoutError:
            return Response(*refusal(503, f"no replica answered within {ANSWER_SECONDS:.0f} s"))

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """A body that is somewhat too large is read to its end and thrown away: a client that is still sending when the
        connection closes would see that, and not the answer."""
        most = self._limits.max_bytes
        too_large = Refused(413, f"the body is larger than the {most} bytes that one may have (limits.max_bytes)")
        said = headers.get(b"content-length", b"0")
        if said.isdigit() and int(said) > (most if b"expect" in headers else READ_ANYWAY * most):
            raise too_large
        chunks, size, more = [], 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more and size <= READ_ANYWAY * most:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "the body ended before its length")
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    size += len(chunk)
                    if size <= most:
                        chunks.append(chunk)
        except TimeoutError as error:
            raise Refused(408, f"the body took longer than {BODY_SECONDS:.0f} s") from error
        if size > most:
            raise too_large
        return b"".join(chunks)

    async def _health(self, scope: Message, receive: Receive) -> Response:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await self._describe()
        except Exception as error:
            return Response(*refusal(503, f"no replica answers: {error or type(error).__name__}"))
        return Response(200, to_json({"status": "ok"}))

    async def _describe(self) -> dict[str, Any]:
        """What the service says of itself now; however many ask, it is asked once at a time."""
        if self._described is None or self._described.done():
            self._described = asyncio.create_task(self._service.describe())
        return await asyncio.shield(self._described)

    async def _count(self, scope: Message, receive: Receive) -> Response:
        return Response(200, self._metrics.text(), metrics.KIND)

    async def _docs(self, scope: Message, receive: Receive) -> Response:
        return Response(200, to_json(await self._describe()))

    async def _openapi(self, scope: Message, receive: Receive) -> Response:
        return Response(200, to_json(openapi(await self._describe())))

    async def _hint(self, scope: Message, receive: Receive) -> Response:
        return Response(200, to_json(HINT))


def _check_kind(headers: dict[bytes, bytes]) -> None:
    """Only JSON: also because a page in a browser cannot send it to another site than its own unasked."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != JSON:
        raise Refused(415, "send JSON, with the header content-type: application/json")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(415, "send the body without content-encoding")


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
