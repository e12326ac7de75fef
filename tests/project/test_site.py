"""The documentation is built without a network, is whole, and a broken link ends its build."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from imer_ray.config.commands import SearchConfig
from imer_ray.config.components import hints, options
from imer_ray.config.resolve import component_groups
from imer_ray.results import schema as results
from imer_ray.results import timeline

ROOT = Path(__file__).parents[2]
REMOTE = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(?:https?:)?//|<link(?![^>]*canonical)[^>]*href=["']?https?://"""
)


def build(configuration: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        str(configuration),
        "-d",
        str(site),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def reference() -> Any:
    """The hook that makes the reference's tables, which is no part of a package."""
    spec = spec_from_file_location("reference_hook", ROOT / "docs" / "hooks" / "reference.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_site_is_whole_and_asks_no_other_site_for_anything(tmp_path: Path) -> None:
    done = build(ROOT / "mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stderr
    pages = {path: path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) > 20
    assert [path.name for path, html in pages.items() if REMOTE.search(html)] == []
    assert [path.name for path in tmp_path.rglob("*.css") if re.search(r"url\(['\"]?https?:", path.read_text())] == []
    options_page = pages[tmp_path / "reference" / "options.html"]
    assert "<math" in options_page and r"\alpha" not in options_page and "generated:" not in options_page
    for group in {group for _, group in component_groups(SearchConfig)}:
        assert [n for n in options(group) if f'id="{group.replace("/", "-")}-{n}"' not in options_page] == []


@pytest.mark.parametrize("link", ["nowhere.md", "#nowhere", "other.md#nowhere", "/index.md"])
def test_a_broken_link_ends_the_build(tmp_path: Path, link: str) -> None:
    """With the project's own rules for links, on two small pages."""
    rules = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["validation"]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Home\n[broken]({link}) [whole](other.md#there)\n")
    (tmp_path / "docs" / "other.md").write_text("# Other\n## There\n")
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({"site_name": "small", "validation": rules}))
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0 and link.split("#")[0] in done.stderr


def test_every_setting_says_what_it_is(reference: Any) -> None:
    def sections(schema: type) -> set[type]:
        nested = {hints(schema)[f.name] for f in fields(schema) if reference.is_section(schema, f)}
        return {schema}.union(*map(sections, nested))

    schemas = set[type]().union(*map(sections, reference.COMMANDS.values()))
    silent = [
        f"{schema.__name__}.{f.name}"
        for schema in schemas
        for f in fields(schema)
        if not reference.is_section(schema, f) and not reference.setting_notes(schema).get(f.name)
    ]
    assert sorted(silent) == []


@pytest.mark.parametrize("module", [results, timeline], ids=lambda module: module.__name__)
def test_every_column_says_what_it_is(reference: Any, module: Any) -> None:
    notes = reference.column_notes(module)
    assert [name for name in module.COLUMNS if not notes.get(name)] == []


def test_a_comment_is_of_its_own_setting(reference: Any) -> None:
    notes = reference.setting_notes(SearchConfig)
    assert notes["compile"].startswith("of networks and recogniser")
    assert notes["precision"] == "of numbers, at inference"
