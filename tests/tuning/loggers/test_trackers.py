"""MLflow and Weights & Biases get what a search tells them; read back from the files that they write without a server.

Neither is installed with the tests' dependencies: ``pip install 'imer-ray[mlflow,wandb]'`` has these tests run.
"""

import json
import struct

import pytest

from imer_ray.results.schema import StudyInfo
from imer_ray.tuning.loggers import _background
from imer_ray.tuning.loggers._background import Log
from imer_ray.tuning.monitor.progress import Progress
from imer_ray.tuning.objectives.objectives import objectives

pytestmark = pytest.mark.slow  # W&B starts a process of its own

INFO = StudyInfo(
    study="demo",
    objectives=objectives(quality="Non0_F1_score", speed="latency"),
    num_trials=8,
    searcher="tpe",
    space=("diffusion.sde", "diffusion.num_steps"),
)
CONFIG = {"seed": 1111, "diffusion": {"sde": {"name": "vp", "_target_": "x.VP"}, "num_steps": 4}}
CURVES = {"pretrain[l]": {1: {"loss": 0.5}, 2: {"loss": 0.25}}}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a busy machine MLflow makes its tables for minutes."""
    monkeypatch.setattr(_background, "PATIENCE_SECONDS", 1200.0)


def row(trial, point=0, f1=0.75, status="complete", **more):
    found = {"valid.Non0_F1_score": f1, "speedup_vs_imder": 100.0, "nfe": 4.0}
    return {
        "trial": trial,
        "point": point,
        "status": status,
        "seed": 1111,
        "config": json.dumps(CONFIG),
        "started": "2026-11-21T10:00:00+00:00",
        "finished": "2026-11-21T10:00:01+00:00",
        "error": None,
        **(found if status == "complete" else {}),
        **more,
    }


def frames(content):
    """The records of a W&B file: LevelDB's log format, blocks of 32 KiB with parts of records, after a header of 7."""
    at, record = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def search(name, folder):
    """Two trials and the study's progress after each, in two commands."""
    folder.mkdir(exist_ok=True)
    for trial, rows in enumerate(([row(0), row(0, 1, f1=0.5)], [row(1, status="failed", error="the loss became nan")])):
        log = Log([name], folder, INFO, [])
        log.trial(rows, {} if trial else CURVES)
        log.progress(Progress(num_trials=8, complete=1, failed=trial, front=1, hypervolume=0.5))
        log.close()


def test_mlflow_has_an_experiment_with_a_run_per_trial_under_the_studys(tmp_path, monkeypatch, capsys):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    search("mlflow", tmp_path)
    assert capsys.readouterr().err == ""
    client = tracking.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("demo")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"study", "trial-0000", "trial-0001"}  # the second command goes on with the study's run
    first, failed, study = runs["trial-0000"], runs["trial-0001"], runs["study"]
    assert first.data.params == {"diffusion.sde": "vp", "diffusion.num_steps": "4"}
    assert json.loads(first.data.tags["configuration"]) == CONFIG

    def history(run, name):
        return [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]

    assert history(first, "valid.Non0_F1_score") == [(0, 0.75), (1, 0.5)]
    assert history(first, "pretrain/l/loss") == [(1, 0.5), (2, 0.25)]
    assert history(study, "front/hypervolume") == [(1, 0.5), (2, 0.5)]
    assert first.info.end_time - first.info.start_time == 1000
    assert (first.info.status, failed.info.status, study.info.status) == ("FINISHED", "FAILED", "FINISHED")
    assert failed.data.tags["error"] == "the loss became nan"
    assert {r.data.tags["mlflow.parentRunId"] for r in (first, failed)} == {study.info.run_id}


def resumed(name, folder):
    """A trial that is stopped, and goes on in the next command; another that fails, and runs again."""
    folder.mkdir(exist_ok=True)
    stopped = row(0, status="stopped", epochs=2, nfe=4.0)
    first, second = Log([name], folder, INFO, []), row(1, status="failed", error="the worker died")
    first.trial([stopped], CURVES)
    first.trial([second], {})
    first.close()
    then = Log([name], folder, INFO, [stopped, second])
    longer = {"pretrain[l]": {**CURVES["pretrain[l]"], 3: {"loss": 0.125}}}
    then.trial([row(0, epochs=3, finished="2026-11-21T10:00:09+00:00"), row(0, 1, f1=0.5)], longer)
    then.trial([row(1)], {})
    then.close()


def test_mlflow_has_one_run_of_a_trial_that_went_on_or_ran_again(tmp_path, monkeypatch, capsys):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    resumed("mlflow", tmp_path)
    assert capsys.readouterr().err == ""
    client = tracking.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["study", "trial-0000", "trial-0001"]
    first, again = (next(run for run in runs if run.info.run_name == f"trial-000{n}") for n in (0, 1))

    def history(name):
        return sorted((m.step, m.value) for m in client.get_metric_history(first.info.run_id, name))

    assert history("pretrain/l/loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert history("nfe") == [(0, 4.0), (1, 4.0)] and history("epochs") == [(0, 2.0), (0, 3.0)]
    assert first.data.metrics["valid.Non0_F1_score"] == 0.5 and first.data.tags["status"] == "complete"
    assert first.info.end_time - first.info.start_time == 9000
    assert (first.info.status, again.info.status) == ("FINISHED", "FINISHED") and not again.data.tags["error"]


def wandb_runs(folder):
    """Name -> the run and its history of each of the folders that W&B left, in their order."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = {}
    for path in sorted((folder / "wandb").glob("offline-run-*/*.wandb")):
        records = [Record.FromString(data) for data in frames(path.read_bytes())]
        run = next(r.run for r in records if r.WhichOneof("record_type") == "run")
        history = [
            {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in r.history.item}
            for r in records
            if r.WhichOneof("record_type") == "history"
        ]
        found.setdefault(run.display_name, []).append((run, history))
    return found


def test_wandb_offline_keeps_a_run_per_trial_and_one_of_the_study(tmp_path, monkeypatch, capsys):
    pytest.importorskip("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_CACHE_DIR", str(tmp_path / "cache"))):
        monkeypatch.setenv(name, value)
    search("wandb", tmp_path)
    assert "warning" not in capsys.readouterr().err
    found = wandb_runs(tmp_path)
    assert {name: len(runs) for name, runs in found.items()} == {"study": 2, "trial-0000": 1, "trial-0001": 1}
    ((run, history),) = found["trial-0000"]
    assert (run.run_group, run.job_type, run.project) == ("demo", "trial", "imer_ray")
    config = {update.key: json.loads(update.value_json) for update in run.config.update}
    assert config["diffusion.sde"] == "vp" and config["diffusion.num_steps"] == 4
    points = {line["points/number"]: line["points/valid.Non0_F1_score"] for line in history if "points/number" in line}
    assert points == {0: 0.75, 1: 0.5}
    curve = {line["pretrain/l/epoch"]: line["pretrain/l/loss"] for line in history if "pretrain/l/epoch" in line}
    assert curve == {1: 0.5, 2: 0.25}
    assert [line["front/hypervolume"] for _, lines in found["study"] for line in lines] == [0.5, 0.5]


def test_wandb_goes_on_with_the_run_of_a_trial_that_went_on(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_CACHE_DIR", str(tmp_path / "cache"))):
        monkeypatch.setenv(name, value)
    resumed("wandb", tmp_path / "one")
    search("wandb", tmp_path / "another")
    one, another = wandb_runs(tmp_path / "one"), wandb_runs(tmp_path / "another")
    names = {trial: {run.run_id for run, _ in one[trial]} for trial in ("trial-0000", "trial-0001")}
    assert [len(one[trial]) for trial in names] == [2, 2] and all(len(of) == 1 for of in names.values())
    assert len({*names["trial-0000"], *names["trial-0001"], another["trial-0000"][0][0].run_id}) == 3
