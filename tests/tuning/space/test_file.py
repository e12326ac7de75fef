"""A space is refused before anything runs, with the line that is wrong and a word that would be right."""

import pytest

from imer_ray.errors import UserError
from imer_ray.tuning.space.file import FOLDER, find, load

GOOD = "diffusion.num_steps: {int: [1, 16]}"


@pytest.fixture
def read(base, tmp_path):
    def read(text):
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return load(str(path), base)

    return read


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("difusion.sde: {choice: [vp, ve]}", "difusion.sde: unknown key; did you mean diffusion.sde?"),
        ("diffusion.steps: {int: [1, 2]}", "diffusion.steps: unknown key; did you mean diffusion.num_steps?"),
        ("diffusion: {choice: [vp]}", "diffusion: unknown key; it has diffusion.backbone"),
        ("diffusion.sde: {choice: [vp, vee]}", "diffusion.sde=vee: unknown option; did you mean ve?"),
        ("loss.recovery: {float: [1, 0.5]}", "the range [1, 0.5] is empty"),
        ("loss.recovery: {float: [0.5, 0.5]}", "is empty: its low end must be below its high end"),
        ("loss.recovery: {float: [0, 1], log: true}", "a range with log: true must lie above 0, not begin at 0"),
        ("loss.recovery: {float: [-1, 1]}", "loss weights must not be negative"),
        ("loss.recovery: {float: [0, .inf]}", "inf is not finite"),
        ("loss.recovery: {float: [0, much]}", "'much' is not a number"),
        ("loss.recovery: {choice: [0.1, .nan]}", "nan is not finite"),
        ("loss.recovery: {choice: [0.1, 1e999]}", "inf is not finite"),
        ("loss.recovery: {float: [0, 1], step: 0.3}", "step must divide the range"),
        ("loss.recovery: {float: [0.1, 1], step: 0.1, log: true}", "log and step exclude each other"),
        ("loss.recovery: {flaot: [0, 1]}", "say what to draw it from: {choice: [a, b]}"),
        ("loss.recovery: {flaot: [0, 1]}", "did you mean float?"),
        ("loss.recovery: {float: [0, 1], lgo: true}", "float does not take 'lgo' (did you mean log?)"),
        ("loss.recovery: {float: [0, 1], choice: [1]}", "choice and float exclude each other"),
        ("loss.recovery: {float: [0, 1, 2]}", "float takes [low, high]"),
        ("loss.recovery: {float: [0, 1], log: maybe}", "log must be true or false"),
        ("loss.recovery: {float: [0, 1], prior: 2}", "prior: 2 is not among what is searched: 0.0, 1.0"),
        ("diffusion.sde: {choice: [vp, ve], prior: edm}", "prior: 'edm' is not among what is searched: vp, ve"),
        ("loss.recovery: 0.5", "say what to draw it from"),
        ("bank.num_steps: {int: [0, 16]}", "bank.num_steps and bank.num_draws must be at least 1"),
        ("bank.num_steps: {int: [1.5, 16]}", "1.5 is not a whole number"),
        ("bank.num_steps: {float: [1.5, 16]}", "bank.num_steps must be int, not 1.5"),
        ("diffusion.parametrization: {choice: []}", "choice takes a list of at least one value"),
        ("diffusion.parametrization: {choice: [v, v]}", "choice has a value twice"),
        ("diffusion.parametrization: {choice: [v, [eps]]}", "each choice must be one plain value"),
        ("diffusion.parametrization: {choice: [v, epsilon]}", "diffusion.parametrization=epsilon"),
        (
            "diffusion.sde.sigma_max: {float: [5, 50]}",
            "does not exist with diffusion.sde=vp; add when:",
        ),
        ("loss.recovery: {float: [0, 1], when: {diffusion.sdee: vp}}", "when: diffusion.sdee: unknown key"),
        ("loss.recovery: {float: [0, 1], when: {diffusion.sde: vpp}}", "diffusion.sde=vpp: unknown option"),
        ("loss.recovery: {float: [0, 1], when: {diffusion.num_steps: 99}}", "diffusion.num_steps is never 99"),
        ("loss.recovery: {float: [0, 1], when: vp}", "when takes {path: value}"),
        ("loss.recovery: {float: [0, 1], when: {diffusion.sde: []}}", "allows no value"),
        ("loss.recovery: {float: [0, 1], when: {loss.recovery: 1}}", "conditions go round in a circle"),
        ("data.num_train: {int: [1, 9]}", "data.num_train cannot be searched: all trials of a study must see the same"),
        ("protocol: {choice: [fixed, random]}", "protocol cannot be searched: all trials of a study must be scored"),
        ("seed: {int: [1, 9]}", "seed cannot be searched: a search over seeds picks the luckiest"),
        ("study.seed: {int: [1, 9]}", "study.seed cannot be searched"),
        ("diffusion.num_steps: {int: [1, 8]}", "diffusion.num_steps is there already, in line 1"),
        ("points: {loss.recovery: 1}", "points takes a list of {path: value}"),
        ("points: [{loss.recovery: 1}]", "loss.recovery is not searched"),
        ("points: [{diffusion.num_steps: 17}]", "diffusion.num_steps=17 is not among what is searched: 1, 16"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(read, tmp_path, line, message):
    with pytest.raises(UserError) as raised:
        read(f"{GOOD}\n\n{line}\n")
    assert str(raised.value).startswith(f"{tmp_path}/space.yaml:3: ")
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "space.yaml: a search space is a mapping"),
        ("- a\n- b\n", "space.yaml: a search space is a mapping"),
        ("a: {b\nc: d}: e\n", "space.yaml:2: not YAML"),
        ("points: []\n", "names no parameter to search"),
        ("loss.recovery: " + "[" * 5000, "not YAML: nested too deeply"),
        ("loss.recovery: \x07", "not YAML: unacceptable character"),
        ("loss.recovery: {choice: [2026-13-45]}", "not YAML: month must be in 1..12"),
        ("loss.diffusion: {float: [0, 1], when: {system: imder}}", "none of its parameters exists under the given"),
    ],
)
def test_a_file_that_is_no_space_is_refused(read, text, message):
    with pytest.raises(UserError) as raised:
        read(text)
    assert message in str(raised.value)


def test_a_condition_that_can_never_hold_is_refused(read):
    with pytest.raises(UserError, match=r"space.yaml:3: .*conditions cannot hold together"):
        read(
            "diffusion.sde: {choice: [vp, ve]}\n"
            "diffusion.sde.schedule: {choice: [linear, cosine], when: {diffusion.sde: vp}}\n"
            "loss.recovery: {float: [0, 1], when: {diffusion.sde: ve, diffusion.sde.schedule: linear}}\n"
        )


def test_ranges_that_only_clash_with_each_other_are_refused(read):
    with pytest.raises(UserError, match="sigma_min"):
        read(
            "diffusion.sde: {choice: [ve]}\n"
            "diffusion.sde.sigma_min: {float: [0.01, 15]}\n"
            "diffusion.sde.sigma_max: {float: [10, 50]}\n"
        )


def test_a_component_setting_needs_no_condition_if_every_choice_has_it(read):
    space = read("diffusion.sde.t_min: {float: [0.0001, 0.01], log: true}\ndiffusion.sde: {choice: [vp, ve]}")
    assert [p.path for p in space.parameters] == ["diffusion.sde", "diffusion.sde.t_min"]


def test_chains_are_ordered_and_conditions_on_the_base_are_settled(read):
    space = read(
        "diffusion.sde.beta_max: {float: [5, 30], when: {diffusion.sde.schedule: linear}}\n"
        "diffusion.sde.schedule: {choice: [linear, cosine], when: {diffusion.sde: vp}}\n"
        "diffusion.sde: {choice: [vp, ve]}\n"
        "loss.recovery: {float: [0, 1], when: {system: decoupled}}\n"
        "loss.diffusion: {float: [0, 1], when: {system: imder}}\n"
    )
    paths = [p.path for p in space.parameters]
    assert paths.index("diffusion.sde") < paths.index("diffusion.sde.schedule") < paths.index("diffusion.sde.beta_max")
    assert "loss.recovery" in paths and "loss.diffusion" not in paths
    assert next(p for p in space.parameters if p.path == "loss.recovery").when == {}


@pytest.mark.parametrize("low", ["1e-4", "1.0e-4", "1E-04", ".1e-3", "+1e-4", "1.e-4", "0.0001"])
def test_numbers_in_scientific_notation_are_numbers(read, low):
    """In bounds, choices, conditions and points; YAML 1.1 takes them for text."""
    space = read(f"training.pretrain.learning_rate: {{float: [{low}, 1e-2], log: true}}")
    assert space.parameters[0].ends() == (1e-4, 1e-2)
    space = read(
        f"training.pretrain.learning_rate: {{choice: [{low}, 1e-3]}}\n"
        f"loss.recovery: {{float: [0, 1e+12], step: 1e12, when: {{training.pretrain.learning_rate: {low}}}}}\n"
        f"loss.diffusion: {{float: [1e-1, 1], when: {{training.pretrain.learning_rate: [{low}]}}}}\n"
        f"bank.num_steps: {{choice: [1e0, 1.6e1]}}\n"
        f"points: [{{training.pretrain.learning_rate: {low}, loss.recovery: 1e12, loss.diffusion: 1e-1}}]\n"
    )
    by_path = {p.path: p for p in space.parameters}
    assert by_path["training.pretrain.learning_rate"].ends() == (1e-4, 1e-3)
    assert by_path["loss.recovery"].when == {"training.pretrain.learning_rate": (1e-4,)}
    assert (by_path["loss.recovery"].ends(), by_path["loss.recovery"].distribution.step) == ((0.0, 1e12), 1e12)
    assert by_path["bank.num_steps"].ends() == (1, 16)
    assert space.points[0]["loss.recovery"] == 1e12 and space.points[0]["training.pretrain.learning_rate"] == 1e-4


def test_text_in_quotes_stays_text(read):
    with pytest.raises(UserError, match=r"training.pretrain.learning_rate must be float, not '1e-4'"):
        read('training.pretrain.learning_rate: {choice: ["1e-4", 1e-3]}')


def test_a_point_must_give_what_its_parts_hang_on(read):
    text = "diffusion.sde: {choice: [vp, ve]}\ndiffusion.sde.sigma_max: {float: [5, 50], when: {diffusion.sde: ve}}\n"
    assert read(text + "points: [{diffusion.sde: ve, diffusion.sde.sigma_max: 7}]").points == (
        {"diffusion.sde": "ve", "diffusion.sde.sigma_max": 7},
    )
    for point in ("{diffusion.sde.sigma_max: 7}", "{diffusion.sde: vp, diffusion.sde.sigma_max: 7}"):
        with pytest.raises(UserError, match=r"space.yaml:3: .*sigma_max does not exist in this point"):
            read(f"{text}points: [{point}]")


def test_comments_order_and_points_are_no_part_of_the_fingerprint(read):
    a, b = "diffusion.num_steps: {int: [1, 16]}\n", "loss.recovery: {float: [0, 1]}\n"
    fingerprint = read(a + b).fingerprint
    assert read(f"# why\n{b}{a}points: [{{diffusion.num_steps: 2}}]").fingerprint == fingerprint
    assert read(a + b.replace("1]", "2]")).fingerprint != fingerprint


def test_spaces_are_found_by_name_and_by_path(tmp_path):
    assert find("default") == FOLDER / "default.yaml"
    with pytest.raises(UserError, match="did you mean default"):
        find("defualt")
    with pytest.raises(UserError, match="there is no such file"):
        find(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_space_we_ship_is_sound(path, base):
    assert load(path.stem, base).parameters


def test_priors_that_exist_together_are_a_point_and_no_part_of_what_a_study_is(read):
    text = """
diffusion.sde: {choice: [vp, ve], prior: vp}
diffusion.sde.sigma_max: {float: [5, 50], when: {diffusion.sde: ve}, prior: 10}
diffusion.num_steps: {int: [1, 16], prior: 4.0}
"""
    space = read(text)
    assert space.priors == {"diffusion.sde": "vp", "diffusion.sde.sigma_max": 10.0, "diffusion.num_steps": 4}
    assert space.believed == {"diffusion.sde": "vp", "diffusion.num_steps": 4}
    assert isinstance(space.believed["diffusion.num_steps"], int)
    assert read(text.replace(", prior: vp", "")).fingerprint == space.fingerprint
