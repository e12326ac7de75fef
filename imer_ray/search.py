"""Search for the quality/speed Pareto front: ``python -m imer_ray.search study.name=demo study.num_trials=24``.

Leaves ``runs/<study.name>/``: results.parquet (one row per evaluated point), report/ (an offline page and its figures),
export/ (the quality, speed and knee configurations, for ``python -m imer_ray.train``), config.yaml, space.yaml and
study.journal. The same command again continues where it stopped, or extends the study if study.num_trials grew.

``study.max_seconds``, ``study.max_gpu_hours`` and ``study.max_cost`` end a search early, whole all the same, and
``study.repeats=4`` runs the points of the front with up to four further seeds; ``study.folds`` says on how many further
sets of validation clips the picks are compared.

Speed (``speedup_vs_imder``) is of what follows the text encoder, which no trial changes; the summary says what is left
of it with one on both sides, and beside IMDer's published code.
"""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from imer_ray import cli
from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.errors import UserError, printable

if TYPE_CHECKING:
    from imer_ray.tuning.study.plan import Plan
    from imer_ray.tuning.study.record import Record

LEAVING_SECONDS = 10.0  # that the baselines get to leave; they look up once a second


def main(overrides: list[str]) -> Path:
    """The command; returns the study's folder."""
    started = time.monotonic()
    options = compose(SearchConfig, "search", overrides)
    from imer_ray.tuning.replication import folds
    from imer_ray.tuning.study import failures, selection
    from imer_ray.tuning.study.lock import only_driver
    from imer_ray.tuning.study.results_file import write
    from imer_ray.tuning.study.study import open_record, plan

    planned = plan(options)
    study = options.study
    with only_driver(planned.folder):
        record = open_record(planned)
        done, over = len(record.finished), None
        if has_trials := _has_trials(planned, record):
            write(planned, record)
        if has_trials and not folds.missing(planned):
            print(f"study {study.name} is complete ({done} trials); study.num_trials={done + 24} would extend it")
        else:
            print(f"study {study.name}: {done} of {study.num_trials} trials done, searching {planned.space.name}")
            print(f"watch it: python -m imer_ray.analysis {shlex.quote(str(planned.folder))} watch=true", flush=True)
            over = _search(planned, record, started)
        failed = [row for row in record.rows if row["point"] == 0 and row["status"] != "complete"]
        if len(failed) == len(record.finished):
            said = failures.statement(failed, len(failed))
            if over is not None:
                kept = "no trial has succeeded yet, and what was computed is kept"
                raise UserError("; ".join(part for part in (over, kept, said) if part))
            raise UserError(f"none of the {len(failed)} trials succeeded: {said or 'none was proposed'}")
        selection.write(planned)
        _report(planned.folder)
        if said := failures.statement(record.rows, len(record.finished)):
            print(said)
        if over is not None:
            print(f"ended after {len(record.finished)} of {study.num_trials} trials: {over}")
    return planned.folder


def _has_trials(plan: Plan, record: Record) -> bool:
    """Whether there are all trials and repeats, and nothing that was stopped early goes on."""
    from imer_ray.tuning.replication import repeats

    if len(record.finished) < plan.info.num_trials or repeats.wanted(plan, record):
        return False
    if all(row["status"] != "stopped" for row in record.rows):
        return True
    from imer_ray.tuning.ray_tune.scheduler import goes_on  # with Tune, whose import takes seconds

    return not goes_on(plan, record)


def _search(plan: Plan, record: Record, started: float) -> str | None:
    """Run trials, then repeats; what ended it early, a budget or the end of the space, or None."""
    from imer_ray.scaling.cluster import session
    from imer_ray.scaling.machines import machines
    from imer_ray.stages.store import Store
    from imer_ray.tuning import baselines, budget
    from imer_ray.tuning.monitor.first_point import FirstPoint
    from imer_ray.tuning.monitor.timeline import Timeline
    from imer_ray.tuning.replication.folds import compare_picks
    from imer_ray.tuning.replication.repeats import repeat_front
    from imer_ray.tuning.trial.coordinator import SPLIT, waiter_name

    study, scaling = plan.options.study, plan.options.scaling
    base = typed(plan.base, ExperimentConfig)
    cli.say_unscored(base, SPLIT)
    ahead = record.ahead(study.slots) or {len(record.finished): [dict(plan.base)]}
    if not record.rows:
        print(FirstPoint(plan.final_stage(next(iter(ahead.values()))[0]), Store(plan.stages)).announcement())
    with session(plan.stages, scaling, slots=study.slots, data=base.data_paths) as broker:
        if plan.is_timed:
            plan = replace(plan, machine=machines(scaling.gpus_per_stage, study.name))
        if len(record.finished) < study.num_trials:  # Tune takes seconds to get as far as asking
            for trial, configs in ahead.items():
                broker.ask_ahead(plan.first_stages(configs), waiter_name(study.name, trial))
        limit = budget.begin(study, scaling, record, broker, started)
        leaving = Event()

        def is_over() -> bool:
            return leaving.is_set() or limit.over is not None

        beside = Thread(target=baselines.score, args=(plan, broker, is_over), daemon=True)
        beside.start()
        try:
            from imer_ray.tuning.ray_tune.run import run  # with Tune, whose import takes as long as the broker's start

            exhausted = run(plan, record, broker, limit.is_over)
            if num_repeats := repeat_front(plan, record, broker, limit.is_over):
                print(f"ran points of the front {num_repeats} times with further seeds")
            while beside.is_alive():
                limit.is_over()  # and then the baselines end as well
                beside.join(1.0)
            compare_picks(plan, broker, limit.is_over)
        except BaseException:  # the baselines are left to the next command, before their broker is gone
            leaving.set()
            beside.join(LEAVING_SECONDS)
            raise
        if limit.over is not None:
            budget.wind_down(broker)
        limit.look()
        # What ran after the trials: baselines, further seeds, what was wound down.
        timeline = Timeline(plan.folder, plan.info.study)
        timeline.follow(broker)
        timeline.write(last=True)
    if exhausted and len(record.finished) < study.num_trials:
        num_known = record.num_configurations
        return f"the space {plan.space.name} has no further configuration than the {num_known} that are known"
    return None if _has_trials(plan, record) else limit.over


def _report(folder: Path) -> None:
    """Print the front, draw the report, export the picks."""
    from imer_ray.analysis.report import build
    from imer_ray.analysis.table import render
    from imer_ray.analysis.verdicts import lines, next_command
    from imer_ray.export import export
    from imer_ray.results.schema import RESULTS
    from imer_ray.results.study import load

    study = load(folder)
    print(printable("\n".join([render(study), *lines(study)])))
    page, *figures = build([folder])
    exported = [export(folder, pick) for pick in study.every_pick]
    print(f"wrote {folder / RESULTS}")
    print(f"wrote {page} and {len(figures)} figures beside it")
    print(f"wrote {', '.join(map(str, exported))}")
    print(f"next: {next_command(study)}")


if __name__ == "__main__":
    cli.run(main, SearchConfig)
