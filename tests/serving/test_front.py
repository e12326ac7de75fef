"""The front before a real worker in the same process: what each request is answered, and what is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from imer_ray.config.commands import ServeConfig, ServeLimits
from imer_ray.prediction.clip import read_clip
from imer_ray.prediction.predictor import Predictor
from imer_ray.serving import front as module
from imer_ray.serving.answer import Answer
from imer_ray.serving.front import Front
from imer_ray.serving.worker import Worker

JSON = {"content-type": "application/json"}


class Here:
    """The service without processes."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.answers = True

    async def answer(self, bodies: Sequence[bytes]) -> list[Answer]:
        while not self.answers:
            await asyncio.sleep(0.001)
        return self.worker.answer(bodies)

    async def describe(self) -> dict[str, Any]:
        if not self.answers:
            raise RuntimeError("it is gone")
        return self.worker.describe()


@pytest.fixture(scope="module")
def worker(model: Path) -> Worker:
    return Worker(ServeConfig(model=str(model), limits=ServeLimits(max_bytes=20_000)))


@pytest.fixture
def service(worker: Worker) -> Here:
    return Here(worker)


@pytest.fixture
def front(service: Here) -> Front:
    return Front(service, ServeLimits(max_bytes=20_000), slots=1)


def ask(
    front: Front, method: str, path: str, content: Any = None, headers: dict[str, str] | None = None, **scope: Any
) -> tuple[int, Any, dict[str, str]]:
    """Status, content and headers of the answer to one request, whose body comes in two parts."""
    return asyncio.run(asked(front, method, path, content, headers, **scope))


async def asked(
    front: Front, method: str, path: str, content: Any = None, headers: dict[str, str] | None = None, **scope: Any
) -> tuple[int, Any, dict[str, str]]:
    body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
    half = len(body) // 2
    parts: Iterator[dict[str, Any]] = iter(
        [
            {"type": "http.request", "body": body[:half], "more_body": True},
            {"type": "http.request", "body": body[half:], "more_body": False},
        ]
    )
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(parts)

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(k.encode(), v.encode()) for k, v in (JSON if headers is None else headers).items()]
    await front({"type": "http", "method": method, "path": path, "headers": pairs, **scope}, receive, send)
    start, end = sent
    found = {k.decode(): v.decode() for k, v in start["headers"]}
    assert int(found["content-length"]) == len(end["body"])
    is_json = found["content-type"] == "application/json"
    return start["status"], json.loads(end["body"]) if is_json else end["body"].decode(), found


def clip(worker: Worker, seed: int, modalities: str = "lav", frames: int = 3) -> dict[str, Any]:
    rng, dims = np.random.default_rng(seed), worker.describe()["reads"]
    return {m: rng.standard_normal((frames, dims[m]["features"])).tolist() for m in modalities}


def same(answer: dict[str, Any], prediction: Any) -> bool:
    return all(
        answer[name] == (list(value) if isinstance(value, tuple) else value)
        for name, value in vars(prediction).items()
        if name != "latency_ms"
    )


def test_the_answers_are_the_predictors_of_one_clip_and_of_several(front: Front, worker: Worker, model: Path) -> None:
    clips = [clip(worker, 0), {**clip(worker, 1, "lv"), "a": None}, clip(worker, 2, "a", frames=50)]
    predictor = Predictor.open(model)
    expected = predictor.predict([read_clip(one, predictor.reads) for one in clips])
    status, several, _ = ask(front, "POST", "/predict", {"clips": clips})
    assert status == 200 and len(several) == 3
    for content, prediction, answer in zip(clips, expected, several, strict=True):
        status, one, _ = ask(front, "POST", "/predict", content)
        assert status == 200
        assert same(one, prediction) and same(answer, prediction)


def test_requests_of_one_moment_are_one_batch_and_a_bad_one_spoils_no_other(front: Front, worker: Worker) -> None:
    contents = [clip(worker, 0), {"l": [[1.0]]}, b"no JSON", clip(worker, 1, "v")]

    async def main() -> list[Any]:
        return await asyncio.gather(*(asked(front, "POST", "/predict", content) for content in contents))

    answers = asyncio.run(main())
    assert [status for status, _, _ in answers] == [200, 422, 400, 200]
    assert "24 features" in answers[1][1]["error"]
    assert 'imer_ray_batch_requests_bucket{le="2.0"} 0.0' in ask(front, "GET", "/metrics")[1]


def test_what_docs_says_is_what_is_read_and_answered(front: Front, worker: Worker) -> None:
    status, docs, _ = ask(front, "GET", "/docs")
    assert status == 200 and docs["reads"]["l"] == {"features": 24, "frames": 4, "what": None}
    for schema in (docs["request"], docs["answer"]):
        jsonschema.Draft202012Validator.check_schema(schema)
    good = [clip(worker, 0), {"clips": [clip(worker, 1, "a")]}, {**clip(worker, 2, "v"), "l": None}]
    good += [{"l": [*clip(worker, 3)["l"], None]}]
    for content in good:
        jsonschema.validate(content, docs["request"])
        status, answer, _ = ask(front, "POST", "/predict", content)
        assert status == 200
        jsonschema.validate(answer, docs["answer"])
    for content in ({}, {"l": [[1.0]]}, {"l": []}, {"x": [[1.0]]}, {"clips": []}, [], {"l": "text"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, docs["request"])
        assert ask(front, "POST", "/predict", content)[0] == 422


def test_openapi_names_every_path_and_the_same_schemas(front: Front) -> None:
    _, found, _ = ask(front, "GET", "/openapi.json")
    _, docs, _ = ask(front, "GET", "/docs")
    post = found["paths"]["/predict"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == docs["request"]
    assert {"/predict", "/healthz", "/metrics"} == found["paths"].keys()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("HEAD", "/healthz", {}, 200),
        ("GET", "/predict", {}, 405),
        ("DELETE", "/docs", {}, 405),
        ("GET", "/nothing", {}, 404),
        ("POST", "/predict/", {}, 404),
        ("POST", "/predict", {}, 415),
        ("POST", "/predict", {"content-type": "text/plain"}, 415),
        ("POST", "/predict", {"content-type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/predict", {**JSON, "content-encoding": "gzip"}, 415),
        ("POST", "/predict", {**JSON, "content-length": "80001"}, 413),
        ("POST", "/predict", {**JSON, "content-length": "20001", "expect": "100-continue"}, 413),
        ("POST", "/predict", {"content-type": "Application/JSON; charset=utf-8"}, 400),
    ],
)
def test_methods_paths_and_kinds_that_it_has_and_has_not(
    front: Front, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    found, content, said = ask(front, method, path, b"", headers)
    assert found == status
    assert status == 200 or content["error"]
    assert ("allow" in said) == (status == 405)


def test_a_body_that_grows_beyond_the_limit_is_refused_whatever_it_said(front: Front) -> None:
    for size in (20_001, 30_000, 500_000):
        assert ask(front, "POST", "/predict", b" " * size)[0] == 413
    assert ask(front, "POST", "/predict", b" " * 20_000)[0] == 400


def test_a_prefix_of_the_route_is_no_part_of_the_path(front: Front) -> None:
    assert ask(front, "GET", "/emotion/healthz", root_path="/emotion")[0] == 200


def test_without_anybody_who_answers_health_is_503_and_requests_wait_no_longer_than_they_may(
    front: Front, service: Here, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    assert ask(front, "GET", "/healthz")[0] == 200
    service.answers = False
    status, content, _ = ask(front, "GET", "/healthz")
    assert (status, content) == (503, {"error": "no replica answers: it is gone"})
    status, content, _ = ask(front, "POST", "/predict", clip(worker, 0))
    assert status == 503 and "no replica answered" in content["error"]


def test_a_body_that_does_not_come_is_not_waited_for(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_SECONDS", 0.05)

    async def main() -> int:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return await asyncio.get_running_loop().create_future()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict"}
        await front({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(main()) == 408


def test_what_is_counted(front: Front, worker: Worker) -> None:
    for content in (clip(worker, 0), b"no JSON"):
        ask(front, "POST", "/predict", content)
    ask(front, "GET", "/\x1b[2J" + "x" * 1000)
    _, text, headers = ask(front, "GET", "/metrics")
    assert headers["content-type"].startswith("text/plain")
    for line in (
        'imer_ray_requests_total{path="/predict",status="200"} 1.0',
        'imer_ray_requests_total{path="/predict",status="400"} 1.0',
        'imer_ray_requests_total{path="other",status="404"} 1.0',
        "imer_ray_predict_seconds_count 2.0",
        "imer_ray_batch_requests_count 2.0",
        "imer_ray_in_flight 1.0",
    ):
        assert line in text


def test_a_model_that_fails_on_one_clip_answers_the_others(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = worker._predictor.predict

    def fails(clips: Sequence[Any]) -> list[Any]:
        if any(one.available == "a" for one in clips):
            raise FloatingPointError("a fault")
        return predict(clips)

    monkeypatch.setattr(worker._predictor, "predict", fails)
    bodies = [json.dumps(clip(worker, 0, pattern)).encode() for pattern in ("l", "a", "v")]
    assert [status for status, _ in worker.answer(bodies)] == [200, 500, 200]
