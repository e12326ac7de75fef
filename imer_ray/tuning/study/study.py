"""A study: planned and checked first, opened or refused, then run by Ray Tune until it has its trials."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import yaml

from imer_ray.config import plugins
from imer_ray.config.components import build
from imer_ray.errors import UserError
from imer_ray.evaluation.scorable import check_quality, check_training
from imer_ray.evaluation.timing.speedup import check_reference
from imer_ray.files import write_whole
from imer_ray.tuning import budget
from imer_ray.tuning.loggers._background import check_loggers
from imer_ray.tuning.objectives.constraints import parse
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.searchers._shared_prefix import SharedPrefix
from imer_ray.tuning.space import file
from imer_ray.tuning.space.check import Configurations
from imer_ray.tuning.space.prefix import prefix
from imer_ray.tuning.study import initial_points
from imer_ray.tuning.study.data_info import describe
from imer_ray.tuning.study.identity import check_identity
from imer_ray.tuning.study.journal import FILE_NAME, Journal, name_objectives, open_study
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.study.remembered import check_results
from imer_ray.tuning.study.sense import SenselessTrial
from imer_ray.tuning.trial.coordinator import SPLIT

RUN_KEYS = ("study", "space", "scaling")  # of a SearchConfig: how to search, not what is searched


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


def _sampler(plan: Plan) -> Callable[[int], optuna.samplers.BaseSampler]:
    """Makes the study's sampler from a seed."""
    settings = plan.options["study"]
    module = plugins.module("imer_ray.tuning.searchers", settings["searcher"])
    build = functools.partial(module.build, population=settings["num_startup_trials"])
    if settings["prefix_trials"] == 1:
        return build
    shared = prefix(plan.space, plan.configurations.build, plan.final_stage)
    return lambda seed: SharedPrefix(build(seed), shared, settings["prefix_trials"])
