"""A study's optimism is computed from what its evaluations left of each clip, or is not known."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from experiments import experiment

from imer_ray.config.resolve import tree_of
from imer_ray.evaluation import scored_clips
from imer_ray.evaluation.score import score
from imer_ray.results.optimism import OPTIMISM, read_optimism
from imer_ray.results.schema import Objective, StudyInfo
from imer_ray.results.study import load
from imer_ray.results.uncertainty import UNCERTAINTY
from imer_ray.results.writer import write_results
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.training.latents import load_dataset
from imer_ray.tuning.study import clip_quality, selection

CONFIG = experiment("data.num_train=20", "data.num_valid=60", "data.num_test=20")
SETTINGS = ("l", "a", "v", "la", "lv", "av", "lav")
NUM_POINTS = 5


class Evaluations:
    """A store with the evaluations of five points: the labels, and noise of the same size."""

    def __init__(self, root):
        self.dataset = load_dataset(CONFIG)
        labels = self.dataset.labels("valid")
        for i in range(NUM_POINTS):
            generator = torch.Generator().manual_seed(i)
            predictions = {s: labels + 1.5 * torch.randn(60, generator=generator) for s in SETTINGS}
            by_clip = {s: {"CRPS": (x - labels).abs().double()} for s, x in predictions.items()}
            (root / str(i)).mkdir()
            scored_clips.save(root / str(i), predictions, by_clip)
        self.root = root

    def open(self, key):
        if not (self.root / key).is_dir():
            raise MissingArtefact(key)
        return SimpleNamespace(folder=self.root / key)

    def measured(self, key):
        predictions = scored_clips.read_predictions(self.root / key)
        by_clip = {s: {"CRPS": x} for s, x in scored_clips.read_by_clip(self.root / key, "CRPS").items()}
        return score(predictions, self.dataset, "valid", CONFIG.protocol.build(), by_clip)


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """``plan(metric)``: a study of the five points, of which the last ones are the fastest."""
    store = Evaluations(tmp_path)
    monkeypatch.setattr(selection, "Store", lambda root: store)

    def make(metric):
        rows = []
        for i in range(NUM_POINTS):
            value = store.measured(str(i))[f"valid.{metric}"]
            rows.append(
                {
                    **{"study": "s", "trial": i, "point": 0, "repeat": 0, "seed": 1, "status": "complete"},
                    **{"config": "{}", "stages": json.dumps({"evaluate": str(i)}), "nfe": float(NUM_POINTS - i)},
                    **{f"valid.{metric}": value, "objective.speed": float(NUM_POINTS - i)},
                    "objective.quality": value if metric in ("MAE", "CRPS") else 1 - value,
                }
            )
        quality = Objective(name="quality", metric=f"valid.{metric}", label=metric, reference=3.0)
        speed = Objective(name="speed", metric="nfe", label="NFE", reference=10.0)
        info = StudyInfo(study="s", objectives=(quality, speed), num_trials=5, searcher="tpe", space=())
        folder = tmp_path / metric
        folder.mkdir(exist_ok=True)
        write_results(folder / "results.parquet", rows, info)
        options = SimpleNamespace(study=SimpleNamespace(folds=0))
        return SimpleNamespace(folder=folder, stages="", base=tree_of(CONFIG), options=options)

    return make


@pytest.mark.parametrize("metric", ["Non0_F1_score", "MAE", "la.MAE", "CRPS"])
def test_a_study_learns_by_how_much_its_picks_are_flattered(plan, metric):
    made = plan(metric)
    selection.write(made)
    found = load(made.folder).optimism
    assert found is not None and (found.num_points, found.num_halves) == (NUM_POINTS, 2 * selection.NUM_SPLITS)
    assert found.by_pick["quality"] > 0 and found.by_pick["speed"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("column", ["valid.Non0_F1_score", "valid.MAE", "valid.la.Corr", "valid.CRPS"])
def test_the_quality_of_all_clips_is_what_the_evaluation_measured(plan, column):
    plan("MAE")
    store = selection.Store("")
    quality = clip_quality.quality(store, "3", column, CONFIG)
    assert quality(torch.arange(60)) == pytest.approx(store.measured("3")[column], rel=1e-6)


@pytest.mark.parametrize("metric", ["MAE", "la.MAE", "CRPS"])  # of which several points are on the front
def test_a_study_learns_how_sure_its_front_is_and_that_noise_tells_no_picks_apart(plan, metric):
    made = plan(metric)
    selection.write(made)
    study = load(made.folder)
    assert len(study.uncertainty.half_widths) == len(study.front) > 1
    assert all(half > 0 for half in study.uncertainty.half_widths.values())
    assert study.uncertainty.pairs and not any(pair.is_told_apart for pair in study.uncertainty.pairs)
    quality = study.points.set_index("trial")[study.quality.column]
    (first, second), found = _trials(study.uncertainty.pairs[0]), study.uncertainty.pairs[0].difference
    assert found == pytest.approx(quality[first] - quality[second], rel=1e-5)


def _trials(pair):
    return int(pair.first[0]), int(pair.second[0])


def test_a_damaged_file_does_not_keep_a_study_from_writing_it_anew(plan):
    made = plan("MAE")
    for name in (OPTIMISM, UNCERTAINTY):
        (made.folder / name).write_text("{")
    selection.write(made)
    assert load(made.folder).uncertainty is not None


def test_where_an_evaluation_was_evicted_nothing_is_known_and_no_older_file_stays(plan, tmp_path):
    made = plan("MAE")
    selection.write(made)
    assert (made.folder / OPTIMISM).exists()
    (tmp_path / "3").rename(tmp_path / "evicted")
    selection.write(made)
    assert read_optimism(made.folder, "valid.MAE") is None and not (made.folder / OPTIMISM).exists()
    (tmp_path / str(load(made.folder).front["trial"].iloc[0])).rename(tmp_path / "gone")
    selection.write(made)
    assert not (made.folder / UNCERTAINTY).exists()
