"""A study: planned and checked first, opened or refused, then run by Ray Tune until it has its trials."""

from __future__ import annotations

import functools
import importlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import optuna
import yaml

from imer_ray.config.components import build
from imer_ray.config.tree import flatten
from imer_ray.errors import UserError
from imer_ray.evaluation.scorable import check_quality, check_training
from imer_ray.evaluation.timing.speedup import check_reference
from imer_ray.files import write_whole
from imer_ray.results.schema import CONFIG_PREFIX, RESULTS, DataInfo, Objective, StudyInfo
from imer_ray.results.writer import write_results
from imer_ray.stages.graph import Stage
from imer_ray.systems import load_graph
from imer_ray.tuning import budget
from imer_ray.tuning.loggers._background import check_loggers
from imer_ray.tuning.objectives.constraints import Constraint, parse
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix
from imer_ray.tuning.space import file
from imer_ray.tuning.space.check import Configurations
from imer_ray.tuning.space.prefix import prefix
from imer_ray.tuning.space.space import Space
from imer_ray.tuning.study import initial_points
from imer_ray.tuning.study.data_info import describe
from imer_ray.tuning.study.identity import check_identity
from imer_ray.tuning.study.journal import FILE_NAME, Journal, name_objectives, open_study
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.study.remembered import check_results
from imer_ray.tuning.study.sense import SenselessTrial
from imer_ray.tuning.trial.coordinator import SPLIT

RUN_KEYS = ("study", "space", "scaling")  # of a SearchConfig: how to search, not what is searched
WRITING_SHARE = 0.02  # of the time, at most, goes into writing results while trials run


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A search that has been checked; nothing runs yet.

    Attributes:
        options: the resolved SearchConfig.
        base: the configuration that trials change, with the data's fingerprint filled in.
        systems: package of the systems' modules.
    """

    options: Mapping[str, Any]
    base: Mapping[str, Any]
    space: Space
    objectives: tuple[Objective, Objective]
    configurations: Configurations
    constraints: tuple[Constraint, ...] = ()
    data: DataInfo | None = None
    systems: str = "imer_ray.systems"

    @property
    def folder(self) -> Path:
        return Path(self.options["study"]["root"]) / self.options["study"]["name"]

    @property
    def stages(self) -> str:
        """Folder or URI of the artefacts; absolute, because workers may have another working folder."""
        study = self.options["study"]
        stages = study["stages"] or str(Path(study["root"]) / "stages")
        return stages if "://" in stages else os.path.abspath(stages)

    @property
    def info(self) -> StudyInfo:
        study = self.options["study"]
        return StudyInfo(
            study=study["name"],
            objectives=self.objectives,
            num_trials=study["num_trials"],
            searcher=study["searcher"],
            space=tuple(p.path for p in self.space.parameters),
            constraints=tuple(constraint.text for constraint in self.constraints),
            data=self.data,
        )

    def final_stage(self, config: Mapping[str, Any]) -> Stage:
        """The `evaluate` stage of a configuration; its key is the same for configurations with the same results."""
        return load_graph(config, SPLIT, self.systems)

    def identify(self, config: Mapping[str, Any]) -> str:
        """Equal for configurations that would give the same results."""
        return self.final_stage(config).key


def plan(options: Mapping[str, Any], systems: str = "imer_ray.systems") -> Plan:
    """Check a search before anything starts.

    Raises:
        UserError: an unknown metric, a constraint, preset or study that is not there, a space that cannot be built,
            missing, damaged or too short data, or labels that the quality cannot be computed from.
    """
    wanted, constraints = objectives(options["study"]), parse(options["study"]["constraints"])
    check_loggers(options["study"]["loggers"])
    budget.check(options["study"], options["scaling"])
    initial_points.check(options["study"])
    if "://" in options["study"]["root"]:
        root = options["study"]["root"]
        raise UserError(f"study.root={root}: a study's own folder is local; study.stages may be remote ({root}/stages)")
    base = {key: value for key, value in options.items() if key not in RUN_KEYS}
    space = file.load(options["space"], base)
    data = build(base["data"])
    dataset = data.load()
    check_reference(base, dataset.lengths)  # damaged or too short data are named here, not by the first stage
    fingerprint = data.fingerprint()
    if base["data_fingerprint"] not in (None, fingerprint):
        raise UserError(f"data {base['data']['name']}: the content is not that of data_fingerprint; leave that key out")
    base["data_fingerprint"] = fingerprint
    check_training(base)
    check_quality(base, SPLIT, options["study"]["quality"])
    return Plan(
        options=options,
        base=base,
        space=space,
        objectives=wanted,
        configurations=Configurations(base),
        constraints=constraints,
        data=describe(base, dataset, wanted[0]),
        systems=systems,
    )


def open_record(plan: Plan) -> Record:
    """Begin the study, or take it up where it was left. The caller holds the study's lock.

    Raises:
        UserError: the journal is damaged, or lacks what results.parquet has; the folder's study has another space, base
            configuration, data, objectives or constraints.
    """
    journal = Journal(plan.folder / FILE_NAME)
    if journal.is_empty:
        check_results(journal)
    study = open_study(journal, len(plan.objectives))
    check_results(journal, study)
    check_identity(study, plan.space, plan.base, plan.objectives, plan.constraints, plan.folder)
    name_objectives(study, plan.objectives)
    settings = plan.options["study"]
    write_whole(plan.folder / "space.yaml", plan.space.text.encode())
    write_whole(plan.folder / "config.yaml", yaml.safe_dump(dict(plan.options), sort_keys=False).encode())
    try:
        record = Record(
            study,
            sync=journal.sync,
            space=plan.space,
            objectives=plan.objectives,
            configure=plan.configurations.build,
            identify=plan.identify,
            build_sampler=_sampler(plan),
            seed=settings["seed"],
            constraints=plan.constraints,
        )
    except SenselessTrial as error:
        raise journal.damaged(error, journal.line_of(error.trial_id)) from error
    if settings["retry_failed"] and (num_again := record.retry_failed()):
        print(f"{num_again} failed trials run again")
    initial_points.begin(plan, record)
    return record


def write(plan: Plan, record: Record) -> Path:
    """Write results.parquet from the record."""
    path = plan.folder / RESULTS
    write_results(path, [_result(row) for row in record.results], plan.info)
    return path


class ResultsFile:
    """Keeps results.parquet up to date while trials finish, without spending much of the time on it."""

    def __init__(self, plan: Plan, record: Record) -> None:
        self._plan = plan
        self._record = record
        self._written = -1
        self._next = 0.0

    def update(self) -> None:
        num_rows = len(self._record.rows) + len(self._record.repeats)
        if num_rows != self._written and (now := time.monotonic()) >= self._next:
            self._written = num_rows
            write(self._plan, self._record)
            took = time.monotonic() - now
            self._next = now + took / WRITING_SHARE


def complete_row(study: str, trial: int, point: int, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what only the driver knows."""
    return {
        "study": study,
        "trial": trial,
        "point": point,
        "repeat": 0,
        "derived_from": None if point == 0 else 0,
        "versions": _versions(),
        **row,
    }


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as in the journal, made one of the results file: its configuration spread over columns, times as times."""
    times = {name: datetime.fromisoformat(row[name]) for name in ("started", "finished") if row.get(name)}
    paths = {f"{CONFIG_PREFIX}{path}": value for path, value in flatten(json.loads(row["config"])).items()}
    return {**paths, **row, **times}


def _sampler(plan: Plan) -> Callable[[int], optuna.samplers.BaseSampler]:
    """Makes the study's sampler from a seed."""
    settings = plan.options["study"]
    module = importlib.import_module(f"imer_ray.tuning.searchers.{settings['searcher']}")
    build = functools.partial(module.build, population=settings["num_startup_trials"])
    if settings["prefix_trials"] == 1:
        return build
    shared = prefix(plan.space, plan.configurations.build, plan.final_stage)
    return lambda seed: SharedPrefix(build(seed), shared, settings["prefix_trials"])


@functools.cache
def _versions() -> str:
    packages = ("imer_ray", "torch", "ray", "optuna", "numpy")
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # a plain checkout on the path
            continue
    return json.dumps(found)
