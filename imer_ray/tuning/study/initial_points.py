"""What a study begins with: the configurations it proposes first, and what it learns from other studies."""

from __future__ import annotations

import os
from pathlib import Path

from imer_ray.config.commands import StudyConfig
from imer_ray.config.compose import preset
from imer_ray.config.tree import flatten
from imer_ray.errors import UserError, printable
from imer_ray.results.schema import RESULTS, read_info
from imer_ray.tuning.objectives.outcome import Outcome
from imer_ray.tuning.study.plan import Plan
from imer_ray.tuning.study.presets import nearest
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.study.warm_start import lessons, results_file


def check(study: StudyConfig) -> None:
    """Raises UserError if a preset or another study's results that the settings name do not exist."""
    for name in study.presets:
        preset(name)
    for source in study.warm_start:
        own = Path(study.root) / study.name
        if os.path.abspath(source) in (os.path.abspath(own), os.path.abspath(own / RESULTS)):
            raise UserError(f"study.warm_start={source} is this study itself, which knows its results in any case")
        read_info(results_file(source))


def begin(plan: Plan, record: Record) -> None:
    """Once in a study's life each, and so again only what was added since: what the space's priors say, the space's
    points, whose author can put the cheap ones first, the base configuration, presets, and other studies. Says what was
    changed of a preset, and what was taken from a study."""
    settings = plan.options.study
    outcome = Outcome(objectives=plan.objectives, constraints=plan.constraints)
    learnt = []
    for source in settings.warm_start:
        if os.path.abspath(source) not in record.learnt_from:
            learnt.append(lessons(source, plan.space, outcome, plan.configurations.build, plan.identify))
    own = plan.space.locate(flatten(plan.base))
    first = (plan.space.believed or None, *plan.space.points, own)
    record.enqueue([point for point in first if point is not None])
    for name in settings.presets:
        point, changed = nearest(name, plan.space, plan.configurations)
        if record.enqueue([point]):
            print(f"preset {name} is proposed" + (f" with {', '.join(changed)}" if changed else ""))
    for lesson in learnt:
        record.learn(lesson)
        print(printable(str(lesson)))
