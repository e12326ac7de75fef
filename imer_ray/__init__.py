"""Find diffusion-based recognisers that still read emotion when a modality is missing, and what each costs in speed.

    study = imer_ray.search("study.num_trials=8", "data=synthetic")
    study.picks                                             # quality, knee and speed
    models = imer_ray.train(study.config("knee"), seeds=[1111])
    models[0].predict(split="valid", available="lv")

Importing this package loads neither torch nor ray nor pandas; a name loads what it needs when it is first used. The
names and their types stand in ``__init__.pyi``.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_PLACES = {
    "search": "imer_ray.api.study",
    "train": "imer_ray.api.model",
    "evaluate": "imer_ray.api.model",
    "compose": "imer_ray.api.configuration",
    "load_study": "imer_ray.api.study",
    "load_model": "imer_ray.api.model",
    "Study": "imer_ray.api.study",
    "Model": "imer_ray.api.model",
    "UserError": "imer_ray.errors",
}
__all__ = [*_PLACES, "__version__"]  # noqa: PLE0604


class _Package(ModuleType):
    """Keeps the functions search, train and evaluate in place when the commands' modules of these names are imported.

    The import system sets a package's attribute to each submodule that it loads. The modules are still what
    ``python -m imer_ray.search`` runs and what ``from imer_ray.search import main`` imports from.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
