import numpy as np
import pandas as pd
import pytest
from small_study import FRONT

from imer_ray.analysis import progress
from imer_ray.analysis.page.header import heading
from imer_ray.results.hypervolume import hypervolume
from imer_ray.results.study import QUALITY, SPEED, load


@pytest.fixture(scope="module")
def study(run):
    return load(run)


def moments(*seconds):
    return pd.Series(pd.to_datetime(list(seconds), unit="s", utc=True))


def test_time_without_a_running_trial_is_left_out():
    # trials run in [0, 60] and [30, 90], then, after a pause of an hour, in [3690, 3720]
    frame = pd.DataFrame({"started": moments(30, 0, 3690), "finished": moments(90, 60, 3720)})
    at = moments(0, 45, 90, 1000, 3690, 3705, 3720)
    assert progress.search_seconds(frame, at) == pytest.approx([0, 45, 90, 90, 90, 105, 120])


def test_without_times_nothing_has_passed():
    frame = pd.DataFrame({"started": moments(), "finished": moments()})
    assert progress.search_seconds(frame, moments(5)).tolist() == [0]


def test_hypervolume_starts_at_nothing_never_falls_and_ends_at_the_fronts(study):
    minutes, values = progress.hypervolume_over_time(study)
    assert (minutes[0], values[0]) == (0, 0)
    assert (np.diff(minutes) >= 0).all() and (np.diff(values) >= 0).all()
    assert values[-1] == pytest.approx(hypervolume(study.front[[QUALITY, SPEED]], study.reference))


def test_a_common_reference_is_the_worst_of_each_objective(study):
    import dataclasses

    other = dataclasses.replace(study, reference=(study.reference[0] + 1, study.reference[1] - 1))
    assert progress.common_reference([study, other]) == (study.reference[0] + 1, study.reference[1])


def test_trials_have_the_status_of_their_own_point_and_the_reason_of_failure(study):
    trials = progress.trials(study)
    assert trials["status"].value_counts().to_dict() == {"complete": 20, "stopped": 2, "failed": 2}
    assert trials["points"].sum() == len(study.frame)
    assert (trials["finished"] > trials["started"]).all()
    assert trials.loc[trials["status"] == "failed", "error"].str.startswith("NonFiniteError").all()


def test_reuse_counts_each_kind_and_adds_up_the_seconds(study):
    saved = progress.reuse(study)
    rows = len(study.frame)
    assert saved.kinds["needed"].to_dict() == {
        "encode": rows,
        "pretrain": 3 * rows,
        "bank": rows,
        "recognise": rows,
        "evaluate": rows,
    }
    assert saved.kinds.loc["encode", "different"] == 1 and saved.kinds.loc["pretrain", "different"] < rows
    assert saved.computed_s == pytest.approx(study.frame["seconds_computed"].sum())
    own = study.frame[study.frame["point"] == 0][["seconds_computed", "seconds_reused"]].sum()
    assert saved.share == pytest.approx(own["seconds_reused"] / own.sum()) and 0.2 < saved.share < 1
    assert f"{saved.share:.0%}".replace("%", " %") + " was reused" in progress.reuse_statement(study)


def test_no_stages_no_reuse(study):
    import dataclasses

    bare = study.frame.assign(stages=None, executors=None, seconds_computed=None, seconds_reused=None)
    saved = progress.reuse(dataclasses.replace(study, frame=bare))
    assert len(saved.kinds) == 0 and saved.share == 0


@pytest.mark.parametrize(
    ("proposed_by", "said"),
    [
        (("given", "start-up", "searcher", "random"), "1 of 2 proposals after the start-up drawn at random"),
        (("given", "start-up", "start-up", "next best"), "0 of 1 proposals after the start-up drawn at random"),
        (("given", "given", "start-up", "start-up"), ""),
        ((None,) * 4, ""),  # as in studies of before schema version 5
    ],
)
def test_the_page_says_how_many_proposals_were_drawn_at_random(small, proposed_by, said):
    rows = [{**row, "proposed_by": word} for row, word in zip(FRONT, proposed_by, strict=True)]
    study = load(small([*rows, {**rows[3], "point": 1}]))
    assert progress.drawn_at_random(study) == said
    assert said in heading(study) and ("at random" in heading(study)) == bool(said)
