"""Predictive distributions of a model: its draws are those that its predictions average, and no clip's score knows its
own label."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch
from experiments import experiment
from pattern_models import clips, model_of

from imer_ray.config.components import build, option
from imer_ray.data.dataset import Dataset, Split
from imer_ray.data.missing import PATTERNS
from imer_ray.evaluation.forecasts import Forecasts, clip_metrics, halves
from imer_ray.evaluation.metrics import PREDICTIVE_METRICS
from imer_ray.evaluation.predict import Inference, draw_protocol, predict_protocol, predictor

NUM_CLIPS, NUM_DRAWS = 60, 3
FIXED = build(option("protocol", "fixed"))


def dataset(size: int = NUM_CLIPS, label_kind: str = "regression") -> Dataset:
    batch = clips(size)
    labels = torch.linspace(-2, 2, size)
    labels[::7] = torch.nan
    gather = {m: functools.partial(torch.index_select, x, 0) for m, x in batch.features.items()}
    split = Split(gather, batch.frames, batch.recorded, labels)
    return Dataset(
        dims={m: x.shape[2] for m, x in batch.features.items()},
        lengths={m: x.shape[1] for m, x in batch.features.items()},
        label_kind=label_kind,
        fingerprint="clips",
        splits={"valid": split, "test": split},
        statistics={m: (torch.zeros(x.shape[2]), torch.ones(x.shape[2])) for m, x in batch.features.items()},
    )


@pytest.fixture(scope="module")
def world():
    """A model that draws, its inference, and its answers for clips under all patterns."""
    model, _ = model_of("diffusion.sampler=euler_maruyama")
    config = experiment("diffusion.sampler=euler_maruyama", f"diffusion.num_draws={NUM_DRAWS}", "diffusion.num_steps=2")
    inference = Inference.of(config, config.diffusion)
    return model, inference, draw_protocol(model, dataset(), "valid", FIXED, inference, 0, "cpu")


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_draws_are_what_predictions_average_to_the_last_bit(world, precision):
    model, _, _ = world
    config = experiment(f"diffusion.num_draws={NUM_DRAWS}", f"precision={precision}")
    inference = Inference.of(config, config.diffusion)
    drawn = draw_protocol(model, dataset(), "valid", FIXED, inference, 0, "cpu")
    predicted = predict_protocol(model, dataset(), "valid", FIXED, inference, 0, "cpu")
    for pattern in PATTERNS:
        assert torch.equal(drawn[pattern].mean, predicted[pattern])
        assert torch.equal(drawn[pattern].mean, predictor(model, inference, pattern, 0)(clips(NUM_CLIPS)))
        atol = 1e-6 if precision == "fp32" else 0.05
        torch.testing.assert_close(drawn[pattern].draws.mean(1), drawn[pattern].mean, atol=atol, rtol=0.01)


def test_draws_differ_where_something_is_recovered_and_are_the_prediction_where_nothing_is(world):
    for pattern, (mean, draws) in world[2].items():
        assert draws.shape == (NUM_CLIPS, NUM_DRAWS)
        if pattern == "lav":
            assert torch.equal(draws, mean[:, None].expand(-1, NUM_DRAWS))
        else:
            assert (draws.std(1) > 0).all()


def forecasts(world):
    return Forecasts.of(world[2], dataset(), "valid", FIXED, 0)


def test_the_halves_split_the_labelled_clips_evenly_and_are_always_the_same():
    labels = dataset().labels("valid")
    first, known = halves(labels), ~labels.isnan()
    assert abs(int((first & known).sum()) - int((~first & known).sum())) <= 1
    assert torch.equal(first, halves(-labels))


def test_a_clip_s_label_has_no_part_in_the_scale_that_it_is_scored_with():
    """Other labels of the first half leave its scales as they were, and change those of the second half."""
    n = 200
    draws = torch.randn(n, NUM_DRAWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first = halves(draws[:, 0])
    labels = draws[:, 0] + 0.5
    other = torch.where(first, draws[:, 0] + 2.0, labels)
    available = {"la": PATTERNS["la"].expand(n, 3)}
    before, after = (Forecasts(y, available, {"la": draws}) for y in (labels, other))
    found, old = after.cross_fitted_metrics()["la"], before.cross_fitted_metrics()["la"]
    by_old_scales = after.metrics(before.scales(~first))["la"]
    for name in ("CRPS", "NLL"):
        torch.testing.assert_close(found[name][first], by_old_scales[name][first])
        assert ((found[name] - old[name])[~first].abs() > 1e-3).all()


def test_every_labelled_clip_is_scored_and_no_other(world):
    found = clip_metrics(world[2], world[0], dataset(), "valid", FIXED, world[1], 0, "cpu")
    known = ~dataset().labels("valid").isnan()
    assert found.keys() == PATTERNS.keys()
    for of_setting in found.values():
        assert of_setting.keys() == set(PREDICTIVE_METRICS)
        for values in of_setting.values():
            assert torch.equal(values.isfinite(), known)


def test_labels_that_follow_the_distribution_are_covered_as_often_as_it_says():
    """Under one setting are clips of two patterns, each with noise of its own."""
    n, generator = 8000, torch.Generator().manual_seed(2)
    draws = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    loud = torch.arange(n) % 2 == 0
    scale = torch.where(loud, 1.0, 0.3)
    labels = draws[:, 0] + scale * torch.randn(n, generator=generator, dtype=torch.float64)
    available = torch.where(loud[:, None], PATTERNS["l"], PATTERNS["av"])
    found = Forecasts(labels, {"0.5": available}, {"0.5": draws}).cross_fitted_metrics()["0.5"]
    for clips_of in (loud, ~loud):
        for name, share in (("PICP_50", 0.5), ("PICP_90", 0.9)):
            error = math.sqrt(share * (1 - share) / (n / 2))
            assert float(found[name][clips_of].mean()) == pytest.approx(share, abs=4 * error)


def test_a_rare_pattern_has_the_scale_of_all_together(world):
    made = forecasts(world)
    few = torch.zeros(NUM_CLIPS, dtype=torch.bool)
    few[1:6] = True
    scales = made.scales(few)
    assert scales is not None and not scales.own
    assert made.scales(~few).own.keys() == PATTERNS.keys()


def test_a_test_split_has_the_scales_of_all_validation_clips(world):
    found = clip_metrics(world[2], world[0], dataset(), "test", FIXED, world[1], 0, "cpu")
    made = forecasts(world)
    expected = made.metrics(made.scales(torch.ones(NUM_CLIPS, dtype=torch.bool)))
    for setting in PATTERNS:
        torch.testing.assert_close(found[setting]["CRPS"], expected[setting]["CRPS"], equal_nan=True)


def test_there_are_none_of_binary_labels_and_none_without_labels_to_learn_from(world):
    model, inference, drawn = world
    assert clip_metrics(drawn, model, dataset(label_kind="binary"), "valid", FIXED, inference, 0, "cpu") == {}
    nothing = torch.full((NUM_CLIPS,), torch.nan)
    assert replace(forecasts(world), labels=nothing).cross_fitted_metrics() == {}
