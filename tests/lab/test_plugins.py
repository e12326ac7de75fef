"""A plugin adds choices where it is asked for, and nowhere else; what is wrong in one is said with its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import imer_ray
from imer_ray.config import plugins
from imer_ray.config.commands import SearchConfig, TrainConfig
from imer_ray.config.components import build, options
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.resolve import resolve, tree_of, typed
from imer_ray.errors import UserError
from imer_ray.systems import graph
from imer_ray.tuning.space import file

HERE = Path(__file__).parent
SAMPLER = "name: mine\n_target_: other_lab.samplers.Mine\n"
CODE = "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Mine:\n    order: int = 2\n"


def composed(*words: str) -> dict:
    return tree_of(compose(SearchConfig, "search", ["plugins=[my_lab]", *words]))


def experiment(tree: dict) -> dict:
    return {key: value for key, value in tree.items() if key not in ("study", "space", "scaling")}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``lab({path: text}, name=)``: a package with these files that can be imported for this test."""
    made = []

    def make(files: dict[str, str], name: str = "other_lab") -> None:
        for path, text in {"__init__.py": "", **files}.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        made.append(name)

    yield make
    for module in [m for m in sys.modules if m.partition(".")[0] in made]:
        del sys.modules[module]


def test_without_being_asked_for_it_adds_nothing() -> None:
    assert "adams_bashforth" not in options("diffusion/sampler")
    for words in ("diffusion.sampler=adams_bashforth", "system=half_masked", "study.searcher=restless"):
        with pytest.raises(UserError, match="unknown key or option"):
            compose(SearchConfig, "search", [words])
    with pytest.raises(UserError, match="space=lab: unknown search space"):
        file.find("lab")


def test_every_kind_of_choice_can_be_named() -> None:
    words = ["diffusion.sampler=adams_bashforth", "data=whispers", "system=half_masked"]
    tree = composed(*words, "study.searcher=restless", "study.loggers=[lines]", "space=lab")
    assert type(build(tree["diffusion"]["sampler"])).__module__ == "my_lab.samplers"
    assert tree["training"]["encode"]["num_epochs"] == 20, "what the data set's option sets beside itself"
    assert compose(TrainConfig, "train", ["baselines=[half_masked]"]).baselines == ("half_masked",)
    assert graph(typed(tree, ExperimentConfig), "valid").kind == "evaluate"
    assert {p.path for p in file.load("lab", experiment(tree)).parameters} == {
        "diffusion.sampler",
        "diffusion.num_steps",
    }


def test_a_configuration_names_the_plugins_that_it_needs_and_no_others() -> None:
    assert composed()["plugins"] == ["my_lab"]  # of a search, which may choose of it yet
    for words in ([], ["diffusion.sampler=adams_bashforth"], ["system=half_masked"], ["data=whispers"]):
        tree = {**experiment(composed(*words)), "plugins": []}
        assert resolve(tree)["plugins"] == (["my_lab"] if words else [])


@pytest.mark.parametrize("words", ["diffusion.sampler=adams_bashforth", "system=half_masked"])
def test_a_file_alone_loads_nothing_and_says_what_it_needs(words: str, tmp_path: Path) -> None:
    export = tmp_path / "knee.yaml"
    export.write_text(yaml.safe_dump({"config": experiment(composed(words))}))
    code = "import imer_ray, sys\ntry: imer_ray.train(sys.argv[1])\nexcept imer_ray.UserError as error: print(error)\n"
    code += "print('my_lab' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
    environment.pop(plugins.VARIABLE)
    done = subprocess.run([sys.executable, "-c", code, export], env=environment, capture_output=True, text=True)
    said, loaded = done.stdout.splitlines()
    assert "needs the plugin 'my_lab'" in said and "say plugins=[my_lab] if you trust it" in said
    assert loaded == "False"


def test_a_class_of_a_package_that_is_no_plugin_is_refused_with_what_to_do() -> None:
    tree = {**experiment(composed("diffusion.sampler=adams_bashforth")), "plugins": []}
    plugins.forget()
    with pytest.raises(UserError, match=r"'my_lab.samplers.AdamsBashforth' is not .*; if .* say plugins=\[my_lab\]"):
        resolve(tree)


def test_a_model_that_needs_a_plugin_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(experiment(composed("data=whispers"))))
    (tmp_path / "model.safetensors").write_bytes(b"")
    plugins.forget()
    with pytest.raises(UserError, match=f"the model in {tmp_path} needs the plugin 'my_lab', .*install it"):
        imer_ray.load_model(tmp_path)


def test_processes_that_this_one_starts_have_the_same() -> None:
    plugins.load(["my_lab"])
    code = "import json\nfrom imer_ray.config import plugins\nprint(json.dumps(plugins.names()))"
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["my_lab"]


def test_an_installed_entry_point_is_consent(lab, tmp_path: Path) -> None:
    lab({"samplers.py": CODE, "conf/diffusion/sampler/mine.yaml": SAMPLER})
    about = tmp_path / "other_lab-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other-lab\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[imer_ray.plugins]\nother_lab = other_lab\n")
    plugins.forget()
    assert compose(SearchConfig, "search", ["diffusion.sampler=mine"]).plugins == ("other_lab",)
    (tmp_path / "other_lab/conf/diffusion/sampler/heun.yaml").write_text(SAMPLER.replace("mine", "heun"))
    plugins.forget()
    with pytest.raises(UserError, match=r"plugin other_lab.*heun is taken by imer_ray"):
        compose(SearchConfig, "search", [])


OPTION = "conf/diffusion/sampler/mine.yaml"


@pytest.mark.parametrize(
    ("files", "words", "says"),
    [
        ({"__init__.py": "import nothing_of_this_name"}, "", "importing it failed: ModuleNotFoundError: No module"),
        ({"__init__.py": "raise SystemExit(3)"}, "", "importing it failed: SystemExit: 3"),
        ({"useful.py": ""}, "", "it is no plugin, for it has none of the folders conf/, "),
        ({OPTION: "name: [mine"}, "", f"{OPTION} cannot be read as YAML"),
        ({OPTION: "- mine"}, "", f"{OPTION} holds no settings"),
        ({OPTION: "name: mine\n_target_: os.system"}, "", f"{OPTION} must give name: mine, and .* not 'os.system'"),
        ({OPTION: SAMPLER.replace("mine", "other")}, "", f"{OPTION} must give name: mine"),
        ({"conf/difusion/sampler/mine.yaml": SAMPLER}, "", "is in no component group; did you mean diffusion/sampler"),
        ({"conf/search.yaml": "seed: 3"}, "", "conf/search.yaml is in no component group"),
        ({"conf/diffusion/sampler/ddim.yaml": SAMPLER}, "", "the name ddim is taken by imer_ray"),
        ({"conf/data/whispers.yaml": SAMPLER}, "", "the name whispers is taken by my_lab"),
        ({"systems/masked.py": ""}, "", "systems/masked.py: the name masked is taken by imer_ray"),
        ({"loggers/lines.py": ""}, "", "loggers/lines.py: the name lines is taken by my_lab"),
        ({OPTION: SAMPLER}, "diffusion.sampler=mine", "importing other_lab.samplers failed: ModuleNotFoundError"),
        ({OPTION: SAMPLER, "samplers.py": "1 / 0"}, "diffusion.sampler=mine", "failed: ZeroDivisionError"),
        ({OPTION: SAMPLER, "samplers.py": ""}, "diffusion.sampler=mine", "the module other_lab.samplers has no Mine"),
    ],
)
def test_whatever_is_wrong_in_a_plugin_is_said_with_its_name(lab, files: dict, words: str, says: str) -> None:
    lab(files)
    with pytest.raises(UserError, match=rf"plugin other_lab: .*{says}"):
        compose(SearchConfig, "search", ["plugins=[my_lab,other_lab]", *filter(None, [words])])


def test_a_space_with_a_taken_name_is_refused(lab) -> None:
    lab({"search_spaces/default.yaml": "diffusion.num_steps: {int: [1, 2]}"})
    plugins.load(["other_lab"])
    with pytest.raises(UserError, match="plugin other_lab: .*the name default is taken by imer_ray"):
        file.find("default")


@pytest.mark.parametrize("name", ["nothing_of_this_name", "os", "imer_ray", "a b", "my_lab.samplers", ""])
def test_what_is_no_plugin_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"plugins?\b"):
        plugins.load([name])
