"""What a study's file says of its clips, counted anew."""

import dataclasses
import json

import pytest
import torch
from changed import changed

from imer_ray.config.components import Component, option
from imer_ray.results.schema import Objective, StudyInfo
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.study.data_info import describe

SIZES = {"num_train": 12, "num_valid": 10, "num_test": 8}


@pytest.fixture
def clips(composed):
    """(configuration, data set of ten valid clips): one without a label, two of label 0, three without language."""
    config = changed(composed, data=SIZES)
    dataset = config.data.build().load()
    valid = dataset.splits["valid"]
    labels, recorded = torch.arange(10.0) - 5, torch.ones(10, 3, dtype=torch.bool)
    labels[0], labels[3] = torch.nan, 0.0
    recorded[:3, 0] = False
    valid = dataclasses.replace(valid, labels=labels, recorded=recorded)
    return config, dataclasses.replace(dataset, splits={**dataset.splits, "valid": valid})


def quality(name):
    return objectives(quality=name, speed="latency")[0]


def test_sizes_labels_and_frames_are_those_of_the_data(clips):
    config, dataset = clips
    found = describe(config, dataset, quality("MAE"))
    assert (found.name, found.fingerprint) == ("synthetic", dataset.fingerprint)
    assert found.clips == {"train": 12, "valid": 10, "test": 8}
    assert found.labelled == {"train": 12, "valid": 9, "test": 8}
    assert found.frames == config.encoder.build().length(min(dataset.lengths.values()))


@pytest.mark.parametrize(
    ("metric", "scored"),
    [
        # language alone leaves out clips 0 to 2; Non0 leaves out the labels 0 of clips 3 and 5 as well
        ("MAE", {"l": 7, "a": 9, "v": 9, "la": 9, "lv": 9, "av": 9}),
        ("Non0_F1_score", {"l": 5, "a": 7, "v": 7, "la": 7, "lv": 7, "av": 7}),
        ("l.Has0_acc_2", {"l": 7}),
        ("lav.Non0_acc_2", {"lav": 7}),
        ("worst.MAE", {"l": 7, "a": 9, "v": 9, "la": 9, "lv": 9, "av": 9}),
    ],
)
def test_a_setting_counts_the_labelled_clips_that_recorded_any_of_it(clips, metric, scored):
    assert describe(*clips, quality(metric)).scored == scored


def test_at_missing_rates_it_is_over_those_at_which_something_is_missing(clips):
    config, dataset = clips
    protocol = Component.of({**option("protocol", "random"), "rates": [0.0, 0.3]})
    assert describe(dataclasses.replace(config, protocol=protocol), dataset, quality("MAE")).scored == {"0.3": 9}


def test_it_travels_with_the_results(clips):
    info = StudyInfo(
        study="demo",
        objectives=(
            Objective(name="quality", metric="valid.MAE", label="MAE", reference=3.0),
            Objective(name="speed", metric="nfe", label="NFE", reference=3.0),
        ),
        num_trials=1,
        searcher="tpe",
        space=(),
        data=describe(*clips, quality("MAE")),
    )
    assert StudyInfo.from_json(info.to_json()) == info


@pytest.mark.parametrize(
    "data", ["text", [], {"name": "x"}, {"clips": None}, {"frames": "8"}, {"scored": {"l": 0}}, {"clips": {"a": "b"}}]
)
def test_words_of_data_that_are_none_are_named(clips, data):
    whole = dataclasses.asdict(describe(*clips, quality("MAE")))
    damaged = {**whole, **data} if isinstance(data, dict) and "name" not in data else data
    info = StudyInfo(study="demo", objectives=(), num_trials=1, searcher="tpe", space=())
    text = info.to_json().replace(b'"data": null', b'"data": ' + json.dumps(damaged).encode())
    with pytest.raises((ValueError, TypeError, KeyError)):
        StudyInfo.from_json(text)
