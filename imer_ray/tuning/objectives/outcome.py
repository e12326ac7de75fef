"""What a finished point is worth: its objectives, and whether it may be on the front. Optuna hears nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from imer_ray.config.tree import flatten
from imer_ray.results.schema import Objective
from imer_ray.tuning.objectives.constraints import Constraint
from imer_ray.tuning.objectives.objectives import NotMeasured, minimised
from imer_ray.tuning.searchers import FIDELITY
from imer_ray.tuning.space.space import Space

LEAST_LACK = 0.01  # so that none, however late it was stopped, is taken for a complete one


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study's objectives and constraints."""

    objectives: Sequence[Objective]
    constraints: Sequence[Constraint] = ()

    def judged(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with status, objectives and ``feasible``, or with what is wrong with it; one of a stopped trial as it
        is, with estimates of its objectives if it has any."""
        if row.get("status") == "stopped":
            return dict(row)
        judged = {**row, "status": "failed"}
        if row.get("error") is None:
            try:
                values = minimised(row, self.objectives)
                judged["feasible"] = all(constraint.violation(row) <= 0 for constraint in self.constraints)
            except NotMeasured as error:
                return {**judged, "error": str(error)}
            judged |= {objective.column: value for objective, value in zip(self.objectives, values, strict=True)}
            judged["status"] = "complete"
        return judged

    def values(self, row: Mapping[str, Any]) -> list[float] | None:
        """The objectives of a judged row; None if it failed.

        What is not known of a stopped trial is the worst that counts. Samplers rank what violates a constraint by how
        much it does, and not by its objectives; but Optuna wants some.
        """
        if row["status"] == "failed":
            return None
        values = [row.get(objective.column) for objective in self.objectives]
        return [
            objective.reference if value is None or not math.isfinite(value) else float(value)
            for objective, value in zip(self.objectives, values, strict=True)
        ]

    def violations(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Constraints of a judged row by name, as Optuna takes them: it is infeasible if any is greater than 0."""
        if row["status"] == "stopped":
            return {FIDELITY: max(1.0 - (row.get("fidelity") or 0.0), LEAST_LACK)}
        return {constraint.text: constraint.violation(row) for constraint in self.constraints}


def end(study: Study, trial: Trial, row: Mapping[str, Any] | None, outcome: Outcome) -> None:
    """Tell a study how a trial of its own ended: with a judged row, or with none."""
    values = None if row is None else outcome.values(row)
    if row is None or values is None:
        study.tell(trial, state=TrialState.FAIL)
        return
    for name, violation in outcome.violations(row).items():
        if name not in trial.constraints:  # else a driver set it that was killed here
            trial.set_constraint(name, violation)
    study.tell(trial, values)


def finished_trial(
    row: Mapping[str, Any], space: Space, outcome: Outcome, attributes: Mapping[str, Any]
) -> FrozenTrial | None:
    """What a study is told of a complete row that it has not proposed; None if the space does not hold it."""
    params = space.locate(flatten(json.loads(row["config"]))) if row["status"] == "complete" else None
    if params is None:
        return None
    return create_trial(
        params=params,
        distributions=dict(space.distributions(params)),
        values=outcome.values(row),
        constraints=outcome.violations(row),
        user_attrs=dict(attributes),
    )
