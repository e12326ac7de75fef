"""The functions take what people give, and say what is wrong without ending the process."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import imer_ray
from imer_ray.api.configuration import word
from imer_ray.config.typed_text import Typed, pair, unquoted, words
from imer_ray.export import PICKS, export


@pytest.mark.parametrize("text", ["a.yaml", "a, b", "it's", 'say "x"', "[x]", "{a: 1}", " a ", "$x=1", "数据集"])
def test_a_command_reads_from_a_word_what_was_given(text: str) -> None:
    assert unquoted(pair(word("config", text))[1]) == text
    read = words(pair(word("model", [text, Path("b")]))[1])
    assert [unquoted(one) for one in read] == [text, "b"]
    assert words(Typed(word("seeds", [1, 2]).partition("=")[2])) == ["1", "2"]


def test_compose_gives_a_typed_configuration() -> None:
    config = imer_ray.compose("preset=imder", "training.joint.num_epochs=4")
    assert (config.system, config.training.joint.num_epochs, config.diffusion.sde.name) == ("imder", 4, "imder_ve")
    with pytest.raises(imer_ray.UserError, match="did you mean num_epochs"):
        imer_ray.compose("training.joint.num_epoch=4")


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: imer_ray.search("study.num_trial=3"), "did you mean num_trials"),
        (lambda: imer_ray.search("nothing"), "write key=value"),
        (lambda: imer_ray.train("nothing.yaml"), "nothing.yaml does not exist"),
        (lambda: imer_ray.train(imer_ray.compose(), seeds=[]), "seeds is empty"),
        (lambda: imer_ray.evaluate("models/nothing"), "no trained model in models/nothing"),
        (lambda: imer_ray.load_model("nothing"), "no trained model in nothing"),
        (lambda: imer_ray.load_study("nothing"), "nothing/results.parquet does not exist"),
        (lambda: imer_ray.load_study("nothing", plugins=["no_lab"]), "plugin no_lab: there is no such package"),
    ],
)
def test_mistakes_are_user_errors(act, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(imer_ray.UserError, match=says):
        act()
    assert list(tmp_path.iterdir()) == []


def test_a_study_has_its_front_and_picks_as_tables_and_a_picture(run: Path) -> None:
    study = imer_ray.load_study(run)
    assert (study.name, study.folder, len(study.results)) == ("demo", run, len(study.results))
    assert (study.front["rank"] == 0).all() and len(study.front) <= len(study.points) <= len(study.results)
    assert list(study.picks.index) == list(PICKS)
    for pick, row in study.picks.iterrows():
        exported = yaml.safe_load(export(run, str(pick), output=str(run / "pick.yaml")).read_text())["imer_ray"]
        assert (exported["trial"], exported["point"]) == (row["trial"], row["point"])
    assert study.plot()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert "knee" in study._repr_html_() and "demo" in repr(study)
    with pytest.raises(imer_ray.UserError, match="did you mean quality"):
        study.config("qualty")
