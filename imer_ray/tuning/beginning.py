"""What a study begins with: the configurations it proposes first, and what it learns from other studies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imer_ray.config import flatten
from imer_ray.errors import UserError
from imer_ray.tuning.judge import Judge
from imer_ray.tuning.presets import nearest
from imer_ray.tuning.record import Record
from imer_ray.tuning.warm_start import lessons

if TYPE_CHECKING:
    from imer_ray.tuning.study import Plan


def begin(plan: Plan, record: Record) -> None:
    """Once in a study's life each, and so again only what was added since: the base configuration, the space's points,
    presets, and other studies. Says what was changed of a preset, and what was taken from a study.

    Raises:
        UserError: there is no such preset, or no such study.
    """
    settings = plan.options["study"]
    judge = Judge(objectives=plan.objectives, constraints=plan.constraints)
    learnt = []
    for source in settings["warm_start"]:
        path = os.path.abspath(source)
        if path in (os.path.abspath(plan.folder), os.path.abspath(plan.folder / "results.parquet")):
            raise UserError(f"study.warm_start={source} is this study itself, which knows its results in any case")
        if path not in record.learnt_from:
            learnt.append(lessons(source, plan.space, judge, plan.configurations.build, plan.identify))
    own = plan.space.locate(flatten(plan.base))
    record.enqueue([point for point in (own, *plan.space.points) if point is not None])
    for name in settings["presets"]:
        point, changed = nearest(name, plan.space, plan.configurations)
        if record.enqueue([point]):
            print(f"preset {name} is proposed" + (f" with {', '.join(changed)}" if changed else ""))
    for lesson in learnt:
        record.learn(lesson)
        print(lesson)
