"""Each objective is minimised, in the direction people mean, from a reference point that no data move."""

import dataclasses
import math

import pytest

from imer_ray.config.commands import StudyConfig
from imer_ray.errors import UserError
from imer_ray.evaluation.metrics import REGRESSION_METRICS, TWO_CLASS_METRICS
from imer_ray.tuning.objectives.objectives import NotMeasured, minimised, objectives

SPEEDS = next(f for f in dataclasses.fields(StudyConfig) if f.name == "speed").metadata["choices"]
QUALITIES = (*TWO_CLASS_METRICS, *REGRESSION_METRICS, "CRPS", "NLL")
WORSE = {"speedup_vs_imder": 10.0, "speedup_vs_imder_b1": 7.0, "flops_per_clip": 1e9, "nfe": 50.0}
BETTER = {"speedup_vs_imder": 90.0, "speedup_vs_imder_b1": 70.0, "flops_per_clip": 1e7, "nfe": 2.0}


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("quality", QUALITIES)
def test_what_is_better_is_less_and_what_is_useful_is_below_the_reference(quality, speed):
    wanted = objectives(quality=quality, speed=speed)
    good, bad = (0.4, 1.2) if quality in ("MAE", "CRPS", "NLL") else (0.9, 0.6)
    better = minimised({**BETTER, f"valid.{quality}": good}, wanted)
    worse = minimised({**WORSE, f"valid.{quality}": bad}, wanted)
    for b, w, objective in zip(better, worse, wanted, strict=True):
        assert b < w < objective.reference
        assert objective.direction == "minimize"


def test_the_numbers_are_those_of_the_formulas():
    wanted = objectives(quality="Non0_F1_score", speed="latency")
    assert minimised({"valid.Non0_F1_score": 0.8, "speedup_vs_imder": 100.0}, wanted) == pytest.approx((0.2, -2.0))
    assert [objective.reference for objective in wanted] == [0.5, 0.0]
    nfe = objectives(quality="MAE", speed="nfe")
    assert minimised({"valid.MAE": 0.7, "nfe": 0.0}, nfe) == pytest.approx((0.7, 0.0))
    assert nfe[1].reference == pytest.approx(math.log10(101))  # IMDer's hundred steps
    flops = objectives(quality="Corr", speed="flops")
    assert minimised({"valid.Corr": 0.25, "flops_per_clip": 1e6}, flops) == pytest.approx((0.75, 6.0))


def test_a_single_setting_of_the_protocol_can_be_the_quality():
    wanted = objectives(quality="la.Non0_F1_score", speed="latency")
    assert minimised({"valid.la.Non0_F1_score": 0.9, "speedup_vs_imder": 1.0}, wanted) == pytest.approx((0.1, 0.0))


@pytest.mark.parametrize("summary", ["worst", "AUILC"])
def test_a_summary_of_the_settings_can_be_the_quality(summary):
    wanted = objectives(quality=f"{summary}.MAE", speed="latency")
    assert minimised({f"valid.{summary}.MAE": 1.2, "speedup_vs_imder": 10.0}, wanted) == pytest.approx((1.2, -1.0))
    assert wanted[0].label == f"{summary}.MAE"


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"speedup_vs_imder": 2.0}, "valid.Non0_F1_score was not measured"),
        ({"valid.Non0_F1_score": 0.5}, "speedup_vs_imder was not measured"),
        ({"valid.Non0_F1_score": math.nan, "speedup_vs_imder": 2.0}, "valid.Non0_F1_score is nan"),
        ({"valid.Non0_F1_score": math.inf, "speedup_vs_imder": 2.0}, "valid.Non0_F1_score is inf"),
        ({"valid.Non0_F1_score": 0.5, "speedup_vs_imder": 0.0}, "speedup_vs_imder is 0.0"),
        ({"valid.Non0_F1_score": 0.5, "speedup_vs_imder": -1.0}, "speedup_vs_imder is -1.0"),
    ],
)
def test_what_was_not_measured_is_no_objective(metrics, message):
    with pytest.raises(NotMeasured, match=message):
        minimised(metrics, objectives(quality="Non0_F1_score", speed="latency"))


def test_further_objectives_stand_behind_quality_and_speed():
    wanted = objectives("Non0_F1_score", "latency", ["num_parameters", "latency_b1", "CRPS", "worst", "AUILC"])
    names = ["quality", "speed", "num_parameters", "latency_b1", "CRPS", "worst.Non0_F1_score", "AUILC.Non0_F1_score"]
    assert [objective.name for objective in wanted] == names
    assert [objective.column for objective in wanted] == [f"objective.{name}" for name in names]
    of_metric = {"Non0_F1_score": 0.8, "CRPS": 0.6, "worst.Non0_F1_score": 0.7, "AUILC.Non0_F1_score": 0.75}
    row = {"speedup_vs_imder": 10.0, "speedup_vs_imder_b1": 100.0, "num_parameters": 1e6}
    found = minimised({**row, **{f"valid.{name}": value for name, value in of_metric.items()}}, wanted)
    assert found == pytest.approx((0.2, -1.0, 6.0, -2.0, 0.6, 0.3, 0.25))
    assert [objective.reference for objective in wanted] == [0.5, 0.0, 8.0, 0.0, 3.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("also", "message"),
    [
        (["num_parameter"], "study.also=num_parameter: unknown metric; did you mean num_parameters"),
        (["latency"], "study.also=latency: speedup_vs_imder is an objective already; leave it out"),
        (["CRPS", "CRPS"], "study.also=CRPS: valid.CRPS is an objective already"),
    ],
)
def test_a_further_objective_must_be_one_and_new(also, message):
    with pytest.raises(UserError, match=message):
        objectives("Non0_F1_score", "latency", also)


@pytest.mark.parametrize("name", ["Non0_F1", "l.Non0_F1_scor"])
def test_an_unknown_metric_is_named(name):
    with pytest.raises(UserError, match=f"study.quality={name}: unknown metric; did you mean Non0_F1_score"):
        objectives(quality=name, speed="latency")
