"""What the body of a request says: clips as lists of numbers, or why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from imer_ray.config.commands import ServeLimits
from imer_ray.received import shown

CLIPS = "clips"  # the key under which a request has several


class Refused(Exception):
    """A request that cannot be answered.

    Attributes:
        status: of the answer, 4xx.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def read_request(body: bytes, dims: Mapping[str, int], limits: ServeLimits) -> tuple[list[Mapping[str, Any]], bool]:
    """The clips of a body, and whether it names them as several.

    Their values are lists of numbers, null, true, false and such lists: no text, which numpy would make as wide as the
    longest in every place, and no object.

    Args:
        dims: features of each modality, ``{"l": 388}``.

    Raises:
        Refused: 400, it is no JSON; 413, it has too many clips or frames; 422, it is another thing than clips.
    """
    _check_outline(body, dims, limits.max_clips)
    try:
        content = from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise Refused(
            400, f"the body is no JSON: {error} (NaN and Infinity are none; null is a dropped frame)"
        ) from error
    several = isinstance(content, dict) and CLIPS in content
    clips = content[CLIPS] if several else [content]
    if several and (len(content) > 1 or not isinstance(clips, list) or not clips):
        raise Refused(422, f'give several clips as {{"{CLIPS}": [clip, ...]}}, at least one and no other key')
    if len(clips) > limits.max_clips:
        raise Refused(413, f"{len(clips)} clips are more than the {limits.max_clips} that a request may have")
    for number, clip in enumerate(clips):
        _check_clip(clip, dims, place(number, several))
    num_keys = several + sum(map(len, clips))
    if body.count(b'"') != 2 * num_keys or body.count(b"{") != several + len(clips):
        raise Refused(
            422, "a frame holds numbers only, and a clip each key once: there is a text, an object or a key more"
        )
    num_frames = sum(len(frames) for clip in clips for frames in clip.values() if frames is not None)
    if num_frames > limits.max_frames:
        raise Refused(413, f"{num_frames} frames are more than the {limits.max_frames} that a request may have in all")
    return clips, several


def place(number: int, several: bool) -> str:
    """Where a clip stands in its request, to begin a sentence with."""
    return f"{CLIPS}[{number}]: " if several else ""


def _check_outline(body: bytes, dims: Mapping[str, int], max_clips: int) -> None:
    """Refuse by counting brackets what would become far more objects than clips of this many bytes can have.

    A frame of D numbers takes at least 2 D bytes.
    """
    most_lists = len(body) // (2 * min(dims.values())) + len(dims) * max_clips + 1
    if body.count(b"[") > most_lists or body.count(b"{") > 2 * max_clips:
        raise Refused(422, f"the body has more lists or objects than {max_clips} clips; GET /docs says what it may be")


def _check_clip(clip: Any, dims: Mapping[str, int], where: str) -> None:
    if not isinstance(clip, dict):
        raise Refused(422, f"{where}a clip must be an object with the frames of {', '.join(dims)}")
    for key, value in clip.items():
        if key not in dims:
            raise Refused(422, f"{where}{shown(key)} is none of the modalities {', '.join(dims)}")
        if not isinstance(value, list | None):
            raise Refused(422, f"{where}{key} must be a list of frames, or null where it is missing")
