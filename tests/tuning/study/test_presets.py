"""Published systems as first proposals."""

import pytest
from changed import changed

from imer_ray.config.components import options
from imer_ray.config.compose import preset
from imer_ray.config.tree import flatten
from imer_ray.errors import UserError
from imer_ray.tuning.space import file
from imer_ray.tuning.space.check import Configurations
from imer_ray.tuning.study.presets import nearest
from imer_ray.tuning.study.study import open_record, plan

SPACES = sorted(path.stem for path in file.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", options("preset"))
def test_every_preset_has_a_point_in_every_space_and_what_differs_is_said(load_space, space, name):
    """Of the preset's settings the point has all but those that are named as changed."""
    searched, configurations = load_space(space)
    point, changed = nearest(name, searched, configurations)
    flat = flatten(configurations.build(point))
    assert searched.locate(flat) == point
    missing = {path for path, value in preset(name).items() if flat.get(path) != value}
    assert {text.removeprefix("no ").partition(" ")[0] for text in changed} == missing


def test_a_preset_that_lies_in_the_space_is_taken_as_it_is(load_space):
    point, changed = nearest("rohydr", *load_space("full"))
    assert {path: point[path] for path in point if path in preset("rohydr") and path != "diffusion.num_steps"} == {
        path: value for path, value in preset("rohydr").items() if path in point and path != "diffusion.num_steps"
    }
    assert point["loss.lambda_c"] == 0.4 and point["diffusion.backbone.conditioning"] == "pooled"
    assert point["diffusion.num_steps"] == 32 and "diffusion.num_steps 50 -> 32" in changed  # the range ends there


def test_numbers_become_the_nearest_that_are_searched(base, tmp_path):
    text = "diffusion.num_steps: {choice: [4, 9, 40]}\ndiffusion.backbone.num_layers: {int: [1, 5], step: 2}\n"
    (tmp_path / "near.yaml").write_text(text)
    found = {
        name: nearest(name, file.load(str(tmp_path / "near.yaml"), base), Configurations(base))[0]
        for name in ("decoupled", "rohydr", "imder")
    }
    steps = {name: point["diffusion.num_steps"] for name, point in found.items()}
    assert steps == {"decoupled": 40, "rohydr": 40, "imder": 40}  # 20 is twice 9 and more, and half of 40
    layers = {name: point["diffusion.backbone.num_layers"] for name, point in found.items()}
    assert layers["rohydr"] == 5


def test_presets_are_proposed_once_in_a_studys_life(options, capsys):
    searched = plan(changed(options, study={"presets": ("imder", "rohydr")}), systems="toy_systems")
    record = open_record(searched)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" with ")[0] for line in said] == ["preset imder is proposed", "preset rohydr is proposed"]
    proposals = [record.ask() for _ in range(4)]
    steps = [proposal.values["diffusion.num_steps"] for proposal in proposals]
    assert steps[:3] == [4, 64, 50]  # after the space's own point; IMDer's 100 is beyond the range
    assert proposals[2].values["diffusion.sde"] == "vp"
    open_record(searched)
    assert capsys.readouterr().out == ""


def test_an_unknown_preset_is_named(options):
    with pytest.raises(UserError, match="preset=imdre: unknown key or option; did you mean imder?"):
        plan(changed(options, study={"presets": ("imdre",)}), systems="toy_systems")
