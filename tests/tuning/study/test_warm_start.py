"""What a study learns from another: results where they are results here too, else where to look first."""

import json

import pytest
from changed import changed
from optuna.trial import TrialState

from imer_ray.errors import UserError
from imer_ray.results.schema import read_results
from imer_ray.tuning.searchers import DERIVED
from imer_ray.tuning.study.results_file import complete_row, write
from imer_ray.tuning.study.study import open_record, plan
from imer_ray.tuning.study.warm_start import LEARNT

SPACE = """\
diffusion.sde: {choice: [vp, ve]}
diffusion.num_steps: {int: [1, 64], log: true}
loss.recovery: {float: [0.5, 1.0]}
"""
NARROW = "diffusion.sde: {choice: [vp]}\ndiffusion.num_steps: {int: [1, 8]}\nloss.recovery: {float: [0.5, 1.0]}\n"
TRIALS = (  # sde, steps, quality
    ("vp", 1, 0.70),
    ("vp", 4, 0.80),
    ("vp", 8, 0.75),  # dominated by the one before
    ("ve", 2, 0.79),
    ("vp", 32, 0.90),
)


@pytest.fixture
def planned(options, tmp_path):
    def planned(name, text=SPACE, changes=None, **study):
        (tmp_path / f"{name}.yaml").write_text(text)
        settings = {**(changes or {}), "study": {"name": name, **study}, "space": str(tmp_path / f"{name}.yaml")}
        return plan(changed(options, **settings), systems="toy_systems")

    return planned


@pytest.fixture
def other(planned):
    """A finished study: five trials, the first with a second point, and one that failed."""
    searched = planned("other")
    record = open_record(searched)
    points = [{"diffusion.sde": s, "diffusion.num_steps": n, "loss.recovery": 0.75} for s, n, _ in TRIALS]
    record.enqueue([*points, {"diffusion.sde": "ve", "diffusion.num_steps": 64, "loss.recovery": 0.75}])
    for number in range(6):
        proposal = record.ask()
        rows = [row(proposal.config, *TRIALS[number][1:])] if number < 5 else [{"error": "a bug"}]
        rows[0]["config"] = json.dumps(proposal.config)
        if number == 0:
            diffusion = {**proposal.config["diffusion"], "num_steps": 2}
            rows.append(row({**proposal.config, "diffusion": diffusion}, 2, 0.72))
        record.tell(number, [complete_row("other", number, point, r) for point, r in enumerate(rows)])
    write(searched, record)
    return searched.folder


def row(config, steps, quality):
    metrics = {
        "valid.Non0_F1_score": quality,
        "valid.MAE": 1 - quality,
        "speedup_vs_imder": 100.0 / steps,
        "nfe": steps,
    }
    return {"config": json.dumps(config), "error": None, "seed": 1111, **metrics}


def learnt(record):
    return [trial for trial in record._study.get_trials(deepcopy=False) if LEARNT in trial.user_attrs]


def test_the_same_space_takes_all_results_over_and_none_of_them_is_its_own(planned, other, capsys):
    searched = planned("new", warm_start=[str(other)], num_startup_trials=5)
    record = open_record(searched)
    assert capsys.readouterr().out == f"warm start from {other}: 6 results taken over\n"
    told = learnt(record)
    assert {trial.state for trial in told} == {TrialState.COMPLETE}
    source = read_results(other / "results.parquet")
    complete = source[source["status"] == "complete"]
    assert [t.values for t in told] == complete[["objective.quality", "objective.speed"]].to_numpy().tolist()
    assert [t.params["diffusion.num_steps"] for t in told] == [1, 2, 4, 8, 2, 32]
    assert [DERIVED in t.user_attrs for t in told] == [False, True, False, False, False, False]
    assert record.rows == [] and record.finished == set()
    proposal = record.ask()
    assert proposal.trial == 0
    record.tell(0, [complete_row("new", 0, 0, row(proposal.config, 3, 0.5))])
    assert read_results(write(searched, record))["trial"].tolist() == [0]


def test_it_is_learnt_once_however_often_the_study_is_resumed_or_killed(planned, other, monkeypatch, capsys):
    searched = planned("new", warm_start=[str(other / "results.parquet")])
    open_record(searched)
    before = capsys.readouterr().out
    assert len(learnt(open_record(searched))) == 6 and "6 results" in before
    assert capsys.readouterr().out == ""
    killed = planned("killed", warm_start=[str(other)])
    record = open_record(planned("killed"))
    (trial,) = learnt(open_record(searched))[:1]
    trial.user_attrs[LEARNT][0] = str(other)
    record._study.add_trial(trial)  # killed here, after the first of six
    assert len(learnt(open_record(killed))) == 6


def test_objectives_and_constraints_are_the_new_studys(planned, other):
    record = open_record(planned("new", warm_start=[str(other)], quality="MAE", speed="nfe", constraints=["nfe <= 4"]))
    told = {t.params["diffusion.num_steps"]: t for t in learnt(record) if t.params["diffusion.sde"] == "vp"}
    assert told[4].values == pytest.approx([0.2, 0.69897]) and told[4].constraints == {"nfe <= 4": 0.0}
    assert told[8].constraints == {"nfe <= 4": 1.0}
    assert {t.params["diffusion.num_steps"] for t in record._study.best_trials} == {1, 2, 4}


def test_an_overlapping_space_takes_what_lies_in_it(planned, other, capsys):
    record = open_record(planned("narrow", NARROW, warm_start=[str(other)]))
    assert [t.params["diffusion.num_steps"] for t in learnt(record)] == [1, 2, 4, 8]
    assert "4 results taken over, 2 points left out that this study could not have" in capsys.readouterr().out


def test_what_was_measured_on_other_data_says_only_where_to_look_first(planned, other, options, capsys):
    data = {"num_train": options.data.settings["num_train"] - 84}
    record = open_record(planned("elsewhere", changes={"data": data}, warm_start=[str(other)]))
    said = "0 results taken over, 4 configurations of its front, measured under other settings, proposed first"
    assert capsys.readouterr().out == f"warm start from {other}: {said}\n"
    assert learnt(record) == []
    proposals = [record.ask() for _ in range(4)]
    assert [(p.values["diffusion.sde"], p.values["diffusion.num_steps"]) for p in proposals] == [
        ("vp", 1),
        ("vp", 4),
        ("ve", 2),
        ("vp", 32),
    ]


def test_other_settings_that_are_not_searched_are_other_results(planned, other):
    training, loss = {"recognise": {"num_epochs": 77}}, {"lambda_c": 0.123}
    assert len(learnt(open_record(planned("same", changes={"training": training}, warm_start=[str(other)])))) == 6
    assert (
        learnt(open_record(planned("loss", changes={"loss": loss}, warm_start=[str(other)]))) == []
    )  # the toy reads it


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("runs/nothing", "runs/nothing/results.parquet does not exist; a search writes it"),
        ("SELF", "is this study itself"),
    ],
)
def test_a_source_without_results_and_the_study_itself_are_named(planned, other, source, message):
    source = str(other) if source == "SELF" else source
    with pytest.raises(UserError, match=message):
        planned("other", warm_start=[source])
