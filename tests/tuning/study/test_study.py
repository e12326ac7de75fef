"""A study is checked before it begins, refused if it would mix what cannot be compared, and never run twice at once."""

import errno
import fcntl
import json
import os
import subprocess
import sys

import pytest
import yaml
from changed import changed

from imer_ray.config.commands import SearchConfig
from imer_ray.config.resolve import tree_of, typed
from imer_ray.errors import UserError
from imer_ray.results.schema import read_results
from imer_ray.tuning.study import results_file
from imer_ray.tuning.study.lock import only_driver
from imer_ray.tuning.study.results_file import ResultsFile, complete_row, write
from imer_ray.tuning.study.study import open_record, plan


def planned(options, **changes):
    tree = json.loads(json.dumps(tree_of(options)))
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = tree
        for part in parents:
            node = node[part]
        node[last] = value
    return plan(typed(tree, SearchConfig), systems="toy_systems")


def finish(record, searched, num_trials=1, **metrics):
    for _ in range(num_trials):
        proposal = record.ask()
        row = {
            "valid.Non0_F1_score": 0.7,
            "speedup_vs_imder": 10.0,
            "config": json.dumps(proposal.config),
            "stages": "{}",
            "started": "2026-11-21T10:00:00+00:00",
            "finished": "2026-11-21T10:00:01+00:00",
            "error": None,
            **metrics,
        }
        record.tell(proposal.trial, [complete_row(searched.info.study, proposal.trial, 0, row)])


def test_the_spaces_points_come_first_in_their_order_and_then_the_base_configuration(options):
    options = changed(options, loss={"recovery": 0.6})
    searched = planned(options)
    record = open_record(searched)
    first, second = record.ask(), record.ask()
    assert first.values["diffusion.sde.sigma_max"] == 10.0  # 10 in the file, a float in the configuration
    assert first.config["diffusion"]["sde"]["name"] == "ve"
    assert second.config == dict(searched.base)


def test_what_needs_no_other_stage_can_be_begun_before_a_trial_asks(options):
    searched = planned(options)
    first = searched.first_stages([searched.base])
    assert [stage.name for stage in first] == ["encode"]
    assert {stage.key for stage in first} < {stage.key for stage in searched.final_stage(searched.base).in_order()}


def test_what_comes_first_is_known_as_far_as_no_searcher_is_asked(options):
    searched = planned(changed(options, loss={"recovery": 0.6}))
    record = open_record(searched)
    ahead = record.ahead(4)
    assert list(record.ahead(1).items()) == list(ahead.items())[:1]
    asked = {proposal.trial: proposal.config for proposal in (record.ask() for _ in range(4))}
    assert len(ahead) == 2, "the space's point and the base; then the searcher's"
    assert all(configs == [asked[trial]] for trial, configs in ahead.items())
    again = open_record(searched)  # as if the driver had been killed
    assert again.ahead(9) == {trial: [config] for trial, config in asked.items()}, "those that ran go on"
    finish(again, searched, 4)
    assert again.ahead(9) == {} and [row["proposed_by"] for row in again.rows][:2] == ["given", "given"]


def test_what_the_default_search_begins_with_is_known_although_its_points_leave_something_open(composed, tmp_path):
    """What is open does nothing in the first trial, which trains no diffusion, and encode does not depend on it."""
    few = {"num_train": 96, "num_valid": 64, "num_test": 64}
    searched = plan(changed(composed, study={"root": str(tmp_path)}, data=few))
    record = open_record(searched)
    ahead = record.ahead(3)
    assert list(ahead) == [0, 1, 2] and all(len(configs) > 1 for configs in ahead.values())
    assert "pretrain" not in {stage.kind for stage in searched.final_stage(ahead[0][0]).in_order()}
    for configs in ahead.values():
        first = {stage.key for stage in searched.first_stages(configs)}
        assert first and first <= {s.key for s in searched.first_stages([record.ask().config])}


@pytest.mark.parametrize(
    ("speed", "also", "constraints", "is_timed"),
    [
        ("latency", [], [], True),
        ("nfe", [], [], False),
        ("nfe", ["latency_b1"], [], True),
        ("nfe", ["num_parameters"], [], False),
        ("nfe", [], ["latency_ms<=5"], True),
    ],
)
def test_a_study_that_wants_times_says_whose(options, speed, also, constraints, is_timed):
    study = {"speed": speed, "also": also, "constraints": constraints}
    assert planned(changed(options, study=study)).is_timed == is_timed


def test_what_a_study_was_begun_with_lies_in_its_folder(options):
    searched = planned(options)
    record = open_record(searched)
    finish(record, searched, 3)
    frame = read_results(write(searched, record))
    assert (searched.folder / "space.yaml").read_text() == searched.space.text
    assert yaml.safe_load((searched.folder / "config.yaml").read_text())["study"]["name"] == "toy"
    assert frame["config.diffusion.sde"].isin(["vp", "ve"]).all()
    assert frame["config.diffusion.sde.sigma_max"].isna().sum() == (frame["config.diffusion.sde"] == "vp").sum()
    assert frame["config.evaluate.max_points"].tolist() == [3] * 3
    assert frame["started"].dt.hour.tolist() == [10, 10, 10]
    assert frame.attrs["info"]["space"] == tuple(p.path for p in searched.space.parameters)
    assert json.loads(frame["versions"].iloc[0])["ray"]


def test_a_study_that_an_earlier_version_began_goes_on(options):
    """Its rows lack a setting that has come since."""
    searched = planned(options)
    record = open_record(searched)
    earlier = {key: value for key, value in searched.base.items() if key != "plugins"}
    finish(record, searched, config=json.dumps(earlier))
    again = open_record(searched)
    assert len(again.rows) == 1 and again.ask().config != dict(searched.base)


def test_a_deleted_results_file_is_written_anew_from_the_journal(options):
    searched = planned(options)
    record = open_record(searched)
    finish(record, searched, 2)
    path = write(searched, record)
    before = read_results(path)
    path.unlink()
    again = planned(options)
    assert read_results(write(again, open_record(again))).equals(before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss__diffusion": 0.2}, "configuration loss.diffusion: 0.1 -> 0.2"),
        ({"data__num_train": 64}, "configuration data.num_train: 96 -> 64"),
        ({"study__speed": "nfe"}, "objective speed: speedup_vs_imder -> nfe"),
        ({"study__quality": "Has0_F1_score"}, "objective quality: valid.Non0_F1_score -> valid.Has0_F1_score"),
        ({"evaluate__max_points": 2}, "configuration evaluate.max_points: 3 -> 2"),
        # One at whose default studies of before it go on.
        ({"training__joint__precision": "bf16"}, "configuration training.joint.precision: (none) -> bf16"),
    ],
)
def test_a_study_resumed_with_something_else_is_refused(options, change, message):
    open_record(planned(options))
    with pytest.raises(UserError, match="was begun with other settings") as raised:
        open_record(planned(options, **change))
    assert message in str(raised.value)


def test_a_study_resumed_with_another_space_is_refused(options, tmp_path):
    open_record(planned(options))
    text = (tmp_path / "toy.yaml").read_text()
    (tmp_path / "toy.yaml").write_text(text.replace("[1, 64]", "[1, 32]").replace("diffusion.num_steps: 4,", ""))
    with pytest.raises(UserError, match="was begun with other settings") as raised:
        open_record(planned(options))
    assert "space diffusion.num_steps: log True, step 1, low 1, high 64 -> " in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [{"study__num_trials": 50}, {"study__searcher": "random"}, {"study__slots": 1}, {"scaling__num_workers": 0}],
)
def test_how_a_study_is_run_may_change(options, change):
    searched = planned(options)
    finish(open_record(searched), searched)
    assert open_record(planned(options, **change)).finished == {0}


def test_new_points_in_a_space_are_proposed_when_it_is_resumed(options, tmp_path):
    open_record(planned(options))
    with open(tmp_path / "toy.yaml", "a") as file:
        file.write("  - {diffusion.sde: vp, diffusion.num_steps: 33, loss.recovery: 0.5}\n")
    record = open_record(planned(options))
    assert [record.ask().values["diffusion.num_steps"] for _ in range(2)] == [4, 33]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study__quality": "F1"}, "study.quality=F1"),
        ({"study__root": "s3://bucket/runs"}, "study.stages may be remote"),
        ({"space": "nowhere"}, "space=nowhere: unknown search space"),
        ({"data_fingerprint": "0" * 64}, "the content is not that of data_fingerprint"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(options, change, message):
    with pytest.raises(UserError, match=message):
        planned(options, **change)


def test_only_one_driver_has_a_study(tmp_path):
    code = "import sys, time; from pathlib import Path; from imer_ray.tuning.study.lock import only_driver\n"
    code += "with only_driver(Path(sys.argv[1])):\n    print('mine', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(UserError, match=f"process {holder.pid} on {os.uname().nodename}"), only_driver(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    with only_driver(tmp_path):  # the killed driver left its file, but not its lock
        assert json.loads((tmp_path / "driver.lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_network_folder_without_locks_is_one_sentence(tmp_path, monkeypatch, number):
    """As NFS answers whose lock service does not run."""

    def refuse(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError, match=f"cannot write {tmp_path}: its file system .* locks.*; choose another folder"):
        only_driver(tmp_path).__enter__()


def test_results_are_kept_up_to_date_without_spending_the_time_on_it(options, monkeypatch):
    searched = planned(options)
    record = open_record(searched)
    now, written = [0.0], []

    def slow_write(plan, record):
        written.append(len(record.rows))
        now[0] += 1.0

    monkeypatch.setattr(results_file, "write", slow_write)
    monkeypatch.setattr(results_file.time, "monotonic", lambda: now[0])
    results = ResultsFile(searched, record)
    for _ in range(40):
        finish(record, searched)
        now[0] += 1.0
        results.update()
    assert written[0] == 1
    assert sum(1.0 for _ in written) <= 0.12 * now[0]


def test_a_further_objective_is_kept_in_journal_and_results_and_makes_another_study(options):
    three = {"study__also": ["num_parameters"]}
    searched = planned(options, **three)
    finish(open_record(searched), searched, 2, num_parameters=1e5)
    record = open_record(planned(options, **three))
    assert len(record.finished) == 2
    frame = read_results(write(searched, record))
    assert frame["objective.num_parameters"].tolist() == [5.0, 5.0]
    assert [objective["name"] for objective in frame.attrs["info"]["objectives"]][2:] == ["num_parameters"]
    with pytest.raises(UserError, match=r"objective num_parameters: num_parameters -> \(none\)"):
        open_record(planned(options))
    finish(record, searched, 1)  # not measured
    assert record.rows[-1]["error"] == "num_parameters was not measured"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study__also": ["worst.MAEE"]}, "study.also=worst.MAEE: unknown metric; did you mean MAE"),
        ({"study__also": ["AUILC"]}, "study.also=AUILC.Non0_F1_score is an area over missing rates"),
        ({"study__also": ["nfe", "flops"]}, "study.searcher=ehvi takes up to 3 objectives, not 4"),
        ({"study__also": ["nfe"], "study__cost_first": 4}, "study.cost_first weighs quality against speed alone"),
    ],
)
def test_what_cannot_be_a_further_objective_is_said_before_anything_starts(options, changes, message):
    with pytest.raises(UserError, match=message):
        planned(options, study__searcher="ehvi", **changes)


def test_what_is_believed_in_is_proposed_first_and_often_at_the_beginning(options, tmp_path):
    space = tmp_path / "believed.yaml"
    space.write_text("diffusion.num_steps: {int: [1, 32], prior: 5}\nloss.recovery: {float: [0, 1], prior: 0.25}\n")
    searched = planned(options, space=str(space), study__searcher="random", study__prefix_trials=1)
    record = open_record(searched)
    proposals = [record.ask() for _ in range(12)]
    assert proposals[0].values == {"diffusion.num_steps": 5, "loss.recovery": 0.25}
    assert sum(proposal.values["diffusion.num_steps"] == 5 for proposal in proposals[2:]) >= 2
