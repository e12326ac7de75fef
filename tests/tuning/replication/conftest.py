"""A study whose trials are done, and who computes stages for what comes after them."""

import json
import threading

import pytest
from changed import changed

from imer_ray.stages.job import Status
from imer_ray.stages.run import execute, found
from imer_ray.stages.store import Store
from imer_ray.stages.timeline import Timeline as Runs
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan
from imer_ray.tuning.trial.coordinator import run_points
from imer_ray.tuning.trial.local_search import Grid

SPACE = """\
diffusion.num_steps: {{choice: [1, 2, 4, 8, 16, 32]}}
loss.recovery: {{choice: [{noise}]}}
"""


class Here:
    """Computes stages in this process, one at a time."""

    def __init__(self, folder):
        self._store, self._lock, self._runs = Store(folder), threading.Lock(), Runs()
        self._store.prepare()
        self.computed, self.left = [], []

    def compute(self, stage, waiter, on_progress=None, background=False):
        while not self._lock.acquire(timeout=0.02):
            if on_progress is not None:
                on_progress(Status(state="waiting"))
        try:
            for needed in stage.in_order():
                manifest = self._store.find(needed.key)
                result = execute(needed, self._store) if manifest is None else found(needed, manifest)
                self.computed += [needed] if manifest is None else []
            return result
        finally:
            self._lock.release()

    def leave(self, waiter):
        self.left.append(waiter)

    def stats(self):
        return {"stages": {}, "running": []}

    def changes(self, broker, revision):
        return self._runs.since(broker, revision)


@pytest.fixture
def study(options, tmp_path):
    """study(noise, repeats): the plan of a study whose six trials are done, its record, and who computes stages."""

    def study(noise=0.02, repeats=2):
        (tmp_path / "toy.yaml").write_text(SPACE.format(noise=noise))
        settings = {"repeats": repeats, "slots": 2, "num_trials": 6}
        data = {"num_train": 1284, "num_valid": 229}  # MOSI's, which have five further folds
        searched = plan(changed(options, study=settings, data=data), systems="noisy_systems")
        client, record = Here(searched.stages), open_record(searched)
        grid = Grid(axes={}, components=searched.configurations.components, objectives=searched.objectives)
        while len(record.finished) < 6:
            proposal = record.ask()
            alone = {**proposal.config, "evaluate": {**proposal.config["evaluate"], "max_points": 1}}
            outcome = run_points(alone, grid, client, "trial", lambda told: None, "noisy_systems")
            row = {**outcome["rows"][0], "config": json.dumps(proposal.config)}
            record.tell(proposal.trial, [complete_row("toy", proposal.trial, 0, row)])
        return searched, record, client

    return study
