"""Points of the front run with further seeds: which, how often, what is left of them, and how they end."""

import json
from collections import Counter

import numpy as np
import pytest

from imer_ray.errors import UserError
from imer_ray.results.pareto import pareto_front
from imer_ray.results.schema import read_results
from imer_ray.results.study import load
from imer_ray.tuning.replication.repeats import next_repeat, repeat_front, wanted

OBJECTIVES = ["objective.quality", "objective.speed"]


def means(rows):
    trials = sorted({row["trial"] for row in rows})
    complete = [row for row in rows if row["status"] == "complete"]
    of_trial = [[[row[c] for c in OBJECTIVES] for row in complete if row["trial"] == trial] for trial in trials]
    return np.array([np.mean(values, axis=0) for values in of_trial])


def test_the_front_of_the_means_ends_with_all_its_seeds_or_settled(study):
    searched, record, client = study(noise=0.02, repeats=2)
    before = len(client.computed)
    assert wanted(searched, record)
    ran = repeat_front(searched, record, client)
    assert ran == len(record.repeats) > 0 and not wanted(searched, record)
    seeds = Counter(row["trial"] for row in record.repeats)
    assert max(seeds.values()) <= 2
    for row in record.repeats:
        own = next(r for r in record.rows if r["trial"] == row["trial"])
        config, base = json.loads(row["config"]), json.loads(own["config"])
        assert config == {**base, "seed": base["seed"] + row["repeat"]} and row["seed"] == config["seed"]
        assert (
            row["objective.speed"] == own["objective.speed"]
            and row["valid.Non0_F1_score"] != own["valid.Non0_F1_score"]
        )
    again = [stage.name for stage in client.computed[before:]]
    assert again.count("encode") == len({row["seed"] for row in record.repeats})  # shared by all points with this seed
    assert again.count("evaluate") == ran

    frame = read_results(searched.folder / "results.parquet")
    assert len(frame) == 6 + ran and (frame["repeat"] > 0).sum() == ran
    assert (frame["derived_from"].isna() == (frame["repeat"] == 0)).all()
    front = load(searched.folder).front["trial"].tolist()
    assert sorted(front) == np.flatnonzero(pareto_front(means(record.rows + record.repeats))).tolist()


def test_without_noise_one_further_seed_each_settles_all(study):
    searched, record, client = study(noise=0.0, repeats=3)
    assert repeat_front(searched, record, client) == 6  # all are on the front: slower is better
    assert {row["repeat"] for row in record.repeats} == {1}
    assert not wanted(searched, record)


def test_no_repeats_by_default(study, options):
    assert options.study.repeats == 0
    searched, record, client = study(repeats=0)
    assert not wanted(searched, record) and repeat_front(searched, record, client) == 0


def test_a_later_driver_goes_on_where_repeats_were(study, options):
    searched, record, client = study(noise=0.05, repeats=1)
    first = repeat_front(searched, record, client)
    searched, later, client = study(noise=0.05, repeats=2)
    assert [(r["trial"], r["repeat"]) for r in later.repeats] == [(r["trial"], r["repeat"]) for r in record.repeats]
    assert later.repeats == record.repeats and later.rows == record.rows
    second = repeat_front(searched, later, client)
    names = [(row["trial"], row["point"], row["repeat"]) for row in later.repeats]
    assert len(names) == first + second == len(set(names)) and second > 0


def test_a_seed_that_fails_is_a_row_of_its_own_and_not_tried_again(study):
    searched, record, client = study(noise=0.05, repeats=3)  # the third further seed fails
    repeat_front(searched, record, client)
    failed = [row for row in record.repeats if row["status"] == "failed"]
    assert failed and {row["seed"] for row in failed} == {1114}
    assert failed[0]["error"] == "stage evaluate failed: NonFiniteError: the loss became nan"
    assert len({row["trial"] for row in failed}) == len(failed) and not wanted(searched, record)
    points = load(searched.folder).points.set_index("trial")
    assert points.loc[failed[0]["trial"], "num_seeds"] == 3


def test_when_the_budget_is_over_what_runs_is_left_and_nothing_of_it_kept(study, monkeypatch):
    searched, record, client = study(noise=0.05, repeats=2)
    monkeypatch.setenv("NOISY_SECONDS", "0.5")
    asked, before = [], len(client.computed)
    assert repeat_front(searched, record, client, lambda: asked.append(1) or len(asked) > 2) == 0
    assert len(client.computed) - before <= 2 * 3  # the stages of one run per slot, which cannot be broken off here
    assert len([waiter for waiter in client.left if waiter.startswith("toy-")]) == 2  # one per slot
    assert len(read_results(searched.folder / "results.parquet")) == 6
    assert next_repeat(record, 2, Counter()).number == 1


def test_what_the_user_must_put_right_ends_it_with_its_words(study):
    searched, record, client = study(noise=0.05)

    def compute(stage, waiter, on_progress=None, background=False):
        raise UserError("the toy is broken: repair it")

    client.compute = compute
    with pytest.raises(UserError, match="the toy is broken: repair it"):
        repeat_front(searched, record, client)
