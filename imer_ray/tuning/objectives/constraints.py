"""What a point must keep to be on the front: ``study.constraints=["latency_ms_b1 <= 5", "valid.MAE <= 1.2"]``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imer_ray.errors import UserError, hint
from imer_ray.evaluation.metrics import COVERAGES
from imer_ray.results.schema import COSTS, METRIC_PREFIX
from imer_ray.tuning.objectives.objectives import METRICS, NotMeasured

_FORM = re.compile(r"\s*([\w.\[\]]+)\s*([<>=!]+)\s*(\S+)\s*")


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A bound on a column of the results.

    Attributes:
        upper: whether the bound is the most that is allowed; else it is the least.
    """

    column: str
    upper: bool
    bound: float

    @property
    def limit(self) -> str:
        """The text without the bound."""
        return f"{self.column} {'<=' if self.upper else '>='}"

    @property
    def text(self) -> str:
        """As one would write it; equal for equal constraints."""
        return f"{self.limit} {self.bound:.12g}"

    def violation(self, row: Mapping[str, Any]) -> float:
        """How far a point is beyond the bound, as a share of the bound (absolute if it is 0); 0 or less: it keeps it.

        As shares, violations of constraints with different units can be added up, which is what samplers do.

        Raises:
            NotMeasured: the column is missing or not finite, so that nobody knows.
        """
        value = row.get(self.column)
        if value is None or not math.isfinite(value):
            raise NotMeasured(
                f"{self.column}, which study.constraints bounds, is {'not measured' if value is None else value}"
            )
        beyond = float(value) - self.bound if self.upper else self.bound - float(value)
        return beyond / (abs(self.bound) or 1.0)


def parse(texts: Sequence[str]) -> tuple[Constraint, ...]:
    """The constraints of ``study.constraints``, each ``<column> <= <number>`` or ``<column> >= <number>``.

    Raises:
        UserError: one cannot be read, bounds no column of the results, or says the same as another.
    """
    constraints: list[Constraint] = []
    for text in texts:
        constraint = _parsed(text)
        if any(constraint.limit == other.limit for other in constraints):
            raise UserError(f"study.constraints: {constraint.column} is bounded twice in the same way; leave one out")
        constraints.append(constraint)
    return tuple(constraints)


def _parsed(text: str) -> Constraint:
    form = _FORM.fullmatch(text)
    if form is None:
        raise UserError(
            f"study.constraints: cannot read {text!r}; write a column, <= or >=, and a number: latency_ms_b1 <= 5"
        )
    column, operator, number = form.groups()
    if operator not in ("<=", ">="):
        raise UserError(f"study.constraints: {text!r}: use <= or >= in place of {operator}")
    _check_column(column, text)
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UserError(f"study.constraints: {text!r}: {number} is no finite number")
    return Constraint(column=column, upper=operator == "<=", bound=bound)


def _check_column(column: str, text: str) -> None:
    """A cost, or a metric as its mean (``valid.MAE``) or in a setting of the protocol (``valid.l.MAE``)."""
    metrics = (*METRICS, *COVERAGES)
    if column in COSTS or (column.startswith(METRIC_PREFIX) and column.rpartition(".")[2] in metrics):
        return
    known = (*COSTS, *(METRIC_PREFIX + name for name in metrics))
    raise UserError(f"study.constraints: {text!r}: the results have no column {column}; {hint(column, known)}")
