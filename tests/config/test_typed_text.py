"""What people type after ``key=`` arrives as they typed it, in every command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from imer_ray.config import commands
from imer_ray.config.commands import EvaluateCommandConfig, ExportConfig, SearchConfig, TrainConfig
from imer_ray.config.components import choices, hints, options
from imer_ray.config.compose import compose
from imer_ray.config.resolve import component_groups, tree_of
from imer_ray.config.tree import flatten
from imer_ray.config.typed_text import FilePath, mapping, unquoted, words
from imer_ray.errors import UserError

NAMES = {"EvaluateCommandConfig": "evaluate"}
SECTIONS = ("ScalingConfig", "StudyConfig", "ServeScaling", "ServeLimits")
SCHEMAS = [
    (cls, NAMES.get(name, name.removesuffix("Config").lower()))
    for name, cls in vars(commands).items()
    if is_dataclass(cls) and cls.__module__ == commands.__name__ and name not in SECTIONS
]
TEXTS = [
    "007",
    "1e3",
    "0.10",
    "on",
    "true",
    "null ",
    "-1",
    "nan",
    "数据",
    "a b",
    " a ",
    "a,b",
    "x=y",
    "don't",
    "[x",
    "x]",
]
TEXTS += [
    "{y}",
    "{a: b}",
    "${oc.env:HOME}",
    "$HOME",
    "#1",
    "50%",
    "a&b",
    "C:\\data",
    "a\\",
    "(1)",
    "++x",
    "~x/y",
    "é" * 99,
]
PATHS = [
    "aligned_50 (1).pkl",
    "3/a.pkl",
    "run=3/a.pkl",
    "数据集/a.pkl",
    "don't.pkl",
    "a, b.pkl",
    "[1]/{2}",
    "a: b",
    "x.pkl ",
]


def settings(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, annotation, field) of every setting that is neither a section nor a component."""
    for field in fields(schema):
        hint = hints(schema)[field.name]
        if {"group", "overrides"} & field.metadata.keys():
            continue
        if is_dataclass(hint):
            yield from settings(hint, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, hint, field


def texts(schema: type, kind: Any) -> list[str]:
    """Paths of the settings that are any text of one kind, ``str`` or ``FilePath``."""
    return [path for path, hint, f in settings(schema) if hint in (kind, kind | None) and not choices(f)]


def at(schema: type, name: str, values: dict[str, str]) -> dict[str, Any]:
    found = flatten(tree_of(compose(schema, name, [f"{path}={value}" for path, value in values.items()])))
    return {path: found[path] for path in values}


def test_every_command_is_looked_at() -> None:
    assert {name for _, name in SCHEMAS} == set(options("")) - {"experiment"}
    assert texts(ExportConfig, str) == ["pick"] and "study.root" in texts(SearchConfig, FilePath)


@pytest.mark.parametrize(("schema", "name"), SCHEMAS, ids=[name for _, name in SCHEMAS])
def test_a_text_stays_what_was_typed(schema: type, name: str) -> None:
    for text in TEXTS:
        wanted = dict.fromkeys(texts(schema, str), text)
        assert at(schema, name, wanted) == wanted


@pytest.mark.parametrize(("schema", "name"), SCHEMAS, ids=[name for _, name in SCHEMAS])
def test_a_path_stays_what_was_typed(schema: type, name: str) -> None:
    for text in TEXTS + PATHS:
        for wanted in (
            dict.fromkeys(texts(schema, FilePath), text),
            dict.fromkeys(texts(schema, FilePath), f"x/{text}"),
        ):
            assert at(schema, name, wanted) == wanted


@pytest.mark.parametrize(("schema", "name"), SCHEMAS, ids=[name for _, name in SCHEMAS])
def test_home_is_found_in_every_path(schema: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann b")
    for path in texts(schema, FilePath):
        assert at(schema, name, {path: "~/mosi"}) == {path: "/home/ann b/mosi"}
        assert at(schema, name, {path: "a/~/mosi"}) == {path: "a/~/mosi"}


@pytest.mark.parametrize("data", ["store", "mosi_utterance"])
def test_a_component_takes_texts_and_paths_too(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    for text in TEXTS + PATHS:
        assert compose(SearchConfig, "search", [f"data={data}", f"data.path={text}"]).data.settings["path"] == text
    assert compose(SearchConfig, "search", [f"data={data}", "data.path=~/m"]).data.settings["path"] == "/home/ann/m"


@pytest.mark.parametrize("path", [path for path, _, f in settings(SearchConfig) if choices(f)])
def test_an_unknown_choice_is_named_as_it_was_typed(path: str) -> None:
    with pytest.raises(UserError, match=rf"{path}=007: unknown"):
        compose(SearchConfig, "search", [f"{path}=007"])


def test_quotes_around_the_whole_are_left_out_and_null_means_none() -> None:
    for typed in ("'a b'", '"a b"', "'a b' "):
        assert at(ExportConfig, "export", {"pick": typed})["pick"] == "a b"
    assert at(ExportConfig, "export", {"pick": r"'don\'t'"})["pick"] == "don't"
    assert at(ExportConfig, "export", {"pick": "null", "output": "Null"}) == {"pick": None, "output": None}
    assert at(ExportConfig, "export", {"pick": "'null'"})["pick"] == "null"
    assert at(ExportConfig, "export", {"run": "null"})["run"] == "null", "a run is never none"


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("[a,b]", ["a", "b"]),
        ("[ a , 'b, c',\"d\", 007, ]", ["a", "b, c", "d", "007"]),
        ("a,b", ["a", "b"]),
        ("a", ["a"]),
        ("a b ", ["a b "]),
        ("", []),
        ("[]", []),
        ("[a[1,2],{b,c}]", ["a[1,2]", "{b,c}"]),
        (r"[a\,b,c]", ["a,b", "c"]),
        ("[don't,can't]", ["don't", "can't"]),
        ("'nfe <= 8'", ["nfe <= 8"]),
        ('["latency_ms_b1 <= 5", "valid.MAE <= 1.2"]', ["latency_ms_b1 <= 5", "valid.MAE <= 1.2"]),
    ],
)
def test_lists(typed: str, wanted: list[str]) -> None:
    assert [unquoted(word) for word in words(typed)] == wanted


@pytest.mark.parametrize("typed", ["{head: 0.4, worker_l4: 0.98}", "{head:0.4,'worker_l4':0.98}"])
def test_mappings(typed: str) -> None:
    config = compose(SearchConfig, "search", [f"scaling.dollars_per_hour={typed}"])
    assert config.scaling.dollars_per_hour == {"head": 0.4, "worker_l4": 0.98}
    assert mapping("{a}") is None and mapping("a: b") is None and mapping("{}") == {}


def test_a_section_can_be_given_as_a_mapping_or_not_at_all() -> None:
    config = compose(SearchConfig, "search", ["training.encode={num_epochs: 3, learning_rate: 1e-3}"])
    assert (config.training.encode.num_epochs, config.training.encode.learning_rate) == (3, 1e-3)
    assert config.training.impute.num_epochs == 60, "what the YAML files say of the others stays"
    with pytest.raises(UserError, match=r"training.encode has several settings.*training.encode.num_epochs="):
        compose(SearchConfig, "search", ["training.encode=3"])


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [("seed=1e3", 1000), ("seed= 7 ", 7), ("seed=007", 7), ("diffusion.guidance=1", 1.0), ("loss.recovery=.5", 0.5)],
)
def test_numbers_are_numbers_where_numbers_are_asked_for(typed: str, wanted: float) -> None:
    found = flatten(tree_of(compose(SearchConfig, "search", [typed])))[typed.partition("=")[0]]
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("seed=1.5", "seed must be int, not 1.5"),
        ("seed=true", "seed must be int, not 'true'"),
        ("seed=", "seed must be int, not ''"),
        (f"seed={'x' * 10_000}", "seed must be int, not 'xxx"),
        ("study.max_seconds=soon", "study.max_seconds must be float, not 'soon'"),
        (f"loss.recovery=1{'0' * 400}", "loss.recovery must lie between"),
        ("scaling.dollars_per_hour=much", "must be float or a mapping, not 'much'"),
        ("study.root=", "study.root= is empty: give a path"),
        ("data.path=x", "data.path: unknown key or option"),
        (f"study.root={'x' * 256}", "each name in it 255"),
        (f"study.root={'x/' * 2048}", "a path may have 4095 bytes"),
        ("study.root=a\0b", "no file can have this name"),
        ("study.root=a\ud800b", "no file can have this name"),
        ("encoder._target_=imer_ray.export.main", "choose a component by its name"),
        ("seed.x=3", "seed must be int, not {'x': '3'}"),
        ("=3", "write key=value"),
        ("a..b=1", "unknown key"),
        ("study", "write key=value"),
    ],
)
def test_what_cannot_be_read_is_one_short_line(typed: str, says: str) -> None:
    with pytest.raises(UserError) as raised:
        compose(SearchConfig, "search", [typed])
    message = str(raised.value)
    assert says in message and "\n" not in message and len(message) < 250 and "++" not in message


def test_a_list_of_paths_is_split_unless_the_whole_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert compose(EvaluateCommandConfig, "evaluate", ["model=a,b"]).model == ("a", "b")
    for name in ("a,b", "[a,b]"):
        (tmp_path / name).mkdir()
    assert compose(EvaluateCommandConfig, "evaluate", ["model=a,b"]).model == ("a,b",)
    assert compose(EvaluateCommandConfig, "evaluate", ["model=[a,b]"]).model == ("[a,b]",)
    assert compose(EvaluateCommandConfig, "evaluate", ["model=['a,b',c d]"]).model == ("a,b", "c d")
    assert compose(SearchConfig, "search", ["study.warm_start=a,b"]).study.warm_start == ("a,b",)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compose(EvaluateCommandConfig, "evaluate", ["model=~/a,b"]).model == (f"{tmp_path}/a,b",)


def test_seeds_and_baselines_are_lists_with_and_without_brackets() -> None:
    for seeds, baselines in (("[1,2]", "[zero,masked]"), ("1,2", "zero,masked")):
        config = compose(TrainConfig, "train", [f"seeds={seeds}", f"baselines={baselines}"])
        assert (config.seeds, config.baselines) == ((1, 2), ("zero", "masked"))
    with pytest.raises(UserError, match="baselines=zeros: unknown key or option; did you mean zero?"):
        compose(TrainConfig, "train", ["baselines=[zeros]"])
    with pytest.raises(UserError, match="baselines=none: unknown key or option; choose one of autoencoder"):
        compose(TrainConfig, "train", ["baselines=none"])
    with pytest.raises(UserError, match="seeds names 1 more than once"):
        compose(TrainConfig, "train", ["seeds=[1,2,1]"])


@pytest.mark.parametrize("path", [path for path, _ in component_groups(SearchConfig)])
def test_a_component_is_chosen_by_its_path_or_its_name(path: str) -> None:
    name = options(dict(component_groups(SearchConfig))[path])[-1]
    wanted = compose(SearchConfig, "search", [f"{path}={name}"])
    for key in (f"{path}.name", path.replace(".", "/")):
        assert compose(SearchConfig, "search", [f"{key}={name}"]) == wanted
    with pytest.raises(UserError, match=f"{path}={name}x: .*did you mean {name}"):
        compose(SearchConfig, "search", [f"{path}.name={name}x"])
