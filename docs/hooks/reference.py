"""The reference's tables, made of the schemas when the site is built: ``<!-- generated: settings -->`` in a page.

What a setting or a column is, its comment in the source says, and nothing else does: a comment at the end of its lines,
or those on lines of their own right before them.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from itertools import groupby
from types import ModuleType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import imer_ray
from imer_ray import console
from imer_ray.config import commands
from imer_ray.config.components import choices, hints, option, options
from imer_ray.config.compose import compose
from imer_ray.config.plugin_options import PRESETS
from imer_ray.config.resolve import component_groups, tree_of
from imer_ray.results import schema as results
from imer_ray.results import timeline

MARK = re.compile(r"^<!-- generated: (?P<what>\w+) -->$", re.MULTILINE)
COMMANDS = {name: schema for name, (_, schema) in console.COMMANDS.items() if schema is not None}
# Of groups, by stem.
ORDER = ("data", "protocol", "encoder", "diffusion", "refiner", "fusion", "imputer", "shape", "extractor")


def on_page_markdown(markdown: str, **_: object) -> str:
    made: Mapping[str, Callable[[], Iterator[str]]] = {
        "settings": settings,
        "options": all_options,
        "columns": lambda: columns(results),
        "runs": lambda: columns(timeline),
        "python": public_names,
    }
    return MARK.sub(lambda found: "\n".join(made[found["what"]]()), markdown)


def settings() -> Iterator[str]:
    """A table for each section of each command."""
    for command, schema in COMMANDS.items():
        defaults = tree_of(compose(schema, command, []))
        yield f"\n## {command}\n"
        yield f"`python -m imer_ray.{command} key=value ...`\n"
        yield from _sections(schema, defaults, "")


def _sections(schema: type, defaults: Mapping[str, Any], prefix: str) -> Iterator[str]:
    annotations, nested = hints(schema), [f for f in fields(schema) if is_section(schema, f)]
    plain = [f for f in fields(schema) if f not in nested]
    if plain:
        yield from _table(schema, plain, {prefix: defaults})
    for kind, alike in groupby(nested, key=lambda f: annotations[f.name]):
        same = list(alike)
        paths = {f"{prefix}{f.name}.": defaults[f.name] for f in same}
        yield "\n### " + ", ".join(f"`{path[:-1]}`" for path in paths) + "\n"
        if text := said(kind):
            yield f"{text}\n"
        if len(same) > 1:
            yield from _table(kind, fields(kind), paths)
        else:
            yield from _sections(kind, defaults[same[0].name], f"{prefix}{same[0].name}.")


def _table(schema: type, shown: Sequence[Field[Any]], paths: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One row a setting; of sections alike one column of defaults each."""
    notes, several = setting_notes(schema), len(paths) > 1
    heads = [f"{path[:-1].rpartition('.')[2]}" for path in paths] if several else ["default"]
    yield f"| setting | {' | '.join(heads)} | takes | what it is |"
    yield f"|---|{'---|' * len(heads)}---|---|"
    for f in shown:
        name = f.name if several else next(iter(paths)) + f.name
        values = " | ".join(_value(defaults[f.name]) for defaults in paths.values())
        yield f"| `{name}` | {values} | {_takes(f, hints(schema)[f.name])} | {cell(notes.get(f.name, ''))} |"
    yield ""


def _value(value: object) -> str:
    value = value["name"] if isinstance(value, Mapping) and "name" in value else value
    if value is None or isinstance(value, Mapping) and not value:
        return "–"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value) or "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{_plain(value)}`"


def _takes(f: Field[Any], hint: object) -> str:
    if group := f.metadata.get("group"):
        return f"[{group}](options.md#{anchor(group)}): " + ", ".join(f"`{name}`" for name in options(group))
    if "overrides" in f.metadata:
        return "settings"
    if allowed := choices(f):
        return ", ".join(f"`{name}`" for name in allowed)
    return cell(_type(hint))


def _type(hint: object) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return "a path or URI"
    if origin in (Union, UnionType):
        return " or ".join(_type(kind) for kind in arguments if kind is not type(None))
    if origin is tuple:
        return f"a list of {_type(arguments[0]).removeprefix('a ')}s"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(hint, "a mapping")


def all_options() -> Iterator[str]:
    """Every option of every group with its settings, and the modules that a setting names."""
    schemas = (commands.SearchConfig, commands.GenerateConfig)
    groups = {group for schema in schemas for _, group in component_groups(schema)} | {"imputer", "extractor"}
    for group in sorted(groups, key=lambda group: (ORDER.index(group.partition("/")[0]), group)):
        yield f"\n## {group} {{ #{anchor(group)} }}\n"
        for name in options(group):
            yield f"\n### {name} {{ #{anchor(group)}-{anchor(name)} }}\n"
            node = option(group, name)
            given = (f"`{key}={_plain(value)}`" for key, value in node.items() if key not in ("name", "_target_"))
            yield f"`{group.replace('/', '.')}={name}`" + "".join(f", {text}" for text in given) + "\n"
            yield from _docstring(node["_target_"])
    for schema, field_name in ((commands.SearchConfig, "system"), *_study_fields()):
        (f,) = (f for f in fields(schema) if f.name == field_name)
        yield f"\n## {field_name} {{ #{anchor(field_name)} }}\n"
        for name in choices(f):
            yield f"\n### {name} {{ #{anchor(field_name)}-{anchor(name)} }}\n"
            yield from _docstring(f"{f.metadata['package']}.{name}")
    yield f"\n## {PRESETS}\n\n" + ", ".join(f"`{PRESETS}={name}`" for name in options(PRESETS)) + "\n"


def _study_fields() -> Iterator[tuple[type, str]]:
    """The study's settings that name a module."""
    study = hints(commands.SearchConfig)["study"]
    yield from ((study, f.name) for f in fields(study) if "package" in f.metadata)


def _docstring(target: str) -> Iterator[str]:
    yield f"::: {target}\n    options: {{show_root_heading: false, show_root_toc_entry: false}}\n"


def _plain(value: object) -> str:
    """As one would type it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")


def public_names() -> Iterator[str]:
    """What ``import imer_ray`` offers, as its docstrings say it."""
    for name in imer_ray.__all__:
        found = getattr(imer_ray, name)
        if callable(found):
            members = "null" if isinstance(found, type) else "false"  # null: those with a docstring
            yield f"::: {found.__module__}.{found.__qualname__}"
            yield f"    options: {{heading_level: 2, members: {members}}}\n"


def columns(module: ModuleType) -> Iterator[str]:
    """The columns of a file, with their Arrow types."""
    notes = dict(column_notes(module))
    yield "| column | type | what it is |\n|---|---|---|"
    for name, kind in module.COLUMNS.items():
        yield f"| `{name}` | {kind} | {cell(notes.get(name, ''))} |"


def is_section(schema: type, f: Field[Any]) -> bool:
    """Whether a field holds further settings; a component does, but they are its own."""
    return is_dataclass(hints(schema)[f.name]) and "group" not in f.metadata


def said(schema: type) -> str:
    """A class's own docstring; the one that a dataclass is given is none."""
    text = inspect.cleandoc(schema.__doc__ or "")
    return "" if text.startswith(f"{schema.__name__}(") else text.replace("``", "`")


def setting_notes(schema: type) -> dict[str, str]:
    """Field -> its comment, the inherited ones as well."""
    found: dict[str, str] = {}
    for cls in reversed([cls for cls in schema.__mro__ if is_dataclass(cls)]):
        source = textwrap.dedent(inspect.getsource(cls))
        body = ast.parse(source).body[0]
        assert isinstance(body, ast.ClassDef)
        nodes = {n.target.id: n for n in body.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        found |= _notes(source, {name: (node.lineno, node.end_lineno or node.lineno) for name, node in nodes.items()})
    return found


def column_notes(module: ModuleType) -> dict[str, str]:
    """Column -> its comment."""
    source = inspect.getsource(module)
    for node in ast.parse(source).body:
        target = node.target if isinstance(node, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "COLUMNS" and isinstance(node.value, ast.Dict):
            items = zip(node.value.keys, node.value.values, strict=True)
            spans = {k.value: (k.lineno, v.end_lineno or v.lineno) for k, v in items if isinstance(k, ast.Constant)}
            return _notes(source, spans)
    raise ValueError(f"{module.__name__} has no COLUMNS")


def _notes(source: str, spans: Mapping[Any, tuple[int, int]]) -> dict[str, str]:
    """The comments on each span of lines, and on lines of their own right before it."""
    comments: dict[int, str] = {}
    alone: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string.lstrip("# ")
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    found = {}
    for name, (first, last) in spans.items():
        while first - 1 in alone:
            first -= 1
        found[str(name)] = " ".join(comments[line] for line in range(first, last + 1) if line in comments)
    return found


def cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").replace("<", "&lt;").split())


def anchor(text: str) -> str:
    return text.replace("/", "-")
