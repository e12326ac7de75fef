"""What a replica does: read the bodies of requests, predict all their clips at once, and write the answers."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic_core import to_json

from imer_ray.config.commands import ServeConfig
from imer_ray.prediction.clip import Clip, ClipError, read_clip
from imer_ray.prediction.predictor import Predictor
from imer_ray.serving import schema
from imer_ray.serving.answer import Answer, refusal
from imer_ray.serving.request import Refused, place, read_request

logger = logging.getLogger(__name__)


class Worker:
    """A model in this process.

    Raises:
        UserError: the folder holds no model, or one that cannot be read.
    """

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._predictor = Predictor.open(config.model, config.runtime)
        if (torch := sys.modules.get("torch")) is not None:  # a compiled model may do without
            torch.set_num_threads(1)  # replicas share the machine's cores

    def describe(self) -> dict[str, Any]:
        """What the model is, reads and answers, in JSON's types."""
        return schema.describe(self._config, self._predictor.reads, self._predictor.label_kind)

    def answer(self, bodies: Sequence[bytes]) -> list[Answer]:
        """An answer to each body. One that is refused, or with which predicting fails, costs the others nothing."""
        answers: list[Answer | None] = []
        read: list[tuple[list[Clip], bool]] = []
        for body in bodies:
            try:
                read.append(self._read(body))
                answers.append(None)
            except Refused as error:
                answers.append(refusal(error.status, str(error)))
            except Exception:
                logger.exception("a request could not be read")
                answers.append(refusal(500, "the request could not be read; the server's log says why"))
        predicted = iter(self._predict(read))
        return [next(predicted) if answer is None else answer for answer in answers]

    def _read(self, body: bytes) -> tuple[list[Clip], bool]:
        reads = self._predictor.reads
        raw, several = read_request(body, reads.dims, self._config.limits)
        clips = []
        for number, clip in enumerate(raw):
            try:
                clips.append(read_clip(clip, reads))
            except ClipError as error:
                raise Refused(422, place(number, several) + str(error)) from error
        return clips, several

    def _predict(self, requests: Sequence[tuple[list[Clip], bool]]) -> list[Answer]:
        try:
            predictions = iter(self._predictor.predict([clip for clips, _ in requests for clip in clips]))
        except Exception:
            if len(requests) > 1:
                return [answer for request in requests for answer in self._predict([request])]
            logger.exception("a clip that was read could not be predicted")
            return [refusal(500, "the model failed on this clip; the server's log says why")]
        answers = []
        for clips, several in requests:
            found = [asdict(next(predictions)) for _ in clips]
            answers.append((200, to_json(found if several else found[0])))
        return answers
