"""What a large study takes to go on with: ``python benchmarks/opening.py [points=10000] [key=value ...]``.

Nothing is trained: a study is made whose trials are proposed at random, three points each, with numbers made from a
stage's key, all noted in its journal as in a search. Then, each in a process of its own:

- ``open``: until the study is read again and the next trial is proposed by ``study.searcher``;
- ``going_on``: the same, and `NEXT` more trials are proposed and told, as the driver does while a search runs;
- ``results``: the study is read again, and results.parquet is written;
- ``report``: the report is drawn from the results, page and figures.

Printed: seconds, imports not counted, and the process's largest memory. Other words are settings of the search.
"""

from __future__ import annotations

import copy
import functools
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from overhead import SETTINGS, SPACE, planned_study, stub_metrics

from imer_ray.analysis import report
from imer_ray.tuning.study.journal import FILE_NAME
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.study.results_file import complete_row, write
from imer_ray.tuning.study.study import open_record

POINTS = 3  # of a trial
NEXT = 100  # trials
GIB = 2**20  # in the kibibytes that Linux counts a process's memory in


def main() -> None:
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    num_trials = int(words.pop("points", "10000")) // POINTS
    with tempfile.TemporaryDirectory() as name:
        space = Path(name) / "space.yaml"
        space.write_text(SPACE, encoding="utf-8")
        settings = {"space": str(space), "study.root": name, **SETTINGS, **words}
        _in_a_process(functools.partial(_make, {**settings, "study.searcher": "random"}, num_trials))
        size = (Path(name) / "large" / FILE_NAME).stat().st_size
        print(f"{num_trials} trials, {num_trials * POINTS} points, a journal of {size / 1e6:.1f} MB")
        print(f"{'step':12}{'seconds':>9}{'peak GiB':>10}")
        found = {}
        for step in (_open, _going_on, _results, _report):
            seconds, peak = _in_a_process(functools.partial(step, settings, num_trials))
            found[f"{step.__name__[1:]}_s"], found[f"{step.__name__[1:]}_gib"] = round(seconds, 1), round(peak, 2)
            print(f"{step.__name__[1:]:12}{seconds:9.1f}{peak:10.2f}", flush=True)
    print(json.dumps(found))


def _in_a_process(act: Callable[[], None]) -> tuple[float, float]:
    """Seconds and GiB of a new process that does this."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, act).result()


def _measured(act: Callable[[], None]) -> tuple[float, float]:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB


def _make(settings: dict[str, str], num_trials: int) -> None:
    searched = planned_study(settings, "large", num_trials)
    _run(searched, open_record(searched), num_trials)


def _run(searched: Plan, record: Record, num_trials: int) -> None:
    """Until the study has so many trials."""
    while len(record.finished) < num_trials and (proposal := record.ask()) is not None:
        rows = []
        for point in range(POINTS):
            config = copy.deepcopy(dict(proposal.config))
            config["diffusion"]["num_draws"] += point
            metrics = stub_metrics(searched.final_stage(config).key)
            row = {"config": json.dumps(config), "error": None, **metrics}
            rows.append(complete_row(searched.info.study, proposal.trial, point, row))
        record.tell(proposal.trial, rows)


def _open(settings: dict[str, str], num_trials: int) -> None:
    record = open_record(planned_study(settings, "large", num_trials + 1))
    assert len(record.points) >= num_trials * POINTS
    assert record.ask() is not None


def _going_on(settings: dict[str, str], num_trials: int) -> None:
    searched = planned_study(settings, "large", num_trials + NEXT)
    _run(searched, open_record(searched), num_trials + NEXT)


def _results(settings: dict[str, str], num_trials: int) -> None:
    searched = planned_study(settings, "large", num_trials)
    write(searched, open_record(searched))


def _report(settings: dict[str, str], num_trials: int) -> None:
    report.build([planned_study(settings, "large", num_trials).folder])


if __name__ == "__main__":
    main()
