"""Picks compared on further validation clips: which evaluations, how often, and what the study then knows of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from imer_ray.results.study import load
from imer_ray.stages.store import Store
from imer_ray.tuning.replication.folds import compare_picks, missing
from imer_ray.tuning.study.cross_validation import cross_validated, evaluations
from imer_ray.tuning.study.results_file import write
from imer_ray.tuning.study.uncertainty import on_folds

METRIC = "valid.Non0_F1_score"


@pytest.fixture
def searched(study):
    """The plan of a study whose trials are done and written, and who computes stages."""
    plan, record, client = study(noise=0.02, repeats=0)
    write(plan, record)
    return plan, client


def configs(client):
    return [stage.config for stage in client.computed if stage.name == "evaluate"]


def test_every_pick_is_evaluated_once_on_every_further_fold(searched):
    plan, client = searched
    before, picks = len(configs(client)), load(plan.folder).picks
    wanted = missing(plan)
    assert [stage.config["fold"] for stage in wanted] == sorted([*range(1, 6)] * len(picks))
    assert compare_picks(plan, client) == 5 * len(picks) == len(configs(client)) - before
    steps = {json.loads(load(plan.folder).points.loc[i, "config"])["diffusion"]["num_steps"] for i in picks.values()}
    assert {(one["num_steps"], one["fold"]) for one in configs(client)[before:]} == {
        (number, fold) for number in steps for fold in range(1, 6)
    }
    assert missing(plan) == [] and compare_picks(plan, client) == 0


def test_differences_are_students_over_folds_that_did_not_choose(searched):
    plan, client = searched
    compare_picks(plan, client)
    (plan.folder / "baselines.json").unlink(missing_ok=True)
    found = cross_validated(plan, load(plan.folder), Store(plan.stages))
    assert found.num_clips == 5 * 229 and all(list(folds) == [1, 2, 3, 4, 5] for folds in found.picks.values())
    known = on_folds(found, next(iter(found.picks)))
    pair = known["pairs"][0]
    first, second = (np.array(list(found.picks[name].values())) for name in (pair.first, pair.second))
    test = stats.ttest_rel(first, second)
    assert pair.difference == pytest.approx(test.statistic * stats.sem(first - second))
    assert pair.is_told_apart == (3 * test.pvalue < 0.05 or test.pvalue < 0.05 / len(known["pairs"]))
    assert (known["num_folds"], known["num_clips"], known["rivals"]) == (5, 1145, ())


def test_a_fold_that_fails_is_left_out_of_all_picks(searched, monkeypatch, capsys):
    plan, client = searched
    monkeypatch.setenv("NOISY_BROKEN_FOLD", "2")
    picks = load(plan.folder).picks
    assert compare_picks(plan, client) == 4 * len(picks)
    assert capsys.readouterr().out.count("failed and is left out") == len(picks)
    found = cross_validated(plan, load(plan.folder), Store(plan.stages))
    assert all(list(folds) == [1, 3, 4, 5] for folds in found.picks.values()) and found.num_clips == 4 * 229


def test_when_the_budget_is_over_it_ends(searched):
    plan, client = searched
    before = len(client.computed)
    assert compare_picks(plan, client, lambda: True) == 0 and len(client.computed) == before
    assert cross_validated(plan, load(plan.folder), Store(plan.stages)) is None


def test_data_without_further_folds_are_not_compared_on_any(searched):
    plan, _ = searched
    base = {**plan.base, "data": {**plan.base["data"], "num_train": 300}}
    assert len(next(iter(evaluations(plan, load(plan.folder)).values()))) == 5
    assert evaluations(replace(plan, base=base), load(plan.folder)) == {}
