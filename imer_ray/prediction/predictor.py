"""A trained model's folder made ready to answer about clips; it needs nothing beside the folder."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imer_ray.config.experiment import ModelConfig
from imer_ray.data.batch import Batch
from imer_ray.data.dataset import Statistics, in_single_precision
from imer_ray.data.missing import MODALITIES, targets_given
from imer_ray.errors import UserError, hint
from imer_ray.evaluation.model_collection import models_in
from imer_ray.evaluation.model_folder import load, needed_statistics, read_shape
from imer_ray.evaluation.predict import BATCH_SIZE, Inference, predictor
from imer_ray.models.model import EmotionModel
from imer_ray.prediction.calibration import Calibration, read_calibration
from imer_ray.prediction.clip import Clip, Reads, batch_of
from imer_ray.prediction.onnx_runtime import graphs_of, onnx_predictor
from imer_ray.runtime.graph_folder import GraphFolder

RUNTIMES = ("auto", "eager", "onnx")
Run = Callable[[Batch], NDArray[np.float64]]


@dataclass(frozen=True)
class Prediction:
    """An answer about one clip.

    Attributes:
        value: the sentiment, on the scale of the labels, whose ends it may pass; of binary labels the logit of being
            positive. The mean over the seeds.
        low, high: between which the label lies with a chance of 90 %; None where the model was not calibrated.
        probability_positive: that the label is above 0; None where the model was not calibrated.
        available: the modalities that were read, such as "lv".
        recovered: those that were recovered.
        spread: standard deviation over the seeds; None of one.
        num_repaired: numbers of the clip that were not finite and became 0.
        latency_ms: what the clip's batch took, divided by its clips.
    """

    value: float
    low: float | None
    high: float | None
    probability_positive: float | None
    available: str
    recovered: tuple[str, ...]
    spread: float | None
    num_repaired: int
    latency_ms: float


class Predictor:
    """A model with one seed or several, ready to be asked; not to be shared between threads.

    Attributes:
        folder: where the model is kept.
        seeds: that it was trained with.
        config: its configuration, with the first seed.
        reads: what it reads.
        label_kind: "regression" or "binary".
        calibration: how sure its answers are; None of a folder of an older version.
    """

    def __init__(
        self,
        folder: Path,
        members: Sequence[_Member],
        reads: Reads,
        label_kind: str,
        calibration: Calibration | None = None,
    ) -> None:
        self.folder, self._members, self.calibration = folder, list(members), calibration
        self.reads, self.label_kind = reads, label_kind
        self.config = members[0].config
        self.seeds = tuple(member.config.seed for member in members)

    @classmethod
    def open(cls, folder: str | Path, runtime: str = "auto") -> Predictor:
        """The model in a folder, such as ``models/quality`` (all seeds) or ``models/quality/1111`` (one).

        Args:
            runtime: "eager" (PyTorch), "onnx" (the graphs that the command export wrote), or "auto" (the graphs where
                there are some of these weights).

        Raises:
            UserError: the folder holds no trained model, a file in it is damaged, or it is too old for raw features.
        """
        if runtime not in RUNTIMES:
            raise UserError(f"runtime={runtime}: {hint(runtime, RUNTIMES)}")
        found = models_in(Path(folder))
        members = []
        for one in found:
            model, config = load(one)
            graphs = graphs_of(one, runtime)
            members.append(_Member(one, model, config, in_single_precision(needed_statistics(one)), graphs))
        shape = read_shape(found[0])
        reads = Reads(
            dims=shape["dims"],
            lengths=shape["lengths"],
            at_the_end=frozenset(shape.get("at_the_end", ())),
            names={m: shape.get("feature_names", {}).get(m) for m in MODALITIES},
        )
        return cls(Path(folder), members, reads, shape["label_kind"], read_calibration(found))

    def predict(self, clips: Sequence[Clip]) -> list[Prediction]:
        """Answers about clips in their order, whichever of their modalities are available."""
        answers: dict[int, Prediction] = {}
        by_pattern: dict[str, list[int]] = {}
        for number, clip in enumerate(clips):
            by_pattern.setdefault(clip.available, []).append(number)
        for pattern, numbers in by_pattern.items():
            for first in range(0, len(numbers), BATCH_SIZE):
                some = numbers[first : first + BATCH_SIZE]
                answers |= zip(some, self._answers(pattern, [clips[number] for number in some]), strict=True)
        return [answers[number] for number in range(len(clips))]

    def _answers(self, pattern: str, clips: Sequence[Clip]) -> list[Prediction]:
        start = time.perf_counter()
        by_seed = np.stack([member.values(pattern, clips, self.reads) for member in self._members])
        values = by_seed.mean(0)
        spreads = by_seed.std(0, ddof=1).tolist() if len(by_seed) > 1 else [None] * len(clips)
        recovered = self._members[0].recovered(pattern)
        low, high, positive = self._certainty(pattern, values)
        latency_ms = 1e3 * (time.perf_counter() - start) / len(clips)
        return [
            Prediction(
                value=value,
                low=ends[0],
                high=ends[1],
                probability_positive=chance,
                available=pattern,
                recovered=recovered,
                spread=spread,
                num_repaired=clip.num_repaired,
                latency_ms=latency_ms,
            )
            for clip, value, spread, ends, chance in zip(
                clips, values.tolist(), spreads, zip(low, high, strict=True), positive, strict=True
            )
        ]

    def _certainty(self, pattern: str, values: NDArray[np.float64]) -> tuple[list[Any], list[Any], list[Any]]:
        """Ends of the 90 % intervals and probabilities of a positive label; None each without calibration."""
        if self.calibration is None:
            nothing = [None] * len(values)
            return nothing, nothing, nothing
        low, high = self.calibration.interval(pattern, values)
        return low.tolist(), high.tolist(), self.calibration.probability_positive(pattern, values).tolist()


class _Member:
    """A model trained with one seed."""

    def __init__(
        self,
        folder: Path,
        model: EmotionModel,
        config: ModelConfig,
        statistics: Statistics,
        graphs: GraphFolder | None,
    ) -> None:
        self.folder, self.model, self.config, self.statistics = folder, model, config, statistics
        self._graphs = graphs
        self._runner = functools.cache(self._made_runner)

    def values(self, pattern: str, clips: Sequence[Clip], reads: Reads) -> NDArray[np.float64]:
        """Predictions [B] of clips that all have the modalities of ``pattern``."""
        return self._runner(pattern)(batch_of(clips, reads, self.statistics))

    def recovered(self, pattern: str) -> tuple[str, ...]:
        """The modalities that are recovered where those of ``pattern`` are available."""
        if self.model.recovery is None:
            return ()
        available = [m in pattern for m in MODALITIES]
        return tuple(MODALITIES[m] for m in targets_given(available, self.model.recovery.recoverable.tolist()))

    def _made_runner(self, pattern: str) -> Run:
        if self._graphs is not None:
            by_graph = onnx_predictor(self._graphs, pattern, self.config.seed)
            return lambda batch: by_graph(batch).astype(np.float64)
        predict = predictor(self.model, Inference.of_model(self.config), pattern, self.config.seed)
        return lambda batch: predict(batch).double().numpy()
