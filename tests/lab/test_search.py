"""A search over a laboratory's own choices, with its searcher and logger, and what one can do with what it finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from small import SMALL

import imer_ray
from imer_ray.config import plugins

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> imer_ray.Study:
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # workers find my_lab all the same
        own = ["data=whispers", "space=lab", "study.searcher=restless", "study.loggers=[lines]"]
        root = f"study.root={folder / 'runs'}"
        words = [*own, root, *SMALL, "study.num_trials=2", "training.encode.num_epochs=2", "plugins=[my_lab]"]
        return imer_ray.search(*words)


def test_its_choices_are_searched_recorded_and_written_down(study: imer_ray.Study) -> None:
    assert set(study.results["status"]) == {"complete"}
    assert "adams_bashforth" in set(study.results["config.diffusion.sampler"])
    assert set(study.results["config.data"]) == {"whispers"}
    lines = [json.loads(line) for line in (study.folder / "lines.jsonl").read_text().splitlines()]
    assert sorted(line["trial"] for line in lines) == [0, 1]


def test_its_exports_need_the_plugin_and_go_on_with_it(study: imer_ray.Study) -> None:
    exported = yaml.safe_load((study.folder / "export/knee.yaml").read_text())["config"]
    assert exported["plugins"] == ["my_lab"]
    plugins.forget()
    with pytest.raises(imer_ray.UserError, match="needs the plugin 'my_lab'"):
        study.config("knee")
    again = imer_ray.load_study(study.folder, plugins=["my_lab"])
    assert again.config("knee").data.target == "my_lab.data.Whispers"


@pytest.mark.slow
def test_it_is_trained_and_predicts(study: imer_ray.Study, tmp_path: Path) -> None:
    words = ["plugins=[my_lab]", "baselines=[half_masked]", f"stages={study.folder.parent / 'stages'}"]
    (model,) = imer_ray.train(study.folder / "export/knee.yaml", *words, seeds=[1111], output=tmp_path / "model")
    assert model.config.plugins == ("my_lab",)
    assert model.predict(split="valid", available="lv")["value"].notna().all()
    assert {"model", "half_masked"} <= set(imer_ray.evaluate(model.folder.parent)["Model"])
