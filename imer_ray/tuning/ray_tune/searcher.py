"""Ray Tune's searcher over a `Record`: proposes its trials, and tells it how they ended."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from ray.tune.search import Searcher

from imer_ray.errors import UserError
from imer_ray.tuning.study.cost_first import NotYet
from imer_ray.tuning.study.proposal import Proposal
from imer_ray.tuning.study.record import Record
from imer_ray.tuning.trial.coordinator import BROKEN, OUTCOME, ROWS
from imer_ray.tuning.trial.status import STANDING

SAME_FAILURES = 5  # so many trials failed in the same way, and none did not: the next would too


class StudySearcher(Searcher):
    """Proposes a record's trials to Tune. The record keeps everything, so that this class saves nothing.

    Args:
        record: the study's memory.
        slots: trials in flight; more would be proposed too early, knowing too little.
        complete_row: adds what the driver knows to a trial's rows.
        stopped: Tune's names of the trials that the scheduler has stopped, which leave what they reached.
        num_trials: that the study shall have.
        resumed: which of the stopped trials goes on, if any, when a slot is free; told whether nothing new is left.

    Attributes:
        broken: what the user must put right before any trial can run, or None.
        exhausted: whether there was nothing new to propose.
    """

    def __init__(
        self,
        record: Record,
        slots: int,
        complete_row: Callable[[int, int, Mapping[str, Any]], dict[str, Any]],
        stopped: Collection[str] = (),
        num_trials: float = math.inf,
        resumed: Callable[[bool], int | None] = lambda is_last: None,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._record = record
        self._slots = slots
        self._complete_row = complete_row
        self._stopped = stopped
        self._num_trials, self._resumed = num_trials, resumed
        self._live: dict[str, Proposal] = {}
        self.broken: str | None = None
        self.exhausted = False

    def suggest(self, trial_id: str) -> Any:
        if self.broken is not None:
            return Searcher.FINISHED
        if len(self._live) >= self._slots:
            return None
        is_last = self.exhausted or len(self._record.finished) + len(self._record.running) >= self._num_trials
        try:
            if (number := self._resumed(is_last)) is not None:
                proposal: Proposal | None = self._record.resume(number)
            elif is_last:  # what runs now may have others resumed
                return None if self._live else Searcher.FINISHED
            else:
                proposal = self._record.ask()
        except NotYet:  # Tune asks again
            return None
        except UserError as error:
            self.broken = str(error)
            return Searcher.FINISHED
        if proposal is None:
            # A trial that still runs may fail, but even then nothing new is left to propose.
            self.exhausted = True
            return self.suggest(trial_id)
        self._live[trial_id] = proposal
        return {"trial": proposal.trial, "values": dict(proposal.values)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        proposal = self._live.pop(trial_id, None)
        if proposal is None or self.broken is not None:  # stopped with the search: the next driver proposes it again
            return
        outcome = json.loads(result[OUTCOME]) if result and not error and OUTCOME in result else None
        if result and trial_id in self._stopped:
            rows = [_stopped_row(proposal, result)]
        elif outcome is None:
            rows = [{**_own(proposal), "error": "the trial's process died or was stopped"}]
        elif BROKEN in outcome:
            self.broken = outcome[BROKEN]
            return
        else:
            rows = outcome[ROWS]
        self._record.tell(
            proposal.trial, [self._complete_row(proposal.trial, point, row) for point, row in enumerate(rows)]
        )
        done, first = len(self._record.finished), self._record.rows[0]["error"]
        own = (row for row in self._record.rows if row["point"] == 0)
        if done >= SAME_FAILURES and first is not None and all(row["error"] == first for row in own):
            self.broken = f"all {done} trials failed in the same way: {first}"

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a study is continued from its journal."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles the searcher at the start, for a restore that we never ask for."""
        return {}


def _stopped_row(proposal: Proposal, result: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a trial, from its last report."""
    return {
        **json.loads(result[STANDING])["row"],
        **_own(proposal),
        "status": "stopped",
        "error": None,
    }


def _own(proposal: Proposal) -> dict[str, Any]:
    """What is known of a trial that has not told how it ended."""
    return {
        "seed": proposal.config["seed"],
        "config": json.dumps(proposal.config),
        "finished": datetime.now(UTC).isoformat(),
    }
