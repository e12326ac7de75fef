import json
from pathlib import Path

import numpy as np
import pytest

from imer_ray.results.pareto import pareto_front
from imer_ray.results.schema import Objective, UserError, read_results
from imer_ray.results.study import QUALITY, SPEED, load, of_frame


@pytest.fixture(scope="module")
def study(run):
    return load(run)


def test_points_are_the_complete_ones_in_the_order_they_finished(study):
    assert set(study.points["status"]) == {"complete"}
    assert len(study.points) == (study.frame["status"] == "complete").sum() > 40
    assert study.points["finished"].is_monotonic_increasing


def test_front_runs_from_quality_to_speed_and_holds_the_picks(study):
    assert len(study.front) == pareto_front(study.points[[QUALITY, SPEED]]).sum()
    assert study.front["valid.Non0_F1_score"].is_monotonic_decreasing
    assert study.front["speedup_vs_imder"].is_monotonic_increasing
    assert list(study.picks) == ["quality", "knee", "speed"]
    assert study.picks["quality"] == study.points["valid.Non0_F1_score"].idxmax()
    assert study.picks["speed"] == study.points["speedup_vs_imder"].idxmax()


def test_one_point_is_quality_pick_only(tmp_path, write_run):
    study = load(write_run(tmp_path, 1, statuses=("complete",)))
    assert list(load(write_run(tmp_path, rows=[study_row(study)])).picks) == ["quality"]


def study_row(study):
    row = study.points.iloc[0].drop(["rank", "num_seeds"]).to_dict()
    return {
        k: v.to_pydatetime() if k in ("started", "finished") else v for k, v in row.items() if v == v and v is not None
    }


def test_settings_are_the_searched_ones_in_the_spaces_order(tmp_path, write_run):
    study = load(
        write_run(tmp_path, 12, space=("loss.recovery", "seed.never.searched", "diffusion.sde", "diffusion.num_steps"))
    )
    assert study.settings == ("loss.recovery", "diffusion.sde", "diffusion.num_steps")


def test_patterns_stand_in_the_protocols_order(study):
    assert list(study.patterns) == ["l", "a", "v", "la", "lv", "av", "lav"]
    assert study.patterns["av"] == "valid.av.Non0_F1_score" and not study.at_rates
    assert study.quality.label == "mean Non0 F1 over missing patterns (valid)"


def test_missing_rates_are_told_from_patterns(tmp_path, write_run, rows_of):
    rows = [
        {k.replace(".la.", ".0.1.").replace(".l.", ".0.0.").replace(".lav.", ".0.7."): v for k, v in row.items()}
        for row in rows_of(3)
    ]
    rows = [{k: v for k, v in row.items() if not k.startswith(("valid.a", "valid.v", "valid.lv"))} for row in rows]
    study = load(write_run(tmp_path, rows=rows))
    assert list(study.patterns) == ["0.0", "0.1", "0.7"] and study.at_rates
    assert study.quality.label == "mean Non0 F1 over missing rates (valid)"


@pytest.mark.parametrize(
    ("summary", "label"),
    [
        ("worst", "worst Non0 F1 over missing patterns (valid)"),
        ("AUILC", "area under the Non0 F1 over missing rates (valid)"),
    ],
)
def test_a_summary_of_the_settings_is_none_of_them(tmp_path, write_run, rows_of, summary, label):
    column = f"valid.{summary}.Non0_F1_score"
    rows = [{**row, column: row["valid.l.Non0_F1_score"]} for row in rows_of(3)]
    objectives = (
        Objective(name="quality", metric=column, label=f"1 - {summary}.Non0_F1_score", reference=0.5),
        Objective(name="speed", metric="nfe", label="NFE", reference=2.0),
    )
    study = load(write_run(tmp_path, rows=rows, objectives=objectives))
    assert list(study.patterns) == ["l", "a", "v", "la", "lv", "av", "lav"]
    assert study.quality.label == label and study.quality.column == column


def test_quality_in_one_setting_and_speed_in_flops(tmp_path, write_run):
    objectives = (
        Objective(name="quality", metric="valid.a.Non0_F1_score", label="1 - a.Non0_F1_score", reference=0.5),
        Objective(name="speed", metric="flops_per_clip", label="log10(FLOPs per clip)", reference=11.0),
    )
    study = load(write_run(tmp_path, 3, objectives=objectives))
    assert study.quality.label == "Non0 F1 with only a available (valid)" and study.quality.higher_is_better
    assert study.speed.column == "flops_per_clip" and study.speed.log and not study.speed.higher_is_better
    assert list(study.patterns) == ["l", "a", "v", "la", "lv", "av", "lav"]


def test_mean_absolute_error_is_better_low(tmp_path, write_run, run):
    mae = Objective(name="quality", metric="valid.MAE", label="MAE", reference=3.0)
    speed = Objective(name="speed", metric="nfe", label="log10(1 + network evaluations)", reference=2.0)
    assert not load(write_run(tmp_path, 3, objectives=(mae, speed))).quality.higher_is_better


def test_no_evaluations_at_all_need_a_linear_axis(tmp_path, write_run, rows_of):
    nfe = Objective(name="speed", metric="nfe", label="log10(1 + network evaluations)", reference=2.0)
    rows = rows_of(2, statuses=("complete",))
    quality = Objective(name="quality", metric="valid.Non0_F1_score", label="1 - Non0_F1_score", reference=0.5)
    assert load(write_run(tmp_path, rows=rows, objectives=(quality, nfe))).speed.log
    rows[0]["nfe"] = 0.0
    assert not load(write_run(tmp_path, rows=rows, objectives=(quality, nfe))).speed.log


def test_columns_that_a_front_needs_are_named_when_they_lack_others_do_not_matter(run):
    frame = read_results(run / "results.parquet")
    with pytest.raises(UserError, match="no column trial, objective.speed"):
        of_frame(frame.drop(columns=["trial", "objective.speed"]))
    needed = [*frame.columns[frame.columns.str.startswith(("objective", "valid.Non0_F1"))], "trial", "status"]
    study = of_frame(frame[needed])
    assert len(study.points) > 40 and np.isfinite(study.points[QUALITY]).all() and study.settings == ()


def test_damaged_files_are_named(tmp_path, run):
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path)
    content = (run / "results.parquet").read_bytes()
    (tmp_path / "results.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="damaged or no parquet"):
        load(tmp_path)
    (tmp_path / "results.parquet").write_bytes(content)
    (tmp_path / "baselines.json").write_text('{"zero": {"valid.')
    with pytest.raises(UserError, match="baselines.json is damaged"):
        load(tmp_path)


def test_baselines_keep_their_numbers(run):
    assert load(run).baselines["imder"] == {"valid.Non0_F1_score": 0.668, "speedup_vs_imder": 1.0}
    assert json.loads(Path(run / "baselines.json").read_text()).keys() == load(run).baselines.keys()


def test_what_does_nothing_where_nothing_is_recovered_is_no_setting_there(study):
    """The rows as they are, but for the settings of sampling where the denoiser is never asked, and of refining where
    there is none."""
    named = {
        "diffusion.backbone": ["none", "none", "mixer", "mixer"],
        "diffusion.prior": ["none", "mixture", "none", "none"],
        "diffusion.num_steps": [4, 4, 4, 4],
        "diffusion.sampler.eta": [0.5, 0.5, 0.5, 0.5],
        "bank.mode": ["same", "same", "same", "same"],
        "bank.folds": [5, 5, 5, 5],
        "refiner": ["rcan", "rcan", "rcan", "rcan"],
        "loss.recovery": [0.1, 0.1, 0.1, 0.1],
    }
    frame = study.frame.head(4).assign(**{f"config.{path}": values for path, values in named.items()})
    frame = frame.assign(nfe=[0.0, 4.0, 4.0, 0.0])  # the last: an imputer beside a network that is not used
    frame.attrs["info"] = {**read_results(study.folder / "results.parquet").attrs["info"], "space": [*named]}
    found = of_frame(frame)
    left = {path: found.frame[f"config.{path}"].notna().tolist() for path in found.settings}
    sampled = [False, True, True, False]
    assert left == {
        **dict.fromkeys(named, [True] * 4),
        **dict.fromkeys(["diffusion.num_steps", "diffusion.sampler.eta", "bank.mode"], sampled),
        "refiner": [False, True, True, True],
    }
    assert found.frame["config.diffusion.num_steps"][1] == 4 and (frame["config.bank.mode"] == "same").all()
