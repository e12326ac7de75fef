"""What ``results.parquet`` holds: one row per evaluated point of a study, complete, stopped or failed.

A *trial* trains one configuration; it yields point 0, its own configuration, and further points 1, 2, ... that share
all it trained and differ in how they are evaluated (another sampler or number of steps). A point may be run again
whole, with further seeds; ``(trial, point)`` names a point, ``(trial, point, repeat)`` a row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imer_ray.errors import UserError
from imer_ray.results.reading import check_numbers, check_objects, read_table, typed
from imer_ray.results.words import json_object

RESULTS = "results.parquet"  # in a study's folder
# since 2, a point may have several rows; since 3, the data are described; since 4, there may be further objectives;
# since 5, who proposed a trial is said
SCHEMA_VERSION = 5
STATUSES = ("complete", "stopped", "failed")
METADATA_KEY = b"imer_ray"

_TIME = pa.timestamp("us", tz="UTC")
COLUMNS: Mapping[str, pa.DataType] = {
    "study": pa.string(),  # its name
    "trial": pa.int64(),  # 0, 1, ... in the order in which the searcher proposed them
    "point": pa.int64(),  # 0 is the trial's own configuration
    "repeat": pa.int64(),  # 0 is the study's own seed; 1, 2, ... the same configuration with ``seed`` + 1, + 2, ...
    "derived_from": pa.int64(),  # the point of the trial that this one shares its training with, or repeats; else null
    "proposed_by": pa.string(),  # how the trial came about: one of the words of `imer_ray.results.proposals`
    "seed": pa.int64(),  # that the point was trained with
    "status": pa.string(),  # complete, stopped or failed
    "feasible": pa.bool_(),  # whether a complete point keeps the study's constraints; null for stopped and failed ones
    "fidelity": pa.float64(),  # share of its training that a stopped point got; null for others
    "epochs": pa.int64(),  # that the stages it stands on trained, together
    "rungs": pa.string(),  # kind of stage -> epoch -> what it is compared by, JSON; see `imer_ray.stages.rungs`
    "config": pa.string(),  # the whole configuration, JSON
    "nfe": pa.float64(),  # network evaluations that recovering one modality takes
    "flops_per_clip": pa.float64(),  # floating-point operations
    "latency_ms_b1": pa.float64(),  # time of a clip; on a CPU with one thread without what other processes took from it
    "latency_ms": pa.float64(),  # time of one batch (speed.batch_size clips)
    "clips_per_s": pa.float64(),  # in such batches
    # How many times faster such a batch is than the IMDer reference in the same process, without the text encoder that
    # both need before: `imer_ray.results.text_encoder` says what is left of it with one.
    "speedup_vs_imder": pa.float64(),
    "speedup_low": pa.float64(),  # 95 % interval of its median (`imer_ray.evaluation.timing.robust_median`)
    "speedup_high": pa.float64(),  # its upper end
    "speedup_vs_imder_b1": pa.float64(),  # the same of one clip
    "speedup_b1_low": pa.float64(),  # 95 % interval of its median
    "speedup_b1_high": pa.float64(),  # its upper end
    "speed_repeats": pa.float64(),  # how often both were timed in turn
    "concurrency": pa.float64(),  # other stages that ran on the node meanwhile, mean
    "machine": pa.string(),  # hardware that these times are of, in words; null where the study does not want them
    "num_parameters": pa.float64(),  # weights of all that a prediction needs
    "stages": pa.string(),  # stage name -> key, JSON
    "executors": pa.string(),  # stage name -> "inline" or "ray_train", JSON
    "seconds_computed": pa.float64(),  # computing time of the stages that this point was the first to ask for
    "seconds_reused": pa.float64(),  # computing time, when they were computed, of the stages that it found or shared
    "objective.quality": pa.float64(),  # minimised, see StudyInfo.objectives
    "objective.speed": pa.float64(),  # likewise
    "error": pa.string(),  # why it failed, or null
    "started": _TIME,  # when its trial began
    "finished": _TIME,  # when it was measured
    "host": pa.string(),  # that its trial waited on, not that of its stages
    "versions": pa.string(),  # package -> version, JSON
}
COSTS = (
    *("nfe", "flops_per_clip", "latency_ms_b1", "latency_ms", "clips_per_s"),
    *("speedup_vs_imder", "speedup_vs_imder_b1", "num_parameters"),
)
OBJECTIVE_PREFIX = "objective."  # objective.<name>: minimised; of quality, speed and the study's further objectives
TIMES = ("latency_ms_b1", "latency_ms", "clips_per_s", "speedup_vs_imder", "speedup_vs_imder_b1")  # of a machine
CONFIG_PREFIX = "config."  # one column per configuration path; a component's own column holds its name
METRIC_PREFIX = "valid."  # valid.<metric>: mean over the protocol's settings; valid.<setting>.<metric>: each of them
# In a setting's place: the area under a metric's curve over missing rates, and its worst value of all settings.
SUMMARIES = (AUILC, WORST) = ("AUILC", "worst")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A number that the study minimises.

    Attributes:
        name: "quality", "speed" or that of a further one; its values are in the column ``objective.<name>``.
        metric: the column that it is computed from.
        label: what is minimised, in words, for axes.
        reference: its coordinate of the hypervolume's reference point, fixed for all studies with this objective.
    """

    name: str
    metric: str
    label: str
    reference: float
    direction: str = "minimize"

    @property
    def column(self) -> str:
        return OBJECTIVE_PREFIX + self.name


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """The clips that a study's trials were trained and scored on.

    Attributes:
        name: the data component's.
        fingerprint: hash of the content.
        frames: that the IMDer reference has of a clip; its time grows with them.
        clips: split -> how many clips it has.
        labelled: split -> how many of them have a label.
        scored: setting of the protocol -> how many valid clips quality counts in it, of the settings that it is over.
    """

    name: str
    fingerprint: str
    frames: int
    clips: Mapping[str, int]
    labelled: Mapping[str, int]
    scored: Mapping[str, int]

    @classmethod
    def from_json(cls, content: Any) -> DataInfo:
        """Raises ValueError or TypeError if ``content`` is not what `StudyInfo.to_json` writes of it."""
        info = cls(**content)
        counts = [info.clips, info.labelled, info.scored]
        numbers = [n for found in counts for n in (found.values() if isinstance(found, Mapping) else [None])]
        texts = (info.name, info.fingerprint)
        if not all(type(n) is int and n >= 0 for n in (*numbers, info.frames)) or 0 in info.scored.values():
            raise ValueError("the numbers of its clips are none")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("its data have no name")
        return info


@dataclass(frozen=True, kw_only=True)
class StudyInfo:
    """What the file says about the study as a whole, in its metadata."""

    study: str
    objectives: tuple[Objective, ...]
    num_trials: int  # wanted; fewer rows mean that the study is not finished
    searcher: str
    space: tuple[str, ...]  # the configuration paths that the study searches
    constraints: tuple[str, ...] = ()  # what a point must keep to be on the front, as "latency_ms_b1 <= 5"
    data: DataInfo | None = None  # None in files of before schema version 3

    @property
    def reference(self) -> tuple[float, ...]:
        """The hypervolume's reference point, in the objectives' order."""
        return tuple(objective.reference for objective in self.objectives)

    def to_json(self) -> bytes:
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> StudyInfo:
        """Raises ValueError, KeyError or TypeError if ``text`` is not what `to_json` writes."""
        content = json_object(text.decode(), "what it says of the study")
        version = content.pop("schema_version")
        if type(version) is not int or version > SCHEMA_VERSION:
            raise ValueError(f"it has schema version {version}, this imer_ray reads up to {SCHEMA_VERSION}")
        objectives = tuple(Objective(**objective) for objective in content.pop("objectives"))
        data = content.pop("data", None)
        known = None if data is None else DataInfo.from_json(data)
        space, constraints = (_texts(content.pop(name, ())) for name in ("space", "constraints"))
        made = cls(objectives=objectives, space=space, constraints=constraints, data=known, **content)
        names = [objective.name for objective in objectives]
        if names[:2] != ["quality", "speed"]:
            raise ValueError("its objectives do not begin with quality and speed")
        if len(set(map(str, names))) < len(names):
            raise ValueError("it has an objective twice")
        for objective in objectives:
            _texts([objective.name, objective.metric, objective.label, objective.direction])
            if type(objective.reference) not in (int, float) or not math.isfinite(objective.reference):
                raise ValueError(f"the reference of {objective.name} is {str(objective.reference)[:40]}, not a number")
        _texts([made.study, made.searcher])
        if type(made.num_trials) is not int or not 0 <= made.num_trials < 2**31:
            raise ValueError(f"its number of trials is {str(made.num_trials)[:40]}")
        return made


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{str(values)[:60]} are no names")
    return tuple(values)


def read_results(path: Path | str) -> Any:
    """The rows as a pandas DataFrame, ordered by trial and point; ``frame.attrs["info"]`` is the `StudyInfo` as a dict.

    Raises:
        UserError: the file is missing, truncated, of a later version, or no results of imer_ray.
    """
    info, table = _read(Path(path))
    frame = table.to_pandas()
    frame.attrs["info"] = asdict(info)  # pandas compares and copies attrs, so plain values
    return frame


def read_info(path: Path | str) -> StudyInfo:
    """The study's objectives with their reference point, as `read_results` reads them."""
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[StudyInfo, pa.Table]:
    try:
        table = read_table(path, "if its folder has a study.journal, run the search again to write it anew")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; a search writes it: python -m imer_ray.search") from error
    try:
        info = StudyInfo.from_json((table.schema.metadata or {})[METADATA_KEY])
        measures = (METRIC_PREFIX, OBJECTIVE_PREFIX)
        table = typed(table, COLUMNS, lambda name: pa.float64() if name.startswith(measures) else None)
        check_numbers(table, ("trial", "point"), needed=True)
        check_numbers(table, ("repeat", "derived_from"), needed=False)
        check_objects(table, ("stages", "executors"))
        for status in pc.unique(table.column("status")).to_pylist() if "status" in table.column_names else ():
            if status not in STATUSES:
                raise ValueError(f"{str(status)[:40]!r} is no status of a row")
    except (ValueError, KeyError, TypeError) as error:
        reason = error if isinstance(error, ValueError) else "its metadata are not those of a study"
        raise UserError(f"{path} cannot be read as results of imer_ray: {reason}") from error
    return info, table


def arrow_schema(rows: Iterable[Mapping[str, Any]], info: StudyInfo) -> pa.Schema:
    """The fixed columns, and the ``config.`` and ``valid.`` columns that occur, each with the type its values need."""
    found: dict[str, set[type]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in COLUMNS:
                found.setdefault(name, set()).add(type(value))
    further = {objective.column for objective in info.objectives}
    unknown = [name for name in found if not name.startswith((CONFIG_PREFIX, METRIC_PREFIX)) and name not in further]
    if unknown:
        raise ValueError(f"columns {sorted(unknown)} are not part of the results")
    fields = [*COLUMNS.items(), *((name, _arrow_type(found[name])) for name in sorted(found))]
    return pa.schema(fields, metadata={METADATA_KEY: info.to_json()})


def _arrow_type(kinds: set[type]) -> pa.DataType:
    kinds = kinds - {type(None)}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()  # text, lists as JSON, and what is text in one trial and a number in another
