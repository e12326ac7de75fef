"""What the documents say of the project is so: commands, settings, modules and methods."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest
import yaml

import imer_ray
from imer_ray import console
from imer_ray.config import commands
from imer_ray.config.components import choices, options
from imer_ray.config.compose import compose
from imer_ray.config.plugins import GROUP

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS += [ROOT / "analysis" / "README.md", ROOT / "clusters" / "README.md"]
SCHEMAS = {name: schema for name, (_, schema) in console.COMMANDS.items() if schema is not None}
EXAMPLES = ("adams_bashforth",)  # options that a document tells how to add
SETTINGS = {f.name for f in fields(commands.SearchConfig)}
each_document = partial(pytest.mark.parametrize, "path", ids=lambda path: str(path.relative_to(ROOT)))


def statements(text: str) -> Iterator[list[str]]:
    """The words of each command in a shell's text, however many lines it takes."""
    begun = ""
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(begun + line, comments=True)
        except ValueError:  # a quote goes on in the next line
            begun += line + "\n"
            continue
        begun = ""
        yield words


def imer_ray_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """(command, its settings) of every ``python -m imer_ray.*`` and ``make search`` in a shell's text."""
    for words in statements(text):
        for i, word in enumerate(words):
            if word.startswith("imer_ray.") and words[i - 1] == "-m":
                name = word.removeprefix("imer_ray.")
                yield (
                    name,
                    [w for w in words[i + 1 + (name == "stages") :] if re.match(r"(?!key=)[a-z_.]+=(?!\.\.\.)", w)],
                )
            elif "-m imer_ray." in word and word != words[0]:
                yield from imer_ray_commands(word.partition(";")[0])
            elif word.startswith("ARGS=") and "search" in words:
                yield "search", shlex.split(word.removeprefix("ARGS="))


def code(path: Path) -> Iterator[str]:
    """Shell blocks, and what stands in backquotes within a line."""
    text = path.read_text()
    yield from re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    for found in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        yield " ".join(found.split())


@each_document(DOCUMENTS)
def test_every_command_is_one_that_is_taken(path: Path) -> None:
    for text in code(path):
        for name, words in imer_ray_commands(text):
            if name in SCHEMAS:
                compose(SCHEMAS[name], name, words)
            else:  # analysis, which takes no settings
                assert _is_module(["imer_ray", *name.split(".")])


@each_document(DOCUMENTS)
def test_every_setting_is_one_that_is_taken(path: Path) -> None:
    for text in code(path):
        if "\n" not in text and re.match(r"[a-z_.]+=", text):
            words = [w for w in shlex.split(text) if w.split("=")[0].split(".")[0] in SETTINGS and "..." not in w]
            if not any(example in text for example in EXAMPLES):
                compose(commands.SearchConfig, "search", words)


def test_the_commands_that_are_checked_are_found() -> None:
    found = [name for path in DOCUMENTS for text in code(path) for name, _ in imer_ray_commands(text)]
    assert set(found) == {*SCHEMAS, "analysis"} and len(found) > 20


@each_document(DOCUMENTS)
def test_every_module_that_is_named_exists(path: Path) -> None:
    for name in set(re.findall(r"(?<!-m )\b(imer_ray(?:\.[a-z_]\w*)+)\b", path.read_text())):
        parts = name.split(".")
        at = next((i for i in range(len(parts), 0, -1) if _is_module(parts[:i])), 0)
        assert at > 1 or name == GROUP or parts[1] in imer_ray.__all__, f"{name} is nowhere"


@each_document(DOCUMENTS)
def test_every_file_of_the_code_that_is_named_exists(path: Path) -> None:
    named = re.findall(r"`((?:imer_ray|tests|search_spaces|clusters|benchmarks)/[\w/.]+)`", path.read_text())
    given = [name for name in set(named) if not ("NAME" in name or any(example in name for example in EXAMPLES))]
    assert [name for name in given if not (ROOT / name).exists()] == []


def _is_module(parts: list[str]) -> bool:
    stem = ROOT.joinpath(*parts)
    return stem.with_suffix(".py").is_file() or stem.is_dir()


def test_the_readme_fits_a_screen_or_two() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 700


def methods(schema: type, name: str) -> list[str]:
    """The modules that a setting of a schema names."""
    (f,) = (f for f in fields(schema) if f.name == name)
    return choices(f)


NAMED = {
    "systems": methods(commands.SearchConfig, "system"),
    "samplers": options("diffusion/sampler"),
    "processes": options("diffusion/sde"),
    "searchers": methods(commands.StudyConfig, "searcher"),
}


@pytest.mark.parametrize("kind", NAMED)
def test_the_readme_links_every_method(kind: str) -> None:
    (row,) = re.findall(rf"^\| {kind} \|(.*)\|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(set(re.findall(r"\b[a-z]\w+", " ".join(re.findall(r"\[([^\]]+)\]", row))))) == sorted(NAMED[kind])


@pytest.mark.parametrize(
    "group",
    ["data", "protocol", "encoder", "refiner", "fusion", *(f"diffusion/{g}" for g in ("sde", "sampler", "backbone"))]
    + ["diffusion/weighting", "diffusion/time_sampling"],
)
def test_the_methods_page_names_every_option(group: str) -> None:
    text = (ROOT / "docs" / "methods.md").read_text()
    assert [name for name in options(group) if f"`{name}`" not in text and f"`{group}={name}`" not in text] == []


@pytest.mark.parametrize(("schema", "name"), [(commands.SearchConfig, "system"), (commands.StudyConfig, "searcher")])
def test_the_methods_page_names_every_system_and_searcher(schema: type, name: str) -> None:
    text = (ROOT / "docs" / "methods.md").read_text()
    assert [option for option in methods(schema, name) if f"| `{option}` |" not in text] == []


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == imer_ray.__version__ and citation["cff-version"] == "1.2.0"
    assert {"title", "authors", "message"} <= set(citation)
    license_ = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
    assert citation["license"] == license_


def test_the_workflow_checks_what_is_to_be_checked_before_a_commit() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["check"]
    assert job["strategy"]["matrix"]["target"] == ["lint", "test", "docs"]
    assert job["steps"][-1]["run"] == "make ${{ matrix.target }}"


def test_the_notebook_has_no_outputs() -> None:
    cells = json.loads((ROOT / "analysis" / "explore.ipynb").read_text())["cells"]
    assert [cell["id"] for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
