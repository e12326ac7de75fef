"""Studies: searched, read back, asked and drawn."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from imer_ray import cli
from imer_ray.api.configuration import ExperimentConfig
from imer_ray.config import plugins as _plugins
from imer_ray.config.resolve import resolve, typed
from imer_ray.errors import UserError
from imer_ray.export import choose, config_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from imer_ray.results.study import Study as Results


def search(*overrides: str) -> Study:
    """Search for the quality/speed Pareto front as ``python -m imer_ray.search`` does, with the same words.

        study = imer_ray.search("study.name=demo", "study.num_trials=24")

    The study is kept in ``runs/<study.name>/``: the same call again continues or extends it. Ray is started for it and
    ended after it, unless it runs in this process already.

    Raises:
        UserError: something in what was asked for must be put right; nothing has been computed then.
    """
    from imer_ray.search import main

    cli.prepare()
    return load_study(main(list(overrides)))


def load_study(folder: str | Path, plugins: Iterable[str] = ()) -> Study:
    """The study in a folder that a search has left, such as ``runs/demo``.

    Args:
        plugins: packages of other laboratories to load, whose components the study's configurations name.

    Raises:
        UserError: there are no results, or they cannot be read.
    """
    from imer_ray.results.study import load

    _plugins.load(plugins)
    return Study(load(Path(folder)))


class Study:
    """What a search has found.

    Attributes:
        name: of the study.
        folder: where it is kept.
        results: one row per evaluated point, also of failed and stopped trials; the columns of ``results.parquet``.
        points: the complete points, each result once and as the mean over its seeds, with their ``rank`` (0: front).
        front: of ``points`` those on the Pareto front, from best quality to best speed.
        picks: of the front quality, speed and knee, and the best of each further objective, by these names.
    """

    def __init__(self, results: Results) -> None:
        self._results = results
        self.name = results.name
        self.folder = results.folder
        self.results: pd.DataFrame = results.frame
        self.points: pd.DataFrame = results.points
        self.front: pd.DataFrame = results.front

    @property
    def picks(self) -> pd.DataFrame:
        import pandas as pd

        if self.front.empty:
            return self.front
        rows = {pick: choose(self._results, pick)[0] for pick in self._results.every_pick}
        return pd.DataFrame(rows).T.infer_objects()

    def config(self, pick: str | int = "knee") -> ExperimentConfig:
        """The configuration of a pick as its export has it: for `imer_ray.train`.

        Args:
            pick: quality, speed, knee, a trial's number, or trial.point as in "4.1".

        Raises:
            UserError: there is no such complete point, or it needs a plugin that is not loaded.
        """
        row, _ = choose(self._results, str(pick))
        try:
            return typed(resolve(config_of(row)), ExperimentConfig)
        except (UserError, ValueError) as error:
            raise UserError(f"{self.folder}: the configuration of trial {row['trial']}: {error}") from error

    def plot(self) -> Figure:
        """Quality against speed with the Pareto front, as in the report; a notebook shows what this returns.

        Raises:
            UserError: the study has no complete point.
        """
        from imer_ray.analysis.figures.study import pareto

        figure = pareto([self._results])
        if figure is None:
            raise UserError(f"{self.folder} has no complete point to draw")
        return figure

    def __repr__(self) -> str:
        found = f"{len(self.points)} points, {len(self.front)} on the front"
        return f"<Study {self.name} in {self.folder}: {len(self.results)} results, {found}>"

    def _repr_html_(self) -> str:
        columns = [*(axis.column for axis in self._results.axes), "trial", "point"]
        table = "" if self.front.empty else self.picks[columns].to_html()
        return f"<p>{self!r}</p>".replace("<Study", "Study").replace("front>", "front") + table
