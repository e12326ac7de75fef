"""Search for the quality/speed Pareto front: ``python -m imer_ray.search study.name=demo study.num_trials=24``.

Leaves ``runs/<study.name>/``: results.parquet (one row per evaluated point), report/ (an offline page and its figures),
export/ (the quality, speed and knee configurations, for ``python -m imer_ray.train``), config.yaml, space.yaml and
study.journal. The same command again continues where it stopped, or extends the study if study.num_trials grew.
"""

from __future__ import annotations

from pathlib import Path
from threading import Thread

from imer_ray import cli
from imer_ray.command_schema import SearchConfig
from imer_ray.config import compose
from imer_ray.errors import UserError


def main(overrides: list[str]) -> None:
    options = compose(SearchConfig, "search", overrides)
    from imer_ray.tuning.lock import only_driver
    from imer_ray.tuning.study import open_record, plan, write

    planned = plan(options)
    study = options["study"]
    with only_driver(planned.folder):
        record = open_record(planned)
        done = len(record.finished)
        if done >= study["num_trials"]:
            print(f"study {study['name']} is complete ({done} trials); study.num_trials={done + 24} would extend it")
            write(planned, record)
        else:
            print(f"study {study['name']}: {done} of {study['num_trials']} trials done, searching {planned.space.name}")
            from imer_ray.scaling.cluster import session
            from imer_ray.tuning import baselines
            from imer_ray.tuning.run import run
            from imer_ray.tuning.trial import SPLIT

            cli.say_unscored(planned.base, SPLIT)
            with session(planned.stages, options["scaling"], slots=study["slots"]) as broker:
                beside = Thread(target=baselines.score, args=(planned, broker), daemon=True)
                beside.start()
                run(planned, record, broker)
                beside.join()
        failed = [row for row in record.rows if row["point"] == 0 and row["status"] != "complete"]
        if len(failed) == len(record.finished):
            first = failed[0]["error"] if failed else "none was proposed"
            raise UserError(f"none of the {len(failed)} trials succeeded; the first: {first}")
        _report(planned.folder)


def _report(folder: Path) -> None:
    """Print the front, draw the report, export the picks."""
    from analysis.report import build
    from analysis.study import load
    from analysis.table import render
    from imer_ray.export import PICKS, export

    print(render(load(folder)))
    page, *figures = build([folder])
    exported = [export(folder, pick) for pick in PICKS]
    print(f"wrote {folder}/results.parquet")
    print(f"wrote {page} and {len(figures)} figures beside it")
    print(f"wrote {', '.join(map(str, exported))}")


if __name__ == "__main__":
    cli.run(main)
