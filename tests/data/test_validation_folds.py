"""Other validation clips: each clip is for validation once, nothing of a clip changes, and no statistics see them."""

import functools
from dataclasses import replace

import pytest
import torch

from imer_ray.data.dataset import SPLITS, Split, standardisation
from imer_ray.data.missing import MODALITIES
from imer_ray.data.synthetic import Synthetic
from imer_ray.data.validation_folds import num_folds, with_fold
from imer_ray.errors import UserError

FOLDS = range(1, 6)


def named(dataset):
    """The data set, each clip with a label of its own."""
    sizes, first = [dataset.size(split) for split in SPLITS], 0
    splits = {}
    for split, size in zip(SPLITS, sizes, strict=True):
        splits[split] = replace(dataset.splits[split], labels=torch.arange(first, first + size, dtype=torch.float32))
        first += size
    return replace(dataset, splits=splits)


DATA = named(Synthetic(num_train=53, num_valid=10, num_test=4, num_frames=3).load())


def labels(dataset, split):
    return dataset.labels(split).tolist()


def test_every_fold_has_other_clips_and_all_others_are_for_training():
    assert num_folds(DATA) == 6
    everything = sorted(labels(DATA, "train") + labels(DATA, "valid"))
    held_out = labels(DATA, "valid")
    for fold in FOLDS:
        changed = with_fold(DATA, fold)
        assert labels(changed, "valid") == labels(DATA, "train")[10 * (fold - 1) : 10 * fold]
        assert sorted(labels(changed, "train") + labels(changed, "valid")) == everything
        assert labels(changed, "test") == labels(DATA, "test")
        held_out += labels(changed, "valid")
    assert len(set(held_out)) == len(held_out) == 60


@pytest.mark.parametrize("fold", FOLDS)
def test_a_clip_keeps_its_features_and_is_standardised_by_those_it_is_not_scored_with(fold):
    changed = with_fold(DATA, fold)
    where = {label: ("train", i) for i, label in enumerate(labels(DATA, "train"))}
    where |= {label: ("valid", i) for i, label in enumerate(labels(DATA, "valid"))}
    rows = torch.tensor([20, 0, 52, 44])  # in an order of their own, from both parts
    own = changed.batch("train", rows)
    for m in MODALITIES:
        raw = torch.stack(
            [
                DATA.splits[split].gather[m](torch.tensor([row]))[0]
                for split, row in (where[label] for label in changed.labels("train")[rows].tolist())
            ]
        )
        everything = changed.splits["train"].gather[m](torch.arange(53))
        mean, std = standardisation(everything.double().reshape(-1, everything.shape[-1]))
        torch.testing.assert_close(changed.statistics[m][0], mean)
        torch.testing.assert_close(own.features[m], ((raw - mean) / std).float())
    assert own.index.tolist() == rows.tolist()


def test_frames_and_modalities_that_were_not_recorded_are_no_part_of_the_statistics():
    recorded = torch.ones(4, 3, dtype=torch.bool)
    recorded[1, 1] = False
    frames = {m: torch.ones(4, 2, dtype=torch.bool) for m in MODALITIES}
    frames["l"] = torch.tensor([[1, 0]] * 4, dtype=torch.bool)
    x = {m: torch.randn(4, 2, 1, generator=torch.Generator().manual_seed(i)) for i, m in enumerate(MODALITIES)}
    gather = {m: functools.partial(torch.index_select, x[m], 0) for m in MODALITIES}
    split = Split(gather, frames, recorded, torch.arange(4.0))
    small = Synthetic(num_train=4, num_valid=4, num_test=4, dim_l=3).load()
    dataset = type(small)(
        dims=dict.fromkeys(MODALITIES, 1),
        lengths=dict.fromkeys(MODALITIES, 2),
        label_kind="regression",
        fingerprint="",
        splits={"train": split, "valid": split, "test": split},
        statistics=small.statistics,
    )
    found = with_fold(dataset, 1).statistics
    torch.testing.assert_close(found["l"], standardisation(x["l"][:, 0].double()))
    torch.testing.assert_close(found["a"], standardisation(x["a"][[0, 2, 3]].double().reshape(-1, 1)))


@pytest.mark.parametrize("fold", [-1, 6])
def test_a_fold_that_is_none_is_refused_with_those_that_there_are(fold):
    with pytest.raises(UserError, match=rf"validation_fold={fold}: .* there are the folds 0 to 5"):
        with_fold(DATA, fold)


def test_fold_0_is_the_data_sets_own():
    assert with_fold(DATA, 0) is DATA
