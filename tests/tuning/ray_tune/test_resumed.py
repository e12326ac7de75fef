"""A real search in which a paused trial goes on: from its checkpoint, to the weights that nobody had disturbed."""

import json
import os

import pytest

from imer_ray.config.commands import ScalingConfig, SearchConfig
from imer_ray.config.compose import compose
from imer_ray.results.schema import read_results
from imer_ray.results.timeline import read_timeline
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store
from imer_ray.tuning.searchers import RESUMED, TRIAL
from imer_ray.tuning.study.journal import FILE_NAME, Journal, open_study
from imer_ray.tuning.study.study import open_record, plan

NUM_EPOCHS = 160  # so that a training that is told to stop does so before its end
SPACE = """\
training.recognise.learning_rate: {choice: [0.003, 0.001, 0.0001]}
points:
  - {training.recognise.learning_rate: 0.003}
  - {training.recognise.learning_rate: 0.0001}
"""
WORDS = (
    *("system=masked", "data.num_train=96", "data.num_valid=48", "data.num_test=32", "speed.max_seconds=0"),
    *("training.encode.num_epochs=1", f"training.recognise.num_epochs={NUM_EPOCHS}", "evaluate.max_points=1"),
    *("training.recognise.learning_rate=0.001", "scaling.num_workers=0", "scaling.train_stages=[]"),
    *("study.searcher=random", "study.speed=flops", "study.num_trials=3", "study.slots=1", "study.prefix_trials=1"),
    *("study.scheduler=asha", "study.grace_epochs=2"),
)


@pytest.mark.slow
def test_a_paused_trial_goes_on_to_the_weights_of_an_undisturbed_run(tmp_path, monkeypatch):
    from imer_ray.scaling.broker import start_broker
    from imer_ray.scaling.cluster import start, stop
    from imer_ray.tuning.ray_tune.run import run

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "space.yaml").write_text(SPACE)
    words = [*WORDS, f"space={tmp_path / 'space.yaml'}", f"study.root={tmp_path}", "study.name=small"]
    searched = plan(compose(SearchConfig, "search", words))
    record = open_record(searched)
    start(ScalingConfig(num_workers=0, train_stages=()), num_slots=1)
    try:
        run(searched, record, start_broker(searched.stages, searched.options.scaling))
    finally:
        stop()
    assert {row["trial"]: row["status"] for row in record.rows} == dict.fromkeys(range(3), "complete")
    paused = {row["trial"] for row in record.history if row["status"] == "stopped"}
    assert paused  # of three with equal speeds and one place, one is worse than another
    told = open_study(Journal(searched.folder / FILE_NAME), 2).get_trials(deepcopy=False)
    assert {trial.user_attrs[TRIAL] for trial in told if RESUMED in trial.user_attrs} == paused
    frame = read_results(searched.folder / "results.parquet")
    assert sorted(frame["trial"]) == [0, 1, 2] and frame["epochs"].nunique() == 1

    theirs, ours = Store(searched.stages), Store(tmp_path / "undisturbed")
    was_stopped = []
    for trial in paused:
        config = json.loads(next(row["config"] for row in record.rows if row["trial"] == trial))
        final = searched.final_stage(config)
        run_graph(final, ours)
        key = final.inputs["recogniser"].key
        files = sorted(os.listdir(theirs.open(key).folder))
        weights = [name for name in files if name.endswith(".safetensors")]
        assert weights
        for name in weights:
            assert (theirs.open(key).folder / name).read_bytes() == (ours.open(key).folder / name).read_bytes()
        runs = [run for run in read_timeline(searched.folder / "timeline.parquet") if run["key"] == key]
        assert [run["status"] for run in sorted(runs, key=lambda run: run["started"])][-1] == "computed"
        was_stopped.append("stopped" in {run["status"] for run in runs})
    assert any(was_stopped)
