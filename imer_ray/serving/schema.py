"""What the server reads and answers, as JSON Schema (draft 2020-12)."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from imer_ray.config.commands import ServeConfig
from imer_ray.prediction.clip import Reads
from imer_ray.prediction.predictor import Prediction
from imer_ray.serving.request import CLIPS


def describe(config: ServeConfig, reads: Reads, label_kind: str) -> dict[str, Any]:
    """What ``GET /docs`` answers: the model, its inputs, its limits, and the schemas of request and answer."""
    limits = config.limits
    features = {
        m: {"features": dim, "frames": reads.lengths[m], "what": reads.names[m]} for m, dim in reads.dims.items()
    }
    return {
        "model": config.model,
        "label_kind": label_kind,
        "reads": features,
        "limits": {"bytes": limits.max_bytes, "clips": limits.max_clips, "frames": limits.max_frames},
        "request": request_schema(reads, limits.max_clips),
        "answer": answer_schema(),
    }


def request_schema(reads: Reads, max_clips: int) -> dict[str, Any]:
    """Of one clip, or of several."""
    clip = {
        "type": "object",
        "description": "a clip: the frames of each modality; null or left out: missing",
        "properties": {m: _frames(reads, m) for m in reads.dims},
        "additionalProperties": False,
        "minProperties": 1,
    }
    clips = {"type": "array", "items": clip, "minItems": 1, "maxItems": max_clips}
    several = {"type": "object", "properties": {CLIPS: clips}, "required": [CLIPS], "additionalProperties": False}
    return {"anyOf": [clip, several]}


def _frames(reads: Reads, modality: str) -> dict[str, Any]:
    dim = reads.dims[modality]
    frame = {"type": ["array", "null"], "items": {"type": "number"}, "minItems": dim, "maxItems": dim}
    what = reads.names[modality] or "features"
    return {
        "type": ["array", "null"],
        "items": frame,
        "minItems": 1,
        "description": f"{what}, {dim} a frame; null: a dropped frame; of more than {reads.lengths[modality]} frames "
        "the last are read",
    }


def answer_schema() -> dict[str, Any]:
    """Of one clip's prediction, or of a list of them in the request's order."""
    prediction = TypeAdapter(Prediction).json_schema(mode="serialization")
    return {"anyOf": [prediction, {"type": "array", "items": prediction}]}
