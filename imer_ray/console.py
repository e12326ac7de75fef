# PYTHON_ARGCOMPLETE_OK
"""Every command under one name: ``imer-ray search key=value ...`` is ``python -m imer_ray.search key=value ...``.

``imer-ray COMMAND --help`` lists a command's keys with their defaults and options. In bash and zsh the tabulator
completes commands, keys and options after ``eval "$(register-python-argcomplete imer-ray)"``.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import argcomplete

from imer_ray import __version__, cli
from imer_ray.config import commands
from imer_ray.errors import UserError, hint

PROGRAM = "imer-ray"
COMMANDS: dict[str, tuple[str, type | None]] = {  # module, and what it can be told in key=value
    "search": ("imer_ray.search", commands.SearchConfig),
    "train": ("imer_ray.train", commands.TrainConfig),
    "evaluate": ("imer_ray.evaluate", commands.EvaluateCommandConfig),
    "predict": ("imer_ray.predict", commands.PredictConfig),
    "export": ("imer_ray.export", commands.ExportConfig),
    "serve": ("imer_ray.serve", commands.ServeConfig),
    "report": ("imer_ray.analysis.__main__", None),
    "stages": ("imer_ray.stages.__main__", commands.StagesConfig),
    "convert": ("imer_ray.convert", commands.ConvertConfig),
    "finetune": ("imer_ray.finetune", commands.FinetuneConfig),
    "generate": ("imer_ray.generate", commands.GenerateConfig),
}


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command that ``words`` begin with, by default the process's, and end the process as it does."""
    given = list(sys.argv[1:] if words is None else words)
    if given and given[0] in COMMANDS and "_ARGCOMPLETE" not in os.environ:
        _run(given[0], given[1:])
    cli.guard(lambda: _explain(given))


def _run(name: str, words: list[str]) -> NoReturn:
    module, schema = COMMANDS[name]
    command = importlib.import_module(module).main
    if schema is None:
        cli.guard(lambda: sys.exit(command(words)))
    cli.run(command, schema, words)


def _explain(words: list[str]) -> None:
    parser = _parser()
    argcomplete.autocomplete(parser)
    if words and not words[0].startswith("-"):
        raise UserError(f"{PROGRAM} {words[0]}: there is no such command; {hint(words[0], COMMANDS)}")
    parser.parse_args(words)
    parser.print_help()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (module, schema) in COMMANDS.items():
        command = subparsers.add_parser(name, help=_purpose(module))
        word = command.add_argument("words", nargs="*")
        if schema is not None:
            word.completer = functools.partial(_completions, name, schema)  # type: ignore[attr-defined]
    return parser


def _completions(name: str, schema: type, prefix: str, **rest: object) -> list[str]:
    """What a word of a command may go on to: keys, and after ``=`` the options, of a list after its last comma."""
    key, equals, value = prefix.partition("=")
    found = {path: allowed for path, _, allowed in cli.keys(schema, name)}
    if not equals:
        return [f"{path}=" for path in found]
    begun = value[: max(value.rfind(","), value.rfind("[")) + 1]
    return [f"{key}={begun}{option}" for option in found.get(key, [])]


def _purpose(module: str) -> str:
    """A command's purpose: the first sentence of its docstring, read without importing what it needs."""
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    said = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return said.partition(":")[0]


if __name__ == "__main__":
    main()
