"""A study: planned and checked first, opened or refused, then run by Ray Tune until it has its trials."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import yaml

from imer_ray.config import code, plugins
from imer_ray.config.commands import SearchConfig, StudyConfig
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of, typed
from imer_ray.errors import UserError
from imer_ray.evaluation.scorable import check_quality, check_training
from imer_ray.evaluation.timing.speedup import check_lengths
from imer_ray.files import write_whole
from imer_ray.results.schema import METRIC_PREFIX
from imer_ray.tuning import budget
from imer_ray.tuning.loggers._background import check_loggers
from imer_ray.tuning.objectives.constraints import parse
from imer_ray.tuning.objectives.objectives import is_cost, objectives
from imer_ray.tuning.searchers._believed import Believed
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


def plan(options: SearchConfig, systems: str = "imer_ray.systems") -> Plan:
    """Check a search before anything starts.

    Raises:
        UserError: an unknown metric, a constraint, preset or study that is not there, a space that cannot be built,
            missing, damaged or too short data, or labels that the quality cannot be computed from.
    """
    study = options.study
    wanted, constraints = objectives(study.quality, study.speed, study.also), parse(study.constraints)
    check_searcher(study, len(wanted))
    check_loggers(study.loggers)
    budget.check(study, options.scaling)
    initial_points.check(study)
    if "://" in (root := study.root):
        raise UserError(f"study.root={root}: a study's own folder is local; study.stages may be remote ({root}/stages)")
    base = tree_of(options, ExperimentConfig)
    space = file.load(options.space, base)
    data = options.data.build()
    dataset = data.load()
    # Damaged or too short data are named here, not by the first stage.
    check_lengths(options.encoder.build(), options.encoder.name, dataset.lengths)
    fingerprint = data.fingerprint()
    if options.data_fingerprint not in (None, fingerprint):
        raise UserError(f"data {options.data.name}: the content is not that of data_fingerprint; leave that key out")
    base |= {"data_fingerprint": fingerprint}
    config = typed(base, ExperimentConfig)
    check_training(config)
    for objective in wanted:
        if not is_cost(objective):
            setting = f"study.{'quality' if objective is wanted[0] else 'also'}"
            check_quality(config, SPLIT, objective.metric.removeprefix(METRIC_PREFIX), setting)
    return Plan(
        options=options,
        base=base,
        space=space,
        objectives=wanted,
        configurations=Configurations(base),
        constraints=constraints,
        data=describe(options, dataset, wanted[0]),
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
    if len(study.directions) != len(plan.objectives):
        raise journal.damaged(f"its study has not {len(plan.objectives)} objectives", 1)
    name_objectives(study, plan.objectives)
    settings = plan.options.study
    write_whole(plan.folder / "space.yaml", plan.space.text.encode())
    write_whole(plan.folder / "config.yaml", yaml.safe_dump(tree_of(plan.options), sort_keys=False).encode())
    try:
        record = Record(
            study,
            sync=journal.sync,
            space=plan.space,
            objectives=plan.objectives,
            configure=plan.configurations.build,
            identify=plan.identify,
            build_sampler=_sampler(plan),
            seed=settings.seed,
            constraints=plan.constraints,
            code=code.stamp(),
        )
    except SenselessTrial as error:
        raise journal.damaged(error, journal.line_of(error.trial_id)) from error
    if settings.retry_failed and (num_again := record.retry_failed()):
        print(f"{num_again} failed trials run again")
    initial_points.begin(plan, record)
    return record


def check_searcher(study: StudyConfig, num_objectives: int) -> None:
    """Raise UserError if what is to propose trials takes fewer objectives."""
    module = plugins.module("imer_ray.tuning.searchers", study.searcher)
    most = getattr(module, "MAX_OBJECTIVES", num_objectives)
    if num_objectives > most:
        raise UserError(
            f"study.searcher={study.searcher} takes up to {most} objectives, not {num_objectives}; name fewer in "
            "study.also, or take study.searcher=nsga3 or tpe"
        )
    if study.cost_first and num_objectives > 2:
        raise UserError("study.cost_first weighs quality against speed alone; leave out it or study.also")


def _sampler(plan: Plan) -> Callable[[int], optuna.samplers.BaseSampler]:
    """Makes the study's sampler from a seed."""
    settings = plan.options.study
    module = plugins.module("imer_ray.tuning.searchers", settings.searcher)
    priors, startup = plan.space.priors, settings.num_startup_trials

    def build(seed: int) -> optuna.samplers.BaseSampler:
        sampler: optuna.samplers.BaseSampler = module.build(seed, population=startup)
        return Believed(sampler, priors, seed, startup) if priors else sampler

    if settings.prefix_trials == 1:
        return build
    shared = prefix(plan.space, plan.configurations.build, plan.final_stage)
    return lambda seed: SharedPrefix(build(seed), shared, settings.prefix_trials)
