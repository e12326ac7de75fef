"""A trial's stages run in this process, as a broker would have them run."""

import threading
import time
from concurrent.futures import Future

from imer_ray.stages.job import Status
from imer_ray.stages.run import execute, found
from imer_ray.stages.store import Store
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.trial.coordinator import run_points
from imer_ray.tuning.trial.local_search import Grid


class LocalClient:
    """Computes each stage once when its inputs are there, whoever asks, as the broker does."""

    def __init__(self, folder, seconds=0.0):
        self._store = Store(folder)
        self._futures = {}
        self._lock = threading.Lock()
        self._seconds = seconds
        self.left = []

    def compute(self, stage, waiter, on_progress=None):
        with self._lock:
            mine = stage.key not in self._futures
            future = self._futures.setdefault(stage.key, Future())
        if mine:
            threading.Thread(target=self._run, args=(stage, future, waiter), daemon=True).start()
        while not future.done():
            if on_progress is not None:
                on_progress(Status(state="running", epoch=1, num_epochs=3))
            time.sleep(0.02)
        return future.result() if mine else found(stage, self._store.find(stage.key))

    def _run(self, stage, future, waiter):
        try:
            for source in stage.inputs.values():
                self.compute(source, waiter)
            time.sleep(self._seconds)
            manifest = self._store.find(stage.key)
            future.set_result(execute(stage, self._store) if manifest is None else found(stage, manifest))
        except Exception as error:
            future.set_exception(error)

    def leave(self, waiter):
        self.left.append(waiter)


WANTED = objectives(quality="Non0_F1_score", speed="latency")


def point(base, recovery=0.75, steps=4, **evaluate):
    """A configuration of the toy system; quality is ``recovery`` and more with more steps."""
    changes = {"loss": {**base["loss"], "recovery": recovery}, "evaluate": {**base["evaluate"], **evaluate}}
    return {**base, **changes, "diffusion": {**base["diffusion"], "num_steps": steps}}


def run(client, tree, report=lambda metrics: None, steps=(4, 8)):
    grid = Grid(axes={"diffusion.num_steps": steps}, components={}, objectives=WANTED)
    return run_points(tree, grid, client, "toy-0", report, systems="toy_systems")
