import json

import pytest
from toy_stages import notes, toy

from imer_ray.errors import NonFiniteError
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store


def losses(folder):
    return [entry["loss"] for entry in json.loads((folder / "history.json").read_text())]


def test_two_workers_give_the_curve_of_one_and_survive_a_kill(broker, tmp_path):
    """Rank 1 is killed after the third epoch; the group that replaces it goes on with the fourth."""
    log, store = str(tmp_path / "log"), Store(tmp_path / "stages")
    alone = toy("alone", "regress", log=log + "1")
    run_graph(alone, Store(tmp_path / "alone"))
    group = toy("group", "regress", die_at=3, log=log + "2")
    result = broker.compute(group, "w")
    expected = losses(Store(tmp_path / "alone").open(alone.key).folder)
    assert losses(store.open(group.key).folder) == pytest.approx(expected, abs=1e-4)
    assert result.metrics["train_loss"] == pytest.approx(expected[-1], abs=1e-4)
    lines = [line.split() for line in notes(log + "2")]
    assert [int(epoch) for epoch, _, _ in lines] == [1, 2, 3, 4, 5, 6]
    assert [pid == lines[0][1] for _, pid, _ in lines] == [True] * 3 + [False] * 3
    assert {world_size for _, _, world_size in lines} == {"2"}
    assert broker.stats()["stages"]["group"]["retried"] == 1
    assert list((tmp_path / "stages" / ".work").iterdir()) == []


@pytest.mark.slow
def test_a_loss_that_becomes_nan_is_not_tried_again(broker, tmp_path):
    log = str(tmp_path / "log")
    with pytest.raises(NonFiniteError, match="as expected"):
        broker.compute(toy("group", "fail", error="nan", log=log), "w")
    assert len(notes(log)) <= 2  # once by each worker
