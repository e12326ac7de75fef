"""Packages of other laboratories that add choices to ours, by consent only.

A plugin is a package that can be imported, here ``my_lab``, with any of these folders:

- ``conf/``: options of our component groups, laid out as in ``imer_ray/conf/``; their ``_target_`` is a class of
  ``my_lab`` or of imer_ray
- ``systems/``, ``searchers/``, ``schedulers/``, ``loggers/``: modules that are choices beside ours of the same folder
- ``search_spaces/``: spaces that ``space=NAME`` finds

It is loaded where whoever runs a command says so (``plugins=[my_lab]``), or has installed a distribution with an entry
point in the group ``imer_ray.plugins`` whose value is ``my_lab``. What a file says loads none: a configuration that
needs one is refused until it is loaded. Processes that this one starts load the same.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from importlib.resources.abc import Traversable
from types import ModuleType
from typing import Any, TypeVar

from imer_ray.config.plugin_options import OURS, check_free, check_options, named
from imer_ray.errors import UserError
from imer_ray.received import shown

CONF_MODULE = "imer_ray.conf"
GROUP = "imer_ray.plugins"  # of entry points
VARIABLE = "IMER_RAY_PLUGINS"  # of the environment: what a parent process has loaded
CONF, SPACES = "conf", "search_spaces"
MODULES = ("systems", "searchers", "schedulers", "loggers")

Cached = TypeVar("Cached", bound="functools._lru_cache_wrapper[Any]")
_caches: list[functools._lru_cache_wrapper[Any]] = []


@dataclass(frozen=True)
class Plugin:
    """A package that has been loaded."""

    name: str
    folder: Traversable

    def part(self, name: str) -> Traversable | None:
        """Its folder of this name, if it has one."""
        found = self.folder.joinpath(name)
        return found if found.is_dir() else None


_loaded: dict[str, Plugin] = {}


def until_next(cached: Cached) -> Cached:
    """A cached function that forgets what it knows when a plugin is loaded."""
    _caches.append(cached)
    return cached


def load(names: Iterable[str]) -> None:
    """Load plugins into this process and those that it starts from now on.

    Raises:
        UserError: a package is missing or breaks, is no plugin, or takes a name that is another's; it names the plugin.
    """
    _begin()
    for name in names:
        _add(name)
        os.environ[VARIABLE] = ",".join(_loaded)


def active() -> tuple[Plugin, ...]:
    """The plugins of this process: those of installed entry points, of its parent process, and loaded here."""
    _begin()
    return tuple(_loaded.values())


def names() -> tuple[str, ...]:
    """The packages of `active`."""
    return tuple(plugin.name for plugin in active())


def parts(name: str) -> list[tuple[Plugin, Traversable]]:
    """The folders of this name of all plugins."""
    return [(plugin, found) for plugin in active() if (found := plugin.part(name)) is not None]


def modules(package: str) -> list[str]:
    """The names of the choices that a package of ours holds, and the plugins' folders of its last name.

    Raises:
        UserError: a plugin's choice has the name of another.
    """
    known = dict.fromkeys(_modules(resources.files(package)), OURS)
    for plugin, folder in _module_folders(package):
        for name in _modules(folder):
            check_free(plugin.name, f"{folder.name}/{name}.py", name, known)
            known[name] = plugin.name
    return sorted(known)


def module(package: str, name: str) -> ModuleType:
    """The module of a choice that `modules` names.

    Raises:
        UserError: a plugin's module breaks when it is imported.
    """
    for plugin, folder in _module_folders(package):
        if name in _modules(folder):
            return imported(f"{plugin.name}.{folder.name}.{name}")
    return importlib.import_module(f"{package}.{name}")


def imported(path: str) -> ModuleType:
    """The module at a dotted path, which may be a plugin's.

    Raises:
        UserError: it is a plugin's and breaks.
    """
    plugin = path.partition(".")[0]
    if plugin not in _loaded:
        return importlib.import_module(path)
    with named(plugin, f"importing {path} failed"):
        return importlib.import_module(path)


def attribute(path: str, name: str) -> Any:
    """What has this name in the module at a dotted path.

    Raises:
        UserError: it is a plugin's, and breaks or lacks the name.
    """
    found = imported(path)
    if not hasattr(found, name) and (plugin := path.partition(".")[0]) in _loaded:
        raise UserError(f"plugin {plugin}: the module {path} has no {name}, which an option of its {CONF}/ names")
    return getattr(found, name)


def advice(target: Any) -> str:
    """What to do about a class that no option names: if it is of a package that is no plugin yet, load it."""
    root, dot, _ = str(target).partition(".")
    if not dot or not root.isidentifier() or root == OURS or root in names():
        return ""
    return f"; if it is of a plugin that you trust, say plugins=[{root}]"


def needed_by(tree: Mapping[str, Any]) -> list[str]:
    """The plugins that a configuration cannot be built without: those of its components' classes, and its system's."""
    if not _loaded:
        return []
    own = {plugin.name for plugin, folder in _module_folders("systems") if tree.get("system") in _modules(folder)}
    return sorted(own | {root for root in _roots(tree) if root in _loaded})


def require(needed: Any, whose: str = "this configuration") -> None:
    """Refuse what was made with plugins that are not loaded; what is no list of names is left to others to refuse.

    Raises:
        UserError: it names them, and says how to load them.
    """
    given = needed if isinstance(needed, (list, tuple)) else []
    if missing := [name for name in given if isinstance(name, str) and name not in names()]:
        said = ", ".join(map(shown, missing))
        raise UserError(
            f"{whose} needs the plugin{'s' * (len(missing) > 1)} {said}, and no file can load one: install it, and say "
            f"plugins=[{','.join(missing)}] if you trust it"
        )


def forget() -> None:
    """Leave this process as if none had been loaded by `load`; entry points and the parent's are found again."""
    _loaded.clear()
    _begin.cache_clear()
    os.environ.pop(VARIABLE, None)
    _forget_caches()


@functools.cache
def _begin() -> None:
    for point in metadata.entry_points(group=GROUP):
        _add(point.value, f" (installed with {point.dist.name})" if point.dist else "")
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        _add(name)


def _add(name: str, whence: str = "") -> None:
    if name in _loaded:
        return
    if not name.isidentifier() or name == OURS:
        raise UserError(f"plugins: {shown(name)} is no name of a plugin's package{whence}; give one such as my_lab")
    with named(name, f"importing it failed{whence}"):
        try:
            package = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise UserError(f"plugin {name}{whence}: there is no such package here; install it first") from error
    plugin = Plugin(name, resources.files(name)) if hasattr(package, "__path__") else None
    if plugin is None or not any(plugin.part(part) for part in (CONF, SPACES, *MODULES)):
        parts = ", ".join(f"{part}/" for part in (CONF, *MODULES, SPACES))
        raise UserError(f"plugin {name}{whence}: it is no plugin, for it has none of the folders {parts}")
    if (conf := plugin.part(CONF)) is not None:
        others = [(other.name, theirs) for other in _loaded.values() if (theirs := other.part(CONF)) is not None]
        check_options(name, conf, [(OURS, resources.files(CONF_MODULE)), *others])
    _loaded[name] = plugin
    _forget_caches()


def _forget_caches() -> None:
    for cached in _caches:
        cached.cache_clear()


def _module_folders(package: str) -> list[tuple[Plugin, Traversable]]:
    last = package.rpartition(".")[2]
    return parts(last) if last in MODULES else []


def _modules(folder: Traversable) -> list[str]:
    return sorted(e.name[:-3] for e in folder.iterdir() if e.name.endswith(".py") and not e.name.startswith("_"))


def _roots(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key == "_target_":
                yield str(value).partition(".")[0]
            else:
                yield from _roots(value)
