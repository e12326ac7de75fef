"""What a plugin may add to ours: options of known groups, of its own classes and ours, under names that are free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources.abc import Traversable

import yaml

from imer_ray.errors import UserError, hint
from imer_ray.received import shown

OURS = "imer_ray"
PRESETS = "preset"  # the folder of a published system's settings, as one would type them


@contextmanager
def named(plugin: str, what: str) -> Iterator[None]:
    """What goes wrong within, in a sentence that names the plugin."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"plugin {plugin}: {what}: {type(error).__name__}: {error}") from error


def check_free(plugin: str, where: str, name: str, taken: Mapping[str, str]) -> None:
    """Refuse a plugin's choice whose name is taken, ``{name: by whom}``.

    Raises:
        UserError: it names the plugin.
    """
    if name in taken:
        raise UserError(f"plugin {plugin}: {where}: the name {name} is taken by {taken[name]}; choose another")


def check_options(plugin: str, conf: Traversable, others: Sequence[tuple[str, Traversable]]) -> None:
    """Check all option files of a plugin.

    Args:
        others: whose options there are already, and their folders, ours first.

    Raises:
        UserError: a file is in no group, has a taken name, cannot be read, or describes no component; it names the
            plugin and the file.
    """
    (_, ours), *_ = others
    for group, file in _files(conf, ""):
        where, parts = f"conf/{group}/{file.name}".replace("//", "/"), group.split("/")
        if not group or not ours.joinpath(*parts).is_dir():
            known = sorted({found for found, _ in _files(ours, "") if found})
            raise UserError(f"plugin {plugin}: {where} is in no component group; {hint(group, known)}")
        name = file.name.removesuffix(".yaml")
        owners = [owner for owner, folder in others if folder.joinpath(*parts, file.name).is_file()]
        check_free(plugin, where, name, dict.fromkeys([name], owners[0]) if owners else {})
        with named(plugin, f"{where} cannot be read as YAML"):
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(tree, dict):
            raise UserError(f"plugin {plugin}: {where} holds no settings")
        if group != PRESETS:
            _check_node(plugin, where, name, tree.get(group, tree))


def _check_node(plugin: str, where: str, name: str, node: object) -> None:
    target = node.get("_target_") if isinstance(node, dict) else None
    root = target.partition(".")[0] if isinstance(target, str) else None
    if not isinstance(node, dict) or root not in (plugin, OURS) or node.get("name") != name:
        raise UserError(
            f"plugin {plugin}: {where} must give name: {name}, and as _target_ a class of {plugin} or {OURS}, "
            f"not {shown(target)}"
        )


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    """(group, file) of every YAML file."""
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix[:-1], entry
