"""The application behind Ray Serve's own proxies, as a RayService runs it."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import is_loopback, listening
from processes import family
from ray import serve
from serving_load import bodies, described

from imer_ray.prediction.clip import read_clip
from imer_ray.prediction.predictor import Predictor
from imer_ray.scaling.cluster import connected
from imer_ray.serving.app import ENVIRONMENT, build
from imer_ray.serving.server import bind

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(model: Path) -> Iterator[str]:
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
        with connected(None, 2, ENVIRONMENT):
            serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
            serve.run(build({"model": str(model), "limits": {"max_clips": 2}}), name="ours", route_prefix="/emotion")
            yield f"http://127.0.0.1:{port}/emotion"
            serve.shutdown()


def post(url: str, body: bytes) -> tuple[int, object]:
    request = urllib.request.Request(f"{url}/predict", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_it_answers_as_the_predictor_does_and_refuses_as_the_command_does(url: str, model: Path) -> None:
    (body,) = bodies(described(url)["reads"], 1, seed=0)
    predictor = Predictor.open(model)
    (expected,) = predictor.predict([read_clip(json.loads(body), predictor.reads)])
    status, found = post(url, body)
    assert status == 200 and isinstance(found, dict)
    assert found["value"] == pytest.approx(expected.value, abs=1e-6)
    for content, wanted in ((b"[", 400), (b"{}", 422), (b'{"clips": [{}, {}, {}]}', 413), (b"0" * 2**23 + b"0", 413)):
        assert post(url, content)[0] == wanted


def test_it_is_healthy_and_counts(url: str) -> None:
    for path, part in (("/healthz", b"ok"), ("/metrics", b"imer_ray_requests_total"), ("/openapi.json", b"3.1.0")):
        with urllib.request.urlopen(url + path, timeout=60) as answer:
            assert part in answer.read()


def test_a_local_ray_of_serves_is_open_to_this_machine_only(url: str) -> None:
    assert {address for address in listening(family(os.getpid())) if not is_loopback(address)} == set()
