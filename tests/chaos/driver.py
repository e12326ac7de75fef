"""A search whose stages are noted: ``python tests/chaos/driver.py study.name=one ...``, as imer_ray.search is told.

It runs the trials and writes results.parquet; the report, and what is scored beside the trials, are left out.
"""

from __future__ import annotations

from pathlib import Path

from imer_ray import cli
from imer_ray.config.commands import SearchConfig
from imer_ray.config.compose import compose


def search(words: list[str]) -> Path:
    """The study's folder."""
    from imer_ray.scaling.cluster import session
    from imer_ray.tuning.ray_tune.run import run
    from imer_ray.tuning.study.lock import only_driver
    from imer_ray.tuning.study.study import open_record, plan

    searched = plan(compose(SearchConfig, "search", words), systems="noted_systems")
    options = searched.options
    with only_driver(searched.folder):
        record = open_record(searched)
        with session(searched.stages, options.scaling, slots=options.study.slots) as broker:
            run(searched, record, broker)
    return searched.folder


if __name__ == "__main__":
    cli.run(search, SearchConfig)
