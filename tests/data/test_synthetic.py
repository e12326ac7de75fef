"""Synthetic clips: repeatable, of MOSI's difficulty, with a Bayes optimum that nobody beats and zero-filling misses."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from imer_ray.data.missing import MODALITIES, PATTERNS
from imer_ray.data.missing_frames import Frames
from imer_ray.data.synthetic import LABEL_LIMIT, Synthetic
from imer_ray.evaluation.metrics import metrics

SMALL = Synthetic(num_train=300, num_valid=50, num_test=60)
NUM_TEST = 10_000


@pytest.fixture(scope="module")
def large():
    """A large test split: its batch, and the Bayes predictions under every pattern."""
    data = Synthetic(num_test=NUM_TEST)
    dataset, oracle = data.load(), data.oracle()
    batch = dataset.batch("test", torch.arange(NUM_TEST))
    bayes = {name: oracle.predict(batch, mask.expand(NUM_TEST, 3)) for name, mask in PATTERNS.items()}
    return dataset, oracle, batch, bayes


def same(a, b):
    return all(torch.equal(a.features[m], b.features[m]) for m in MODALITIES) and torch.equal(a.labels, b.labels)


def acc2(predictions, labels):
    return metrics(predictions, labels)["Non0_acc_2"]


def test_shapes_and_sizes_follow_mosi():
    dataset = Synthetic().load()
    assert [dataset.size(split) for split in ("train", "valid", "test")] == [1284, 229, 686]
    assert dataset.label_kind == "regression"
    batch = dataset.batch("valid", [3, 1])
    for m in MODALITIES:
        assert batch.features[m].shape == (2, dataset.lengths[m], dataset.dims[m])
        assert batch.features[m].dtype == torch.float32 and batch.frames[m].all()
    assert batch.recorded.all() and batch.index.tolist() == [3, 1]
    assert dataset.labels("train").abs().max() <= LABEL_LIMIT


def test_features_are_standardised_with_the_training_clips():
    dataset = SMALL.load()
    batch = dataset.batch("train", torch.arange(300))
    for m in MODALITIES:
        flat = batch.features[m].flatten(0, 1).double()
        torch.testing.assert_close(flat.mean(0), torch.zeros(dataset.dims[m]).double(), atol=1e-6, rtol=0)
        torch.testing.assert_close(flat.std(0, correction=0), torch.ones(dataset.dims[m]).double(), atol=1e-6, rtol=0)


def test_the_same_settings_give_the_same_clips_and_a_larger_test_changes_nothing_else():
    dataset, again = SMALL.load(), dataclasses.replace(SMALL, num_test=2500).load()
    for split, count in (("train", 300), ("valid", 50), ("test", 60)):
        rows = torch.arange(count)
        assert same(dataset.batch(split, rows), again.batch(split, rows)), split
    assert again.size("test") == 2500


def test_batches_follow_the_given_order():
    dataset = SMALL.load()
    whole, part = dataset.batch("test", torch.arange(60)), dataset.batch("test", [7, 3, 7])
    assert torch.equal(part.features["a"], whole.features["a"][[7, 3, 7]])
    assert torch.equal(part.labels, whole.labels[[7, 3, 7]])


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Synthetic)])
def test_every_setting_changes_the_fingerprint(field):
    value = getattr(SMALL, field)
    others = {"warp": "triangular"}
    other = tuple(v / 2 for v in value) if isinstance(value, tuple) else others.get(field) or value + 1
    assert dataclasses.replace(SMALL, **{field: other}).fingerprint() != SMALL.fingerprint()
    assert dataclasses.replace(SMALL).fingerprint() == SMALL.fingerprint()


def test_seeds_change_the_clips_and_the_world_only_where_signals_lie():
    base, other_clips, other_world = (dataclasses.replace(SMALL, **kw) for kw in ({}, {"seed": 1}, {"world_seed": 1}))
    assert not torch.equal(base.clips("test")[1], other_clips.clips("test")[1])
    assert torch.equal(base.clips("test")[1], other_world.clips("test")[1])
    assert not torch.allclose(base.clips("test")[0]["l"], other_world.clips("test")[0]["l"])
    odds = []
    for data in (base, other_world):
        batch = data.load().batch("test", torch.arange(60))
        odds.append(data.oracle().predict(batch, PATTERNS["la"].expand(60, 3)).positive)
    # The same clips with other frame noise, which is small beside the private factors.
    assert np.corrcoef(*odds)[0, 1] > 0.98


@pytest.mark.parametrize(
    "change",
    [
        {"num_train": 0},
        {"dim_a": 2},
        {"twisted": (0.5, 0.3, 0.2)},
        {"twisted": (0.1, 0.1)},
        {"clarity": (1.0, -1.0, 1.0)},
        {"clue": 0.0},
        {"frame_noise": -1.0},
        {"warp": "spline"},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Synthetic(**change)


def test_bayes_accuracy_is_of_mosi_s_size(large):
    _, _, batch, bayes = large
    found = {name: acc2(prediction.median, batch.labels) for name, prediction in bayes.items()}
    for name, (low, high) in {"lav": (0.86, 0.89), "l": (0.79, 0.83), "a": (0.66, 0.73), "v": (0.66, 0.73)}.items():
        assert low < found[name] < high, found


@pytest.mark.parametrize("name", PATTERNS)
def test_the_oracle_is_calibrated(large, name):
    """Of a Bayes predictor the accuracy is E max(p, 1 - p), and in each range of p the share of positives is p."""
    _, _, batch, bayes = large
    p, positive = bayes[name].positive.numpy(), batch.labels.numpy() > 0
    error = np.sqrt(0.25 / NUM_TEST)
    assert abs(((p > 0.5) == positive).mean() - np.maximum(p, 1 - p).mean()) < 4 * error
    for low in np.arange(0, 1, 0.2):
        inside = (p >= low) & (p < low + 0.2)
        assert abs(positive[inside].mean() - p[inside].mean()) < 4 * np.sqrt(0.25 / inside.sum())
    assert ((bayes[name].median > 0).numpy() == (p > 0.5)).all()


def test_the_median_has_the_least_mae_and_the_mean_the_least_squared_error(large):
    _, _, batch, bayes = large
    y = batch.labels.double()
    for prediction in bayes.values():
        assert (prediction.median - y).abs().mean() < (prediction.mean - y).abs().mean()
        assert (prediction.mean - y).square().mean() < (prediction.median - y).square().mean()


def test_another_modality_never_hurts_the_optimum(large):
    bayes = {name: torch.maximum(p.positive, 1 - p.positive).mean() for name, p in large[3].items()}
    for fewer in PATTERNS:
        for more in PATTERNS:
            if set(fewer) < set(more):
                assert bayes[fewer] < bayes[more], (fewer, more)


@pytest.mark.parametrize("name", ["l", "a", "v", "la", "lv", "av"])
def test_expected_features_leave_an_error_that_the_available_ones_do_not_explain(large, name):
    _, oracle, batch, _ = large
    available = PATTERNS[name].expand(NUM_TEST, 3)
    seen = torch.cat([batch.features[m].mean(1) for m in name], 1).double()
    for m in set(MODALITIES) - set(name):
        error = (batch.features[m].double() - oracle.expected_features(m, batch, available)).mean(1)
        # Any function of what is available will do; squares see the manner of speaking.
        for function in (torch.ones(NUM_TEST, 1).double(), seen, seen.square()):
            products = error[:, :, None] * function[:, None, :]
            z = products.mean(0) / (products.std(0) / NUM_TEST**0.5)
            assert z.abs().max() < 5, (m, float(z.abs().max()))
    for m in name:
        assert torch.equal(oracle.expected_features(m, batch, available), batch.features[m].double())


def test_rows_of_a_batch_may_have_different_patterns(large):
    dataset, oracle, _, bayes = large
    batch = dataset.batch("test", torch.arange(7))
    mixed = oracle.predict(batch, torch.stack(list(PATTERNS.values())))
    one_by_one = torch.stack([bayes[name].positive[i] for i, name in enumerate(PATTERNS)])
    torch.testing.assert_close(mixed.positive, one_by_one, rtol=1e-9, atol=1e-12)
    nothing = oracle.predict(batch, torch.zeros(7, 3, dtype=torch.bool))
    torch.testing.assert_close(nothing.positive, torch.full((7,), 0.5).double())


def test_raw_and_standardised_features_are_one_another_s_inverse():
    dataset, oracle = SMALL.load(), SMALL.oracle()
    x = dataset.batch("test", torch.arange(60)).features["v"]
    torch.testing.assert_close(oracle.raw("v", x).flatten(1), SMALL.clips("test")[0]["v"], atol=1e-5, rtol=0)
    torch.testing.assert_close(oracle.standardise("v", oracle.raw("v", x)), x.double())


def test_zeros_for_a_missing_modality_cost_points_and_expected_features_win_them_back(large):
    """The room that recovery has to show itself, with a network trained on complete clips only."""
    dataset, oracle, batch, bayes = large
    train = dataset.batch("train", torch.arange(dataset.size("train")))
    torch.manual_seed(0)
    sizes = [sum(dataset.dims[m] * dataset.lengths[m] for m in MODALITIES), 64, 64, 1]
    net = nn.Sequential(
        nn.Linear(*sizes[:2]), nn.ReLU(), nn.Dropout(0.2), nn.Linear(*sizes[1:3]), nn.ReLU(), nn.Linear(*sizes[2:])
    )

    def flat(features):
        return torch.cat([features[m].flatten(1).float() for m in MODALITIES], 1)

    optimiser, inputs = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.1), flat(train.features)
    for _ in range(20):
        for rows in torch.randperm(len(inputs)).split(64):
            optimiser.zero_grad()
            (net(inputs[rows])[:, 0] - train.labels[rows]).abs().mean().backward()
            optimiser.step()
    net.eval()
    for name in ("la", "lv", "av"):
        available = PATTERNS[name].expand(NUM_TEST, 3)
        filled = {m: oracle.expected_features(m, batch, available) for m in MODALITIES}
        zeros = {m: batch.features[m] * (m in name) for m in MODALITIES}
        with torch.no_grad():
            zero, recovered = (acc2(net(flat(features))[:, 0], batch.labels) for features in (zeros, filled))
        optimum = acc2(bayes[name].median, batch.labels)
        assert optimum - zero > 0.03, (name, zero, optimum)
        assert recovered - zero > (optimum - zero) / 3, (name, zero, recovered, optimum)


def test_the_oracle_reads_only_the_frames_that_are_there(large):
    dataset, oracle, batch, _ = large
    rows = torch.arange(2000)
    left = dataset.under(Frames(kind="blocks"), "0.7", "test", 1).batch("test", rows)
    everything = PATTERNS["lav"].expand(2000, 3)
    found = oracle.predict(left, everything)
    spoilt = {m: x.masked_fill(~left.frames[m][..., None], 1e6) for m, x in left.features.items()}
    assert torch.equal(oracle.predict(dataclasses.replace(left, features=spoilt), everything).median, found.median)
    whole = oracle.predict(batch.select(rows), everything)
    assert (
        torch.maximum(found.positive, 1 - found.positive).mean()
        < torch.maximum(whole.positive, 1 - whole.positive).mean()
    )
    gone = {**left.frames, "v": torch.zeros(2000, 8, dtype=torch.bool)}
    without = oracle.predict(dataclasses.replace(left, frames=gone), everything)
    torch.testing.assert_close(without.mean, oracle.predict(left, PATTERNS["la"].expand(2000, 3)).mean)


def test_the_oracle_is_calibrated_where_frames_are_missing():
    """Noise strong enough that every frame counts; as for missing modalities above."""
    num_clips = 4000
    data = Synthetic(num_train=300, num_valid=20, num_test=num_clips, frame_noise=4.0)
    left = data.load().under(Frames(), "0.8", "test", 1).batch("test", torch.arange(num_clips))
    p, positive = data.oracle().predict(left, left.recorded).positive.numpy(), left.labels.numpy() > 0
    error = np.sqrt(0.25 / num_clips)
    assert abs(((p > 0.5) == positive).mean() - np.maximum(p, 1 - p).mean()) < 4 * error
    for low in np.arange(0, 1, 0.2):
        inside = (p >= low) & (p < low + 0.2)
        assert abs(positive[inside].mean() - p[inside].mean()) < 4 * np.sqrt(0.25 / inside.sum())


def test_expected_frames_leave_an_error_that_the_frames_that_are_there_do_not_explain(large):
    dataset, oracle, _, _ = large
    rows = torch.arange(4000)
    whole, left = dataset.batch("test", rows), dataset.under(Frames(), "0.5", "test", 1).batch("test", rows)
    for i, m in enumerate(MODALITIES):
        expected = oracle.expected_features(m, left, left.recorded)
        there = left.frames[m]
        assert torch.equal(expected[there].float(), left.features[m][there])
        error = (whole.features[m] - expected)[~there]
        assert error.square().mean() < 0.6 * whole.features[m][~there].square().mean(), i
        known = (left.features[m].sum(1) / there.sum(1, keepdim=True))[:, None].expand_as(expected)[~there]
        # Errors of a clip's frames go together, so that a clip counts once.
        z = (error * known).mean() / (error * known).std() * np.sqrt(len(error) / 8)
        assert abs(z) < 5
