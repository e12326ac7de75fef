"""Which models stand in a folder: never two configurations as one, each under a name of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from imer_ray.config.components import option
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import tree_of, typed
from imer_ray.errors import UserError
from imer_ray.evaluation.model_collection import check_same_settings, collect, seeds_in


def config_of(*words: str) -> dict[str, Any]:
    return tree_of(compose(ExperimentConfig, "experiment", list(words))) | {"data_fingerprint": "f" * 64}


PLAIN, OTHER = config_of(), config_of("diffusion.num_steps=9", "fusion=mult")


def put(folder: Path, config: dict[str, Any], seed: int, weights: str = "", **changes: Any) -> Path:
    """A model's folder as far as it is looked at here: its configuration, and weights that can be compared."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "seed": seed, **changes}))
    (folder / "model.safetensors").write_bytes(f"{weights}{seed}".encode())
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The model ``quality`` with two seeds, and the baseline ``masked`` beside it."""
    for seed in (1, 2):
        put(tmp_path / f"quality/{seed}", PLAIN, seed)
        put(tmp_path / f"quality/baselines/masked/{seed}", PLAIN, seed, system="masked")
    return tmp_path


def test_seeds_of_two_configurations_are_refused_by_what_differs(models: Path) -> None:
    put(models / "quality/3", OTHER, 3)
    wanted = (
        r"quality/1 and .*quality/3 were trained with different settings \(.*diffusion.num_steps 4 and 9.*fusion pool"
    )
    with pytest.raises(UserError, match=wanted):
        collect([models / "quality"])


@pytest.mark.parametrize(
    ("path", "config", "says"),
    [
        ("quality/baselines/masked/3", OTHER, "masked/1 and .*masked/3 were trained with different settings"),
        ("quality/baselines/zero/1", OTHER, "quality/1 and .*zero/1 were trained with different settings"),
        ("quality/3", {**PLAIN, "data_fingerprint": "0" * 64}, r"different settings \(data_fingerprint ff.* and 00"),
        ("quality/3", {**PLAIN, "system": "imder"}, r"different settings \(system decoupled and imder\)"),
        ("quality/1-old", PLAIN, "quality/1 and .*quality/1-old both are of seed 1: remove one"),
    ],
)
def test_what_does_not_belong_together_is_refused(models: Path, path: str, config: dict[str, Any], says: str) -> None:
    put(models / path, config, 1 if path.endswith(("1", "old")) else 3)
    with pytest.raises(UserError, match=says):
        collect([models / "quality"])


def test_what_a_model_does_not_depend_on_may_differ(models: Path) -> None:
    put(models / "quality/3", config_of("protocol=random", "speed.max_repeats=1", "evaluate.max_points=1"), 3)
    put(models / "quality/.4-half", OTHER, 4)
    put(models / "quality/baselines/mean/1", PLAIN, 1, system="mean", imputer=option("imputer", "mean"))
    assert list(collect([models / "quality"])["quality"]) == [1, 2, 3] and seeds_in(models / "quality") == {1, 2, 3}


def test_a_folder_takes_more_seeds_of_its_configuration_and_no_others(models: Path) -> None:
    check_same_settings(models / "quality", typed(PLAIN | {"seed": 3}, ExperimentConfig))
    check_same_settings(models / "new", typed(OTHER, ExperimentConfig))
    with pytest.raises(
        UserError, match=r"quality holds models of another configuration \(diffusion.num_steps 4 and 9, "
    ):
        check_same_settings(models / "quality", typed(OTHER, ExperimentConfig))
    for seed in (1, 2):
        (models / f"quality/{seed}/model.safetensors").unlink()
    with pytest.raises(UserError, match="holds models of another configuration"):  # of the baselines that are left
        check_same_settings(models / "quality", typed(OTHER, ExperimentConfig))
    check_same_settings(models / "quality", typed(PLAIN, ExperimentConfig))


def test_models_of_one_folder_name_are_told_apart_by_what_is_above(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a/quality", "b/quality", "a/speed"):
        put(models / folder / "1", PLAIN, 1, weights=folder)
    monkeypatch.chdir(models / "a")
    found = collect([Path("quality"), models / "b/quality", Path("../a/speed"), models / "quality"])
    assert list(found) == ["a/quality", "b/quality", "speed", f"{models.name}/quality", "masked"]
    assert found["b/quality"][1] == models / "b/quality/1"
    with pytest.raises(UserError, match="model names one folder twice"):
        collect([Path("quality"), models / "a/quality"])


def test_a_model_named_as_a_baseline_or_the_optimum_is_not_taken_for_it(models: Path) -> None:
    for name in ("masked", "bayes"):
        put(models / f"x/{name}/3", PLAIN, 3)
        put(models / f"x/{name}/baselines/masked/1", PLAIN, 1, system="masked")
        found = collect([models / "x" / name])
        assert {label: list(seeds) for label, seeds in found.items()} == {f"x/{name}": [3], "masked": [1]}


def test_a_baseline_is_one_where_its_settings_are_and_two_where_not(models: Path) -> None:
    for name, config in (("same", PLAIN), ("other", OTHER)):
        put(models / f"{name}/1", config, 1)
        put(models / f"{name}/baselines/masked/5", config, 5, system="masked")
    assert list(collect([models / "quality", models / "same"])["masked"]) == [1, 2, 5]
    assert list(collect([models / "quality", models / "other"])) == ["quality", "other", "masked", "masked (other)"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nothing", "no trained model in .*nothing: there is no such folder$"),
        ("qualty", "no trained model in .*qualty: there is no such folder; did you mean .*/quality?"),
        ("file", "no trained model in .*file: it is a file; give the folder that"),
        ("empty", "no trained model in .*empty; train one with"),
        (
            "demo",
            r"no trained model in .*demo: it is a study's folder; train one of its picks first.*demo/export/knee.yaml",
        ),
        ("quality/1", "no trained model in .*quality/1: it is the model of one seed; give .*model=.*quality$"),
        (".", "no trained model in .*, but in folders of it; give one, for example model=.*quality"),
    ],
)
def test_a_folder_without_models_is_told_by_what_it_is(models: Path, path: str, says: str) -> None:
    (models / "file").write_text("")
    (models / "empty").mkdir()
    (models / "demo").mkdir()
    (models / "demo/results.parquet").write_text("")
    with pytest.raises(UserError, match=says):
        collect([models / path])


@pytest.mark.parametrize(
    "name", ["a (1)", "seed=3", "数据", "don't", "x, y", "[1]{2}*?", "100% $HOME #1", "back\\slash", "x "]
)
def test_a_model_s_folder_may_have_any_name(models: Path, name: str) -> None:
    (models / "quality").rename(models / name)
    found = collect([models / name])
    assert list(found) == [name, "masked"] and list(found[name]) == [1, 2]
