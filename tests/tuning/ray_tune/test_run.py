"""Real searches by Ray Tune over toy stages: failures, resuming, and a driver killed in the middle."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from changed import changed
from optuna.trial import TrialState

from imer_ray.config.resolve import tree_of
from imer_ray.errors import UserError
from imer_ray.results.schema import read_info, read_results
from imer_ray.results.timeline import read_timeline
from imer_ray.tuning.ray_tune.searcher import StudySearcher
from imer_ray.tuning.study.journal import FILE_NAME, Journal, open_study
from imer_ray.tuning.study.results_file import complete_row
from imer_ray.tuning.study.study import open_record, plan

HERE = str(Path(__file__).parents[1])
SCALING = {"num_workers": 0, "train_stages": (), "max_failures": 0, "store_seconds": 600.0, "silence_seconds": 300.0}
FAILING = """\
diffusion.sde: {choice: [vp, ve]}
diffusion.num_steps: {int: [1, 64], log: true}
loss.recovery: {float: [0.0, 1.0]}
points:
  - {loss.recovery: 0.05}
  - {loss.recovery: 0.25}
  - {loss.recovery: 0.35}
  - {loss.recovery: 0.75}
"""
HALVED = """\
diffusion.num_steps: {int: [4, 64], log: true}
loss.recovery: {float: [0.1, 1.0]}
points:
  - {loss.recovery: 0.1, diffusion.num_steps: 4}
  - {loss.recovery: 0.5, diffusion.num_steps: 8}
  - {loss.recovery: 0.6, diffusion.num_steps: 16}
  - {loss.recovery: 0.7, diffusion.num_steps: 32}
  - {loss.recovery: 0.8, diffusion.num_steps: 64}
"""
PICKLE = b"\x80"  # with which every pickle since protocol 2 begins
DRIVER = """\
import json, sys
from imer_ray.config.commands import SearchConfig
from imer_ray.config.resolve import typed
from imer_ray.scaling.broker import start_broker
from imer_ray.scaling.cluster import start
from imer_ray.tuning.study.lock import only_driver
from imer_ray.tuning.ray_tune.run import run
from imer_ray.tuning.study.study import open_record, plan

searched = plan(typed(json.loads(sys.argv[1]), SearchConfig), systems="toy_systems")
with only_driver(searched.folder):
    record = open_record(searched)
    scaling, slots = searched.options.scaling, searched.options.study.slots
    start(scaling, num_slots=slots)
    run(searched, record, start_broker(searched.stages, scaling))
"""


@pytest.fixture(scope="module")
def ray_session(tmp_path_factory):
    """A local Ray whose workers know the toy systems and note in a log what they run."""
    from imer_ray.config.commands import ScalingConfig
    from imer_ray.scaling.cluster import start, stop

    scaling = ScalingConfig(**SCALING)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))
        patch.setenv("TOY_LOG", str(tmp_path_factory.mktemp("toy") / "log"))
        patch.setenv("TOY_SECONDS", "0.05")
        patch.delenv("RAY_ADDRESS", raising=False)
        start(scaling, num_slots=4)
        yield scaling
        stop()


@pytest.fixture
def log(ray_session):
    path = Path(os.environ["TOY_LOG"])
    path.write_text("")
    return path


def notes(log):
    return log.read_text().splitlines()


@pytest.fixture
def search(ray_session, options, tmp_path):
    """search(text of a space, **study settings) runs what is missing and returns the plan."""
    from imer_ray.scaling.broker import start_broker
    from imer_ray.tuning.ray_tune.run import run

    def search(text=None, systems="toy_systems", **study):
        if text is not None:
            (tmp_path / "toy.yaml").write_text(text)
        searched = plan(changed(options, scaling=SCALING, study=study), systems=systems)
        broker = start_broker(searched.stages, searched.options.scaling)
        try:
            run(searched, open_record(searched), broker)
        finally:
            broker.stop()  # else its guard outlives this Ray
        return searched

    return search


def states(folder):
    return [t.state for t in open_study(Journal(folder / FILE_NAME), 2).get_trials(deepcopy=False)]


def test_a_search_with_failing_trials_ends_and_every_trial_has_its_row(search, capfd):
    searched = search(FAILING, num_trials=9, slots=2)
    frame = read_results(searched.folder / "results.parquet")
    own = frame[frame["point"] == 0].set_index("trial")
    assert sorted(own.index) == list(range(9))
    assert own["error"].tolist()[:3] + own["error"].tolist()[4:5] == [
        "stage evaluate failed: ZeroDivisionError: a bug",
        "valid.Non0_F1_score is nan",
        "speedup_vs_imder was not measured",
        "stage evaluate failed: NonFiniteError: the loss became nan",  # the base configuration, with 0.1
    ]
    assert own["status"].tolist()[:5] == ["failed"] * 3 + ["complete", "failed"]
    assert (own["error"].isna() == (own["status"] == "complete")).all()
    assert not {TrialState.RUNNING, TrialState.WAITING} & set(states(searched.folder))
    walked = frame[frame["derived_from"] == 0]["trial"].value_counts()  # fewer steps are always faster, more are better
    assert set(walked.index) == set(own.index[own["status"] == "complete"]) and walked.between(2, 4).all()
    assert read_info(searched.folder / "results.parquet").num_trials == 9
    assert not (searched.folder / ".tune").exists()
    files = [path for path in searched.folder.rglob("*") if path.is_file()]
    assert {"study.journal", "results.parquet"} <= {path.name for path in files}
    pickled = [path for path in files if path.suffix in (".pkl", ".pickle") or path.read_bytes()[:1] == PICKLE]
    assert pickled == []  # whoever can write to a shared folder must not be able to run code by it
    printed = "".join(capfd.readouterr()).splitlines()
    assert 1 <= len(printed) <= 10 and printed[-1].startswith("9/9 trials, 0 running")


@pytest.mark.slow
def test_a_paused_trial_leaves_its_row_its_stages_and_its_slot_and_goes_on_when_nothing_else_is_left(
    search, ray_session
):
    """The first has a loss of 0.1 and 4 steps, so that it dominates all others; one in two goes on."""
    import ray

    settings = {"scheduler": "asha", "grace_epochs": 2, "reduction_factor": 2, "slots": 2, "searcher": "random"}
    searched = search(HALVED, systems="trained_systems", num_trials=5, **settings)
    frame = read_results(searched.folder / "results.parquet")
    own = frame[frame["point"] == 0].set_index("trial")
    assert (own["status"] == "complete").all() and (own["epochs"] == 40).all()  # too few for anything to be foretold
    assert sorted(own.index) == list(range(5))
    study = open_study(Journal(searched.folder / FILE_NAME), 2)
    told = study.get_trials(deepcopy=False)
    stopped = [trial for trial in told if "fidelity" in trial.constraints]
    assert len(stopped) >= 2  # of trials 2, 3 and 4, each dominated by 0 and by 1 before it
    for row in (trial.user_attrs["rows"][0] for trial in stopped):
        assert row["status"] == "stopped" and 2 <= row["epochs"] < 40 and 0 < row["fidelity"] < 1
        assert json.loads(row["rungs"])["recognise"]["2"] == json.loads(row["config"])["loss"]["recovery"]
    assert not {TrialState.RUNNING, TrialState.WAITING} & {trial.state for trial in told}
    assert not {trial.number for trial in study.best_trials} & {trial.number for trial in stopped}
    assert ray.available_resources()["trial_slot"] == 4


@pytest.mark.slow
def test_what_a_driver_that_died_left_paused_goes_on_although_no_trial_is_missing(search, options):
    settings = {"scheduler": "asha", "grace_epochs": 2, "num_trials": 1}
    record = open_record(plan(changed(options, study=settings), systems="trained_systems"))
    searcher = StudySearcher(record, 1, lambda *args: complete_row("toy", *args), stopped={"a"})
    searcher.suggest("a")
    row = {"epochs": 2, "fidelity": 0.1, "rungs": json.dumps({"recognise": {"2": 0.5}}), "stages": "{}"}
    searcher.on_trial_complete("a", {"standing": json.dumps({"row": row})})
    assert [row["status"] for row in record.rows] == ["stopped"]
    searched = search(systems="trained_systems", **settings)
    own = read_results(searched.folder / "results.parquet").set_index(["trial", "point"]).loc[0, 0]
    assert (own["status"], own["epochs"]) == ("complete", 40)


@pytest.mark.slow
def test_a_finished_search_continues_when_more_trials_are_wanted(search):
    searched = search(num_trials=3)
    first = read_results(searched.folder / "results.parquet")
    search(num_trials=3)  # nothing to do
    assert read_results(searched.folder / "results.parquet").equals(first)
    search(num_trials=5)
    more = read_results(searched.folder / "results.parquet")
    assert sorted(set(more["trial"])) == [0, 1, 2, 3, 4]
    assert more[more["trial"] < 3]["config"].tolist() == first["config"].tolist()
    assert more["config"].is_unique


@pytest.mark.slow
def test_a_finite_space_ends_before_the_trials_do(search):
    searched = search("diffusion.sde: {choice: [vp, ve, imder_ve]}\nloss.recovery: {choice: [0.6]}\n", num_trials=8)
    assert len(set(read_results(searched.folder / "results.parquet")["trial"])) == 3


def test_what_the_user_must_put_right_ends_the_search_with_its_words(search):
    bad = "diffusion.num_steps: {int: [1, 9]}\nloss.recovery: {choice: [0.05]}\n"
    with pytest.raises(UserError, match="trials failed in the same way: stage evaluate failed: ZeroDivisionError"):
        search(bad, num_trials=9, slots=1)


@pytest.mark.slow
def test_a_killed_search_keeps_its_trials_and_stages(search, options, log, tmp_path):
    options = changed(options, study={"num_trials": 8, "slots": 2}, scaling=SCALING)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([HERE, str(Path(HERE).parents[1])])}
    environment.pop("RAY_ADDRESS", None)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, json.dumps(tree_of(options))], env=environment)
    deadline = time.monotonic() + 120
    while sum(note.startswith("evaluate") for note in notes(log)) < 6:
        assert time.monotonic() < deadline and driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    kept = open_record(plan(options, systems="toy_systems"))
    assert 0 < len(kept.finished) < 8
    before = {(row["trial"], row["point"]): row for row in kept.rows}

    searched = search(num_trials=8, slots=2)
    frame = read_results(searched.folder / "results.parquet").set_index(["trial", "point"])
    assert sorted({trial for trial, _ in frame.index}) == list(range(8))
    assert (frame["status"] == "complete").all()
    assert not {TrialState.RUNNING, TrialState.WAITING} & set(states(searched.folder))
    for index, row in before.items():
        assert (
            frame.loc[index, "config"] == row["config"] and frame.loc[index, "finished"].isoformat() == row["finished"]
        )
    ran = [note.split()[1:] for note in notes(log) if note.startswith("evaluate")]
    for row in before.values():
        config = json.loads(row["config"])
        assert ran.count([str(config["diffusion"]["num_steps"]), str(config["loss"]["recovery"])]) == 1
    assert notes(log).count("encode") == 1
    runs = read_timeline(searched.folder / "timeline.parquet")  # the killed driver's last seconds may be missing
    assert {run["status"] for run in runs} <= {"computed", "found", "lost", "stopped"}
    for (trial, _), row in frame.drop(index=list(before)).iterrows():
        for key in json.loads(row["stages"]).values():
            assert any(run["key"] == key and f"toy-{trial}" in run["waiters"] for run in runs)
    logged = {path.name for path in (searched.folder / "tensorboard").iterdir()}
    assert logged == {
        "study",
        *(f"trial-{number:04}" for number in range(8)),
    }  # also what the killed one had no time for
