"""What a journal says of a trial, held against the space that the study searches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial

from imer_ray.tuning.space.space import Space
from imer_ray.tuning.study._optuna import FIXED, trial_id


class SenselessTrial(Exception):
    """What the journal says of a trial is nothing that a study with this space could have noted.

    Attributes:
        trial_id: Optuna's.
    """

    def __init__(self, trial_id: int, reason: object) -> None:
        super().__init__(reason)
        self.trial_id = trial_id


@contextmanager
def making_sense_of(trial: FrozenTrial) -> Iterator[None]:
    """Whatever goes wrong is a `SenselessTrial`, if it is not the disk that does."""
    try:
        yield
    except Exception as error:
        if isinstance(error.__cause__, OSError):  # not what is read, but the disk
            raise
        raise SenselessTrial(trial_id(trial), error) from error


def check_values(trial: FrozenTrial, space: Space) -> None:
    """Raises ValueError if a trial has values that the space could not have given it."""
    parameters = {parameter.path: parameter for parameter in space.parameters}
    for path, value in {**trial.system_attrs.get(FIXED, {}), **trial.params}.items():
        parameter = parameters.get(path)
        if parameter is None or trial.distributions.get(path, parameter.distribution) != parameter.distribution:
            raise ValueError(f"the space does not search {path} so")
        d = parameter.distribution
        stepped = isinstance(d, FloatDistribution) and d.step is not None  # whose values are rounded
        if not (isinstance(value, float) if stepped else parameter.holds(value)):
            raise ValueError(f"{path}={value} is not among what is searched")
