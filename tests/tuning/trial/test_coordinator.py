"""What a trial asks for, and what it hands to the driver, with stages that really run in this process."""

import dataclasses
import json
import subprocess
import sys
import threading
import time
import types

import pytest
from experiments import experiment
from local_client import WANTED, LocalClient, point, run

from imer_ray.config.resolve import tree_of
from imer_ray.errors import NonFiniteError, UserError
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.stages.store import Store
from imer_ray.tuning.trial import coordinator
from imer_ray.tuning.trial.coordinator import run_points
from imer_ray.tuning.trial.local_search import Grid


def test_points_share_their_stages_and_each_has_its_row(base, client):
    tree = point(base)
    rows = run(client, tree)["rows"]
    assert [json.loads(row["config"]) for row in rows] == [tree, point(base, steps=8)]
    assert [row["valid.Non0_F1_score"] for row in rows] == pytest.approx([0.75, 0.775])
    own, derived = (json.loads(row["stages"]) for row in rows)
    assert list(own) == ["encode", "pretrain", "evaluate"]
    assert own["pretrain"] == derived["pretrain"] and own["evaluate"] != derived["evaluate"]
    assert json.loads(rows[0]["executors"]) == {"encode": "inline", "pretrain": "inline", "evaluate": "inline"}
    assert [row["epochs"] for row in rows] == [5, 5]
    assert all(row["error"] is None and row["host"] and row["started"] <= row["finished"] for row in rows)
    assert set(client.left) == {"toy-0"}


def test_the_walk_goes_on_while_quality_gains_more_than_its_tolerance(base, client):
    """Quality is 0.8 - 0.2 / steps: 8 steps gain 0.025 over 4, 16 gain 0.0125, 32 0.00625; the fewest come first."""
    steps = (1, 2, 4, 8, 16, 32)
    for tolerance, expected in ((0.02, [4, 1, 2, 8, 16]), (0.01, [4, 1, 2, 8, 16, 32]), (0.03, [4, 1, 2, 8])):
        tree = point(base, max_points=20, tolerance=tolerance)
        rows = run(client, tree, steps=steps)["rows"]
        assert [json.loads(row["config"])["diffusion"]["num_steps"] for row in rows] == expected
    (alone,) = run(client, point(base, max_points=1), steps=steps)["rows"]
    assert json.loads(alone["config"])["diffusion"]["num_steps"] == 4


def test_seconds_are_paid_once_and_reused_after(base, client, tmp_path):
    first, derived = run(client, point(base))["rows"]
    seconds = {name: Store(tmp_path / "stages").find(key).seconds for name, key in json.loads(first["stages"]).items()}
    assert first["seconds_reused"] == 0
    assert first["seconds_computed"] == pytest.approx(sum(seconds.values()))
    assert derived["seconds_reused"] == pytest.approx(seconds["encode"] + seconds["pretrain"])
    (again,) = run(LocalClient(tmp_path / "stages"), point(base, steps=16), steps=())["rows"]
    assert again["seconds_reused"] == pytest.approx(seconds["encode"] + seconds["pretrain"])
    assert again["seconds_computed"] > 0


@pytest.mark.parametrize(
    ("recovery", "error"),
    [
        (0.05, "stage evaluate failed: ZeroDivisionError: a bug"),
        (0.15, "stage evaluate failed: NonFiniteError: the loss became nan"),
    ],
)
def test_a_stage_that_fails_is_the_rows_error_and_there_is_no_walk(base, client, recovery, error):
    (row,) = run(client, point(base, recovery))["rows"]
    assert row["error"] == error
    assert "valid.Non0_F1_score" not in row
    assert client.left == ["toy-0"]


def test_a_point_may_fail_alone_and_is_not_walked_on_from(base, client, monkeypatch):
    import toy_systems.stages

    evaluate = toy_systems.stages.evaluate

    def fail_at_8(config, context):
        return evaluate(config, context) if config["num_steps"] != 8 else 1 / 0

    monkeypatch.setattr(toy_systems.stages, "evaluate", fail_at_8)
    rows = run(client, point(base), steps=(4, 8, 16))["rows"]
    assert [row["error"] for row in rows] == [None, "stage evaluate failed: ZeroDivisionError: division by zero"]


def test_a_point_whose_cost_fails_fails_alone(base, client, monkeypatch):
    """Others of its wave have a cost of their own, and are not given up with it."""
    import toy_systems.decoupled
    import toy_systems.stages

    final, stage = toy_systems.decoupled.graph, toy_systems.decoupled._stage

    def with_cost(config, split):
        whole = final(config, split)
        cost = stage("cost", "cost", {"num_steps": config.diffusion.num_steps})
        return dataclasses.replace(whole, inputs={**whole.inputs, "cost": cost})

    def cost(config, context):
        time.sleep(0.0 if config["num_steps"] == 8 else 0.3)
        return {"seconds": 1 / (config["num_steps"] - 8)}

    monkeypatch.setattr(toy_systems.decoupled, "graph", with_cost)
    monkeypatch.setattr(toy_systems.stages, "cost", cost, raising=False)
    rows = run(client, point(base), steps=(2, 4, 8))["rows"]
    errors = {json.loads(row["config"])["diffusion"]["num_steps"]: row["error"] for row in rows}
    assert errors == {4: None, 2: None, 8: "stage cost failed: ZeroDivisionError: division by zero"}


def test_what_the_user_must_put_right_breaks_the_search_instead_of_failing_the_trial(base, client, monkeypatch):
    monkeypatch.setenv("TOY_BROKEN", "1")
    assert run(client, point(base, 0.45)) == {"broken": "the toy is broken: repair it"}
    assert client.left == ["toy-0"]


def test_when_a_shared_stage_fails_the_trial_waits_for_nothing_else(base, tmp_path, monkeypatch):
    import toy_systems.stages

    class Stuck(LocalClient):
        """What is not `encode` never ends."""

        def _run(self, stage, future, waiter):
            if stage.name == "encode":
                super()._run(stage, future, waiter)

    def fail(config, context):
        raise ValueError("no")

    monkeypatch.setattr(toy_systems.stages, "encode", fail)
    rows = run(Stuck(tmp_path / "stages"), point(base))["rows"]
    assert {row["error"] for row in rows} == {"stage encode failed: ValueError: no"}


def diamond(failing, held, over):
    """A system whose evaluation needs a recogniser and a cost; some stages fail, and one is held until all is over."""

    def stage(name, **inputs):
        function = f"diamond_stages:{name}"
        return Stage(name=name, function=function, config={"name": name}, data="toy", inputs=inputs)

    def run(config, context):
        if config["name"] == held:
            over.wait()
        if config["name"] in failing:
            raise NonFiniteError(f"the loss of {config['name']} became nan")
        return {"valid.Non0_F1_score": 0.7, "speedup_vs_imder": 10.0}

    stages = types.ModuleType("diamond_stages")
    systems = types.ModuleType("diamond")
    final = stage("evaluate", recognise=stage("recognise", encode=stage("encode")), cost=stage("cost"))
    vars(stages).update(dict.fromkeys(("encode", "recognise", "cost", "evaluate"), run))
    systems.decoupled = types.ModuleType("diamond.decoupled")
    systems.decoupled.graph = lambda config, split: final
    return {"diamond_stages": stages, "diamond": systems, "diamond.decoupled": systems.decoupled}


class FirstToHear(LocalClient):
    """Answers one stage's failure late, as a question may be under way when the stage ends."""

    def __init__(self, folder, late):
        super().__init__(folder)
        self._late = late
        self.over = threading.Event()  # the trial has left

    def compute(self, stage, waiter, on_progress=None):
        try:
            return super().compute(stage, waiter, on_progress)
        except NonFiniteError:
            if stage.name == self._late and on_progress is not None:
                time.sleep(0.3)  # in which the trial hears of others, or the case is the easier one
                on_progress(Status(state="running"))
            raise

    def leave(self, waiter):
        super().leave(waiter)
        self.over.set()


@pytest.mark.parametrize(
    ("failing", "held", "late", "cause"),
    [
        (["recognise"], "cost", None, "recognise"),  # the cost is given up, and comes first in the graph
        (["recognise"], None, "recognise", "recognise"),  # the evaluation, which failed with it, is heard of first
        (["encode"], "cost", "encode", "encode"),
        (["cost"], "encode", "cost", "cost"),
        (["evaluate"], None, None, "evaluate"),
        (["encode", "cost"], "cost", None, "encode"),
    ],
)
def test_a_trials_error_is_the_stage_that_failed_first_and_not_one_that_was_given_up_for_it(
    base, tmp_path, monkeypatch, failing, held, late, cause
):
    client = FirstToHear(tmp_path / "stages", late)
    for name, module in diamond(failing, held, client.over).items():
        monkeypatch.setitem(sys.modules, name, module)
    grid = Grid(axes={}, components={}, objectives=WANTED)
    (row,) = run_points(base, grid, client, "toy-0", lambda metrics: None, systems="diamond")["rows"]
    assert row["error"] == f"stage {cause} failed: NonFiniteError: the loss of {cause} became nan"


def test_progress_is_told_at_most_once_a_period(base, tmp_path, monkeypatch):
    """By a clock that goes on by six tenths of a period whenever it is read."""
    readings, told = [0.0], []
    period = 0.1

    def monotonic():
        readings.append(readings[-1] + 0.6 * period)
        return readings[-1]

    monkeypatch.setattr(coordinator, "PERIOD_SECONDS", period)
    monkeypatch.setattr(coordinator, "time", types.SimpleNamespace(monotonic=monotonic))
    client = LocalClient(tmp_path / "stages", seconds=0.3)
    run(client, point(base), lambda metrics: told.append((readings[-1], dict(metrics))))
    assert told and all(metrics["epoch"] == 1 and metrics["num_epochs"] == 3 for _, metrics in told)
    moments = [moment for moment, _ in told]
    assert all(b - a >= period for a, b in zip(moments, moments[1:], strict=False))


def test_a_user_error_ends_a_trial_at_once(base, client, monkeypatch):
    import toy_systems.stages

    def refuse(config, context):
        raise UserError("no such file")

    monkeypatch.setattr(toy_systems.stages, "pretrain", refuse)
    assert run(client, point(base)) == {"broken": "no such file"}


def test_a_trial_makes_the_stages_of_its_points_without_torch_or_optuna():
    """Each of a study's slots is a process of its own, and all of them start while the first stages are computed."""
    tree = json.dumps(tree_of(experiment("diffusion.num_steps=1", "diffusion.sampler=unipc")))
    code = (
        "import json, sys, imer_ray.tuning.ray_tune.trainable, imer_ray.scaling.broker;"
        "from imer_ray.config.experiment import ExperimentConfig; from imer_ray.config.resolve import typed;"
        "from imer_ray.systems import graph; config = typed(json.loads(sys.argv[1]), ExperimentConfig);"
        "print(graph(config, 'valid').kind, *{'torch', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, tree], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["evaluate"]
