"""What all commands share: ``key=value`` arguments, ``--help``, and errors as one clear line instead of a traceback."""

from __future__ import annotations

import codecs
import dataclasses
import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import NoReturn

from imer_ray.config import components, compose, resolve
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.tree import flatten
from imer_ray.errors import StoreFailed, UserError
from imer_ray.files import provide_home

FAILED, INTERRUPTED = 2, 130
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_LIKE_CTRL_C = (signal.SIGTERM, signal.SIGHUP)  # a batch system's time is up; the terminal was closed
_PLAIN = str.maketrans({"±": "+-", "×": "x", "–": "-", "—": "-", "…": "...", "→": "->", "’": "'"})


def run(main: Callable[[list[str]], object], schema: type, words: Sequence[str] | None = None) -> NoReturn:
    """Run a command, or explain it, and end the process as `guard` does.

    Args:
        schema: of `imer_ray.config.commands`: what the command can be told.
        words: its arguments; None: the process's.
    """

    def act() -> None:
        arguments = list(sys.argv[1:] if words is None else words)
        if {"--help", "-h"} & set(arguments):
            print(help_text(main, schema))
        else:
            main(arguments)

    guard(act)


def guard(act: Callable[[], None]) -> NoReturn:
    """Do what a command does and end the process.

    Exit status: 0, 2 after a UserError or a full disk (one message, no traceback), 130 after ctrl-C and after the
    signals SIGTERM and SIGHUP, which end a command in the same way.
    """
    for number in _LIKE_CTRL_C:
        if signal.getsignal(number) is not signal.SIG_IGN:  # else nohup wants it so
            signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAIN_ERRORS)
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        prepare()
        act()
        sys.stdout.flush()
    except UserError as error:
        _end(FAILED, f"error: {error}")
    except KeyboardInterrupt:
        _end(INTERRUPTED, "interrupted; what was finished is kept, and the same command goes on from there")
    except BrokenPipeError:  # whoever read our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except StoreFailed as error:
        _end(FAILED, f"error: {error}; run the same command again when it answers")
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        where = f" for {error.filename}" if error.filename else ""
        _end(FAILED, f"error: no space left{where}; free some space, then run the same command again")
    sys.exit(0)


def prepare() -> None:
    """Give this process what libraries expect of it before they are imported."""
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # else a thread's question after the end starts Ray anew
    provide_home()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What a terminal or log that is not UTF-8 shows of a text that it cannot: something like it, or ``?``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = error.object[error.start : error.end].translate(_PLAIN)
    return plain.encode(error.encoding, "replace").decode(error.encoding), error.end


_PLAIN_ERRORS = "imer_ray.plain"
codecs.register_error(_PLAIN_ERRORS, _plainly)


def say_unscored(config: ExperimentConfig, split: str) -> None:
    """Print which settings of the protocol will have no numbers because of the data, and which metrics no meaning."""
    from imer_ray.evaluation.scorable import meaningless
    from imer_ray.evaluation.score import MIN_CLIPS, unscored

    if settings := unscored(config, split):
        print(f"not scored: {', '.join(settings)} (fewer than {MIN_CLIPS} labelled {split} clips recorded any of it)")
    if metrics := meaningless(config, split):
        print(f"without meaning: {', '.join(metrics)} (the labels of the {split} clips are too much alike)")


def help_text(main: Callable[[list[str]], object], schema: type) -> str:
    """The docstring of the command's module, then every key with its default."""
    module = sys.modules[main.__module__]
    path = module.__spec__.name if module.__spec__ else module.__name__
    found = keys(schema, path.removesuffix(".__main__").rpartition(".")[2])
    lines = [f"  {key}={text}" + (f"  ({', '.join(allowed)})" if allowed else "") for key, text, allowed in found]
    return "\n".join([(module.__doc__ or "").strip(), "", "Keys and their defaults:", *lines])


def keys(schema: type, name: str) -> Iterator[tuple[str, str, list[str]]]:
    """Every key of the command ``name`` with its default, as one would type it, and the options that it has, if any."""
    groups, choices = dict(resolve.component_groups(schema)), _choices(schema)
    for path, value in flatten(resolve.tree_of(compose.compose(schema, name, []))).items():
        allowed = components.options(groups[path]) if path in groups else choices.get(path, [])
        text = "null" if value is None else f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
        yield path, text, allowed


def _choices(cls: type, prefix: str = "") -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for field in dataclasses.fields(cls):
        if choices := components.choices(field):
            found[prefix + field.name] = choices
        elif dataclasses.is_dataclass(field.default_factory):
            found |= _choices(field.default_factory, f"{prefix}{field.name}.")
    return found


def _end(status: int, message: str) -> NoReturn:
    sys.stdout.flush()
    print(message, file=sys.stderr)
    sys.exit(status)
