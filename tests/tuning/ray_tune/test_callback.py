"""What a search leaves beside its results while it runs: a timeline that survives it, and what loggers were told."""

import json

import pytest
from changed import changed
from toy_systems import decoupled

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import typed
from imer_ray.errors import UserError
from imer_ray.results.timeline import read_timeline
from imer_ray.stages.timeline import Timeline, Where
from imer_ray.tuning.monitor.timeline import Timeline as Kept
from imer_ray.tuning.ray_tune.callback import StudyCallback
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan

EXECUTORS = {"encode": "ray_train"}  # of a stage's kind; others run inline


class Client:
    """A broker that computes what it is told to at once."""

    def __init__(self):
        self.timeline = Timeline()
        self.changes = self.timeline.since

    def stats(self):
        return {"running": []}

    def run(self, stage, waiter, status="computed", epochs=2):
        where = Where(host="laptop", node="n1", executor=EXECUTORS.get(stage.kind, "inline"))
        for epoch in range(epochs + 1):
            self.timeline.reported(stage, epoch, epochs, {"loss": 1.0 / (epoch + 1)}, where, [waiter])
        if status != "running":
            self.timeline.ended(stage, status, 1.5)


@pytest.fixture
def started(options):
    """started(**study settings): a watch over the toy study, its record and its client."""

    def start(**study):
        searched = plan(changed(options, study=study), systems="toy_systems")
        record, client = open_record(searched), Client()
        return searched, record, client, StudyCallback(searched, record, client)

    return start


def finish(searched, record, client, speedup=10.0):
    """One trial: its stages run, its row told."""
    proposal = record.ask()
    stages = list(decoupled.graph(typed(proposal.config, ExperimentConfig), "valid").in_order())
    for stage in stages:
        client.run(stage, f"toy-{proposal.trial}")
    row = {
        "valid.Non0_F1_score": 0.7 + 0.01 * proposal.trial,
        "speedup_vs_imder": speedup,
        "config": json.dumps(proposal.config),
        "stages": json.dumps({stage.name: stage.key for stage in stages}),
        "seconds_computed": 4.5,
        "started": "2026-11-21T10:00:00+00:00",
        "finished": "2026-11-21T10:00:01+00:00",
        "error": None,
    }
    record.tell(proposal.trial, [complete_row("toy", proposal.trial, 0, row)])
    return row


def end(watch):
    watch.on_experiment_end([])
    watch.close()


def test_the_timeline_of_a_study_goes_on_in_the_next_command(started):
    searched, record, client, watch = started(loggers=[])
    finish(searched, record, client)
    client.run(decoupled._stage("bank", "encode", {}), "toy-1", "running")
    end(watch)  # as if killed: nobody says that the bank ended
    first = read_timeline(searched.folder / "timeline.parquet")
    assert [(r["stage"], r["status"]) for r in first] == [
        ("encode", "computed"),
        ("pretrain", "computed"),
        ("evaluate", "computed"),
        ("bank", "running"),
    ]
    assert {(r["host"], r["node"], tuple(r["waiters"])) for r in first[:3]} == {("laptop", "n1", ("toy-0",))}
    assert first[0]["executor"] == "ray_train" and first[1]["executor"] == "inline"
    assert all(r["started"] <= r["finished"] for r in first)

    searched, record, client, watch = started(loggers=[])
    finish(searched, record, client)
    end(watch)
    both = read_timeline(searched.folder / "timeline.parquet")
    assert both[:3] == first[:3]
    assert both[3] == {**first[3], "status": "lost"}
    assert [(r["stage"], r["waiters"]) for r in both[4:]] == [
        (s, ["toy-1"]) for s in ("encode", "pretrain", "evaluate")
    ]


def test_a_restarted_brokers_runs_died_with_it(tmp_path):
    kept, stage = Kept(tmp_path, "toy"), decoupled._stage("encode", "encode", {})
    for status in ("running", "computed"):
        client = Client()
        client.run(stage, "toy-0", status)
        kept.follow(client)
    kept.write(last=True)
    assert [row["status"] for row in read_timeline(tmp_path / "timeline.parquet")] == ["lost", "computed"]


def test_a_damaged_timeline_is_named(tmp_path):
    (tmp_path / "timeline.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match="timeline.parquet is damaged .*; delete it"):
        Kept(tmp_path, "toy")


def test_curves_are_those_of_the_stages_asked_for(tmp_path):
    kept, client = Kept(tmp_path, "toy"), Client()
    one, other = (decoupled._stage(name, "encode", {"x": name}) for name in ("pretrain[l]", "pretrain[a]"))
    client.run(one, "toy-0", epochs=2)
    kept.follow(client)
    client.run(other, "toy-0", epochs=1)
    kept.follow(client)
    found = kept.curves({"pretrain[l]": one.key, "pretrain[a]": other.key, "bank": "0" * 32})
    assert found == {"pretrain[l]": {1: {"loss": 0.5}, 2: {"loss": 1 / 3}}, "pretrain[a]": {1: {"loss": 0.5}}}
