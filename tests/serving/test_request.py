"""What a body may say, and with which status the rest is refused before it costs anything."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from imer_ray.config.commands import ServeLimits
from imer_ray.serving.request import Refused, read_request

DIMS = {"l": 4, "a": 2, "v": 3}
LIMITS = ServeLimits(max_clips=3, max_frames=20)
CLIP = {"l": [[1, 2.5, -3, 4e-3]], "a": None, "v": [[1, 2, 3], None, [4, 5, 6]]}


def read(content: Any) -> tuple[list[Any], bool]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return read_request(body, DIMS, LIMITS)


def test_one_clip_and_several() -> None:
    assert read(CLIP) == ([CLIP], False)
    assert read({"clips": [CLIP]}) == ([CLIP], True)
    assert read({"clips": [CLIP, {"a": [[1, 2]]}]}) == ([CLIP, {"a": [[1, 2]]}], True)
    assert read({"l": [[1, 2, 3, True]]}) == ([{"l": [[1, 2, 3, True]]}], False)


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"", 400, "no JSON"),
        (b'{"l": [[1, 2, 3, NaN]]}', 400, "NaN and Infinity are none"),
        (b'{"l": [[1, 2, 3, -Infinity]]}', 400, "no JSON"),
        (b'{"l": [[1, 2', 400, "no JSON"),
        (b'{"l": [[1, 2]]}}', 400, "no JSON"),
        (b'{"\xff": 1}', 400, "no JSON"),
        (b'{"l": [[' + b"9" * 10_000 + b"]]}", 400, "number out of range"),
        (b"[" * 100_000, 422, "more lists or objects than 3 clips"),
        (b'{"l":' * 100_000, 422, "more lists or objects than 3 clips"),
        (b'{"l": [[0' + b", 0" * 100_000 + b"], " + b"[" * 300 + b"]" * 300 + b"]}", 400, "recursion limit"),
        ([CLIP], 422, "must be an object"),
        (None, 422, "must be an object"),
        ("l", 422, "must be an object"),
        ({"x": [[1]]}, 422, "'x' is none of the modalities l, a, v"),
        ({"l": 1}, 422, "l must be a list of frames"),
        ({"l": {"0": [1]}}, 422, "l must be a list of frames"),
        ({"l": "text"}, 422, "l must be a list of frames"),
        ({"l": [[1, 2, 3, "4"]]}, 422, "holds numbers only"),
        ({"l": [[1, 2, 3, {}]]}, 422, "holds numbers only"),
        (b'{"l": [[1, 2, 3, 4]], "l": null}', 422, "each key once"),
        ({"clips": []}, 422, "at least one and no other key"),
        ({"clips": None}, 422, "at least one and no other key"),
        ({"clips": [CLIP], "l": None}, 422, "at least one and no other key"),
        ({"clips": [CLIP, 1]}, 422, r"clips\[1\]: a clip must be an object"),
        ({"clips": [CLIP, {"clips": [CLIP]}]}, 422, r"clips\[1\]: 'clips' is none of the modalities"),
        ({"clips": [{"a": None}] * 4}, 413, "4 clips are more than the 3"),
        ({"l": [None] * 21}, 413, "21 frames are more than the 20"),
    ],
)
def test_the_rest_is_refused(content: Any, status: int, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as refused:
        read(content)
    assert refused.value.status == status


@pytest.mark.parametrize("part", [b"[],", b"{},", b"[[]],"])
def test_a_body_of_the_largest_size_builds_no_millions_of_objects(part: bytes) -> None:
    """They would take tens of times the body's own bytes."""
    body = b'{"l": [' + part * (LIMITS.max_bytes // len(part) - 10) + b"[]]}"
    tracemalloc.start()
    try:
        begun = time.process_time()
        with pytest.raises(Refused):
            read(body)
        assert time.process_time() - begun < 0.5
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
