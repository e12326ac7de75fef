"""Times belong to the hardware that they were measured on."""

import dataclasses

import pytest
from local_client import WANTED, point

from imer_ray.tuning.trial.coordinator import run_points
from imer_ray.tuning.trial.local_search import Grid


@pytest.mark.parametrize(
    ("asked", "noted", "said"),
    [(None, "CPU B", None), ("CPU A or CPU B", "CPU B", "CPU B"), ("CPU A", "", "CPU A")],
)
def test_a_row_says_which_hardware_its_times_are_of(base, client, monkeypatch, asked, noted, said):
    """Of the kinds that it might have been the one that it was; nothing where no times are wanted."""
    import toy_systems.decoupled
    import toy_systems.stages

    final, stage = toy_systems.decoupled.graph, toy_systems.decoupled._stage

    def with_cost(config, split):
        whole = final(config, split)
        return dataclasses.replace(whole, inputs={**whole.inputs, "cost": stage("cost", "cost", {})})

    monkeypatch.setattr(toy_systems.decoupled, "graph", with_cost)
    monkeypatch.setattr(toy_systems.stages, "cost", lambda config, context: {}, raising=False)
    monkeypatch.setattr("imer_ray.stages.manifest.hardware", lambda with_gpu: noted)
    grid, told = Grid(axes={}, components={}, objectives=WANTED), lambda metrics: None
    (row,) = run_points(point(base), grid, client, "toy-0", told, "toy_systems", machine=asked)["rows"]
    assert row["error"] is None and row["machine"] == said
