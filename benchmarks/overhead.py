"""What the search costs beside its trials: ``python benchmarks/overhead.py [trials=1000] [key=value ...]``.

Nothing is trained: a stub answers every stage at once, in the trial's process, with numbers made from the stage's key.

- ``overhead_ratio``: seconds of so many trials through our Tune loop (searcher, journal, results, progress, loggers,
  as a search has them by default) to those of as many through plain Ray Tune with random search (`reuse_actors`, as
  many slots, silent); the median of ``rounds`` pairs, in turn, each of ours a study of its own.
- ``searcher_growth``: median CPU time of a proposal and of telling its end with ``finished`` trials finished, to that
  with 100, in turn.
- ``lost``, ``left_running``: of ``failing`` trials a tenth ends with an exception, a NaN, without its metric or by the
  death of its process; trials without a row that says just this, and trials that the study's journal leaves open.

Other words are settings of the search (``space=full``, ``study.searcher=random``). Options: ``finished=10000``,
``failing=200``, ``rounds=3``, ``folder=FOLDER`` (a temporary one by default).
"""

from __future__ import annotations

import functools
import json
import math
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import TrialState, create_trial
from ray import tune

from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose
from imer_ray.scaling.cluster import TRIAL_SLOT, start
from imer_ray.stages.graph import Stage
from imer_ray.stages.run import StageResult
from imer_ray.stages.timeline import Changes
from imer_ray.tuning.ray_tune.run import ENVIRONMENT, run
from imer_ray.tuning.ray_tune.searcher import StudySearcher
from imer_ray.tuning.study.journal import FILE_NAME, Journal, open_study
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import ROWS, TRIAL
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan
from imer_ray.tuning.trial.coordinator import OUTCOME

SPACE = """\
# The default space, of which a thousand trials would find the end, with one of its parameters made continuous
diffusion.sde: {choice: [vp, ve, imder_ve]}
diffusion.sde.schedule: {choice: [cosine, linear], when: {diffusion.sde: vp}}
diffusion.backbone: {choice: [transformer, mixer]}
diffusion.sampler: {choice: [ddim, dpmpp_2m, heun]}
diffusion.sampler.eta: {choice: [0.0, 1.0], when: {diffusion.sampler: ddim}}
diffusion.num_steps: {int: [1, 4], log: true}
diffusion.num_draws: {choice: [1, 2]}
loss.recovery: {float: [0.1, 1.0], log: true}
"""
SETTINGS = {
    "study.speed": "flops",
    "evaluate.max_points": "1",
    **{f"data.num_{split}": "8" for split in ("train", "valid", "test")},
}
BAD = {3: "exception", 13: "nan", 23: "missing", 33: "kill"}  # by the trial's number modulo `BAD_PERIOD`
BAD_PERIOD = 40
TOLD = {  # what the row of such a trial says
    "exception": "stage evaluate failed: ArithmeticError: as asked for",
    "nan": "valid.Non0_F1_score is nan",
    "missing": "flops_per_clip was not measured",
    "kill": "the trial's process died",
}
SHORT = 100  # finished trials of the study that a long one is compared with
NUM_TIMED = 40


@dataclass(frozen=True)
class Stub:
    """A client that computes nothing; a tenth of the trials of a ``failing`` one end badly."""

    failing: bool = False

    def compute(self, stage: Stage, waiter: str, on_progress: Any = None, background: bool = False) -> StageResult:
        metrics = stub_metrics(stage.key)
        ending = BAD.get(int(waiter.rpartition("-")[2]) % BAD_PERIOD) if self.failing else None
        if ending is not None and stage.kind == "evaluate":
            match ending:
                case "exception":
                    raise ArithmeticError("as asked for")
                case "nan":
                    metrics["valid.Non0_F1_score"] = math.nan
                case "missing":
                    del metrics["flops_per_clip"]
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
        return StageResult(key=stage.key, name=stage.name, seconds=0.0, reused=False, metrics=metrics)

    def leave(self, waiter: str) -> None: ...

    def stats(self) -> dict[str, Any]:
        return {"running": []}

    def changes(self, broker: str, revision: int) -> Changes:
        return Changes(broker="stub", revision=0, runs=[], reports=[])


def stub_metrics(key: str) -> dict[str, float]:
    """Quality and cost, evenly spread over their ranges."""
    first, second = (int(part, 16) / 16**6 for part in (key[:6], key[6:12]))
    return {"valid.Non0_F1_score": 0.5 + 0.4 * first, "flops_per_clip": 10 ** (6 + 4 * second)}


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    trials, finished, failing, rounds = (
        int(words.pop(name, default))
        for name, default in (("trials", 1000), ("finished", 10_000), ("failing", 200), ("rounds", 3))
    )
    folder = words.pop("folder", None)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        space = Path(name) / "space.yaml"
        space.write_text(SPACE, encoding="utf-8")
        planned = functools.partial(planned_study, {"space": str(space), "study.root": name, **SETTINGS, **words})
        growth = _growth(planned, finished)
        start(planned("ray", 1).options.scaling, planned("ray", 1).options.study.slots)
        ratio = _overhead(planned, trials, rounds)
        lost, left = _failures(planned, failing)
    figures = {"overhead_ratio": round(ratio, 3), "searcher_growth": round(growth, 2)}
    print(json.dumps({**figures, "lost": lost, "left_running": left}))


def planned_study(settings: dict[str, str], name: str, num_trials: int) -> Plan:
    words = {**settings, "study.name": name, "study.num_trials": str(num_trials)}
    return plan(compose(SearchConfig, "search", [f"{key}={value}" for key, value in words.items()]))


def _overhead(planned: Any, num_trials: int, rounds: int) -> float:
    slots = planned("overhead", 1).options.study.slots
    _plain(slots, slots)  # worker processes and imports
    _ours(planned("warm-up", slots))
    print(f"{f'{num_trials} stub trials, {slots} slots':40}{'plain s':>10}{'ours s':>10}{'ratio':>8}")
    ratios = []
    for number in range(rounds):
        plain = _timed(lambda: _plain(num_trials, slots))
        searched = planned(f"overhead-{number}", num_trials)
        ours = _timed(lambda searched=searched: _ours(searched))
        ratios.append(ours / plain)
        print(f"{'':40}{plain:10.1f}{ours:10.1f}{ratios[-1]:8.2f}", flush=True)
    return statistics.median(ratios)


def _timed(call: Any) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _ours(searched: Plan, client: Stub | None = None) -> Any:
    """Run the study, quietly; its record."""
    record = open_record(searched)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        before, sys.stdout = sys.stdout, nowhere
        try:
            run(searched, record, client or Stub())
        finally:
            sys.stdout = before
    return record


def _plain(num_trials: int, slots: int) -> None:
    """Plain Ray Tune: random search over eight parameters, each trial reports once."""
    os.environ.update(ENVIRONMENT, TUNE_MAX_PENDING_TRIALS_PG=str(slots))
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(_report_once, {TRIAL_SLOT: 1}),
            param_space={f"x{i}": tune.uniform(0, 1) for i in range(8)},
            tune_config=tune.TuneConfig(num_samples=num_trials, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()


def _report_once(config: dict[str, float]) -> None:
    tune.report({"quality": config["x0"], "speed": config["x1"]})


def _growth(planned: Any, finished: int) -> float:
    """How many times longer the searcher takes with so many trials finished than with `SHORT`."""
    searchers = {count: _with_finished(planned(f"finished-{count}", count), count) for count in (SHORT, finished)}
    seconds: dict[int, list[float]] = {count: [] for count in searchers}
    for number in range(NUM_TIMED):
        for count, (searcher, searched) in searchers.items():
            begun = time.process_time()
            proposal = searcher.suggest(str(number))
            taken = time.process_time() - begun
            config = searched.configurations.build(proposal["values"])
            row = {"config": json.dumps(config), "error": None, **stub_metrics(searched.final_stage(config).key)}
            result = {OUTCOME: json.dumps({"rows": [row]})}
            begun = time.process_time()
            searcher.on_trial_complete(str(number), result)
            seconds[count].append(taken + time.process_time() - begun)
    print(f"{'searcher, finished trials':40}{'ms a trial':>10}")
    for count, each in seconds.items():
        print(f"{count:<40}{1e3 * statistics.median(each):10.1f}", flush=True)
    return statistics.median(seconds[finished]) / statistics.median(seconds[SHORT])


def _with_finished(searched: Plan, count: int) -> tuple[StudySearcher, Plan]:
    """The searcher of a study with so many trials, drawn at random."""
    study = open_study(Journal(searched.folder / FILE_NAME), len(searched.objectives))
    rng = random.Random(0)
    for number in range(count):
        values = searched.space.sample(rng)
        config = searched.configurations.build(values)
        metrics = stub_metrics(searched.final_stage(config).key)
        objectives = {"objective.quality": 1 - metrics["valid.Non0_F1_score"]}
        objectives["objective.speed"] = math.log10(metrics["flops_per_clip"])
        row = {"config": json.dumps(config), "error": None, "status": "complete", **metrics, **objectives}
        study.add_trial(
            create_trial(
                params=values,
                distributions=dict(searched.space.distributions(values)),
                values=list(objectives.values()),
                user_attrs={TRIAL: number, ROWS: [complete_row(searched.info.study, number, 0, row)]},
            )
        )
    record = open_record(searched)
    assert len(record.finished) == count
    slots = searched.options.study.slots
    return StudySearcher(record, slots, functools.partial(complete_row, searched.info.study)), searched


def _failures(planned: Any, num_trials: int) -> tuple[int, int]:
    """(trials that are lost or told wrongly, trials left open) of those of which a tenth ends badly."""
    searched = planned("failing", num_trials)
    record = _ours(searched, Stub(failing=True))
    own = {row["trial"]: row for row in record.rows if row["point"] == 0}
    told = {ending: [0, 0] for ending in ("complete", *TOLD)}
    for number in range(num_trials):
        ending = BAD.get(number % BAD_PERIOD, "complete")
        told[ending][0] += 1
        if number in own:
            status, error = own[number]["status"], own[number]["error"]
            right = (status, error) == ("complete", None)
            if ending != "complete":
                right = status == "failed" and str(error).startswith(TOLD[ending])
            told[ending][1] += right
    print(f"{f'{num_trials} trials, ending':40}{'trials':>10}{'told so':>12}")
    for ending, (asked, right) in told.items():
        print(f"{ending:40}{asked:10}{right:12}")
    journal = open_study(Journal(searched.folder / FILE_NAME), len(searched.objectives))
    still = journal.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING))
    return sum(asked - right for asked, right in told.values()), len(still) + len(record.running)


if __name__ == "__main__":
    main()
