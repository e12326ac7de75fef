"""Which trained systems stand in given folders: ``<model>/<seed>/`` and ``<model>/baselines/<system>/<seed>/``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.tree import flatten
from imer_ray.errors import UserError
from imer_ray.evaluation.model_folder import WEIGHTS, read_config, weights_file, written
from imer_ray.evaluation.tables import BAYES
from imer_ray.files import sha256, similar
from imer_ray.received import shortened
from imer_ray.results.schema import RESULTS

BASELINES = "baselines"
Systems = dict[str, dict[int, Path]]
"""System -> seed -> folder of the model."""
# What a trained model does not depend on: its seed, where its data lie, how it is scored and timed.
ELSEWHERE = ("seed", "data.path", "protocol", "speed", "evaluate")
OF_THE_SYSTEM = ("system", "imputer")
MAX_CHANGES = 4  # that a message names


def collect(folders: Sequence[Path]) -> Systems:
    """The models and the baselines beside them, all trained on the same data, the first model first.

    A model goes by its folder's name, and by those above it where that is another's too. A baseline that stands beside
    several models is listed once if its weights are the same everywhere, else again as ``masked (rohydr)``.

    Raises:
        UserError: a folder holds no trained model, or models of different settings, or of other data than the first.
    """
    beside = {folder: _baselines(folder) for folder in folders}
    labels = _labels(folders, {path.name for paths in beside.values() for path in paths} | {BAYES})
    systems: Systems = {}
    for folder in folders:
        systems[labels[folder]] = _by_seed(folder)
        if not systems[labels[folder]]:
            raise UserError(f"no trained model in {folder}{_instead(folder)}")
    for folder in folders:
        own = next(iter(systems[labels[folder]].values()))
        for path in beside[folder]:
            found, known = _by_seed(path), systems.get(path.name, {})
            _check_same([own, next(iter(found.values()))], besides=OF_THE_SYSTEM)
            if _is_the_same(found, known):
                systems[path.name] = known | found
            else:
                systems[f"{path.name} ({labels[folder]})"] = found
    _check_same_data([model for found in systems.values() for model in found.values()])
    return systems


def check_same_settings(folder: Path, config: ExperimentConfig) -> None:
    """Refuse a folder whose models, or baselines beside them, were trained with other settings than these.

    Raises:
        UserError: which settings differ, and how.
    """
    for model in chain(_models(folder), *map(_models, _baselines(folder))):
        besides = () if model.parent == folder else OF_THE_SYSTEM
        if changes := _changes(read_config(model), config, besides):
            raise UserError(
                f"{folder} holds models of another configuration ({changes}), and their seeds must not be mixed: name "
                f"another folder, for example output={folder}-2, or remove that one"
            )


def seeds_in(folder: Path) -> set[int]:
    """The seeds of the models in a folder."""
    return set(_by_seed(folder))


def models_in(folder: Path) -> list[Path]:
    """The folders of a model with all its seeds, by seed; or of the one model that a folder is itself.

    Raises:
        UserError: the folder holds no trained model, or models of different settings.
    """
    found = [folder] if (folder / WEIGHTS).exists() else list(_by_seed(folder).values())
    if not found:
        raise UserError(f"no trained model in {folder}{_instead(folder)}")
    return found


def _models(folder: Path) -> list[Path]:
    found = (path.parent for path in folder.glob(f"*/{WEIGHTS}"))
    models = sorted(model for model in found if not model.name.startswith("."))  # those are half written
    if outside := [model for model in models if not model.resolve().is_relative_to(folder.resolve())]:
        raise UserError(
            f"{outside[0]} is a link that leads out of the folder, where a model of its own is needed: copy the model "
            "there, or remove the link"
        )
    return models


def _baselines(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{BASELINES}/*") if path.is_dir() and _models(path))


def _by_seed(folder: Path) -> dict[int, Path]:
    """The models of a folder, which differ in nothing but their seeds."""
    found: dict[int, Path] = {}
    for model in _models(folder):
        seed = read_config(model).seed
        if seed in found:
            raise UserError(f"{found[seed]} and {model} both are of seed {seed}: remove one of them")
        found[seed] = model
    _check_same(list(found.values()))
    return dict(sorted(found.items()))


def _is_the_same(found: Mapping[int, Path], known: Mapping[int, Path]) -> bool:
    """Whether two folders hold one baseline: equal weights where they have a seed in common, else equal settings."""
    if common := found.keys() & known.keys():
        return all(sha256(weights_file(found[seed])) == sha256(weights_file(known[seed])) for seed in common)
    one, other = (next(iter(models.values()), None) for models in (found, known))
    return one is None or other is None or not _changes(read_config(one), read_config(other), ())


def _check_same(models: Sequence[Path], besides: Sequence[str] = ()) -> None:
    for other in models[1:]:
        if changes := _changes(read_config(models[0]), read_config(other), besides):
            raise UserError(
                f"{models[0]} and {other} were trained with different settings ({changes}), so that they cannot be "
                "taken together: train all of them with one configuration, each configuration in a folder of its own"
            )


def _changes(one: ExperimentConfig, other: ExperimentConfig, besides: Sequence[str]) -> str:
    """``diffusion.num_steps 4 and 8, ...``: the settings of a model that differ; empty if they are the same."""
    ignored = {*ELSEWHERE, *besides}
    before, after = flatten(written(one)), flatten(written(other))
    shared = [path for path in before if path in after and not _prefixes(path) & ignored]
    differ = [path for path in shared if before[path] != after[path]]
    told = [path for path in differ if path != "data_fingerprint"] or differ  # it goes without saying, unless alone
    said = [f"{path} {shortened(str(before[path]), 20)} and {shortened(str(after[path]), 20)}" for path in told]
    return ", ".join(said[:MAX_CHANGES]) + (f", and {len(said) - MAX_CHANGES} more" if len(said) > MAX_CHANGES else "")


def _prefixes(path: str) -> set[str]:
    parts = path.split(".")
    return {".".join(parts[: end + 1]) for end in range(len(parts))}


def _labels(folders: Sequence[Path], taken: set[str]) -> dict[Path, str]:
    """Names of the models: the last parts of their paths, as few as tell them apart and from what is ``taken``."""
    parts = {folder: Path(os.path.abspath(folder)).parts for folder in folders}
    if len(set(parts.values())) < len(folders):
        raise UserError(f"model names one folder twice: {', '.join(map(str, folders))}")
    labels = {}
    for folder, own in parts.items():
        for count in range(1, len(own) + 1):
            labels[folder] = "/".join(own[-count:])
            alike = [other for other in parts.values() if other[-count:] == own[-count:]]
            if len(alike) == 1 and labels[folder] not in taken:
                break
    return labels


def _instead(folder: Path) -> str:
    """What may have been meant by a folder without a model."""
    if not folder.exists():
        return f": there is no such folder{similar(folder)}"
    if not folder.is_dir():
        return ": it is a file; give the folder that python -m imer_ray.train wrote"
    if (folder / WEIGHTS).exists():
        return f": it is the model of one seed; give the folder of all of them, model={folder.parent}"
    if (folder / RESULTS).exists():
        return (
            f": it is a study's folder; train one of its picks first, for example "
            f"python -m imer_ray.train config={folder}/export/knee.yaml"
        )
    if inside := sorted(path for path in folder.glob("*") if path.is_dir() and _models(path)):
        return f", but in folders of it; give one, for example model={inside[0]}"
    return "; train one with python -m imer_ray.train config=..."


def _check_same_data(models: Sequence[Path]) -> None:
    def data(model: Path) -> tuple[str, str]:
        config = read_config(model)
        return str(config.data_fingerprint), config.data.name

    first, *others = models
    fingerprint, name = data(first)
    for model in others:
        other, other_name = data(model)
        if other != fingerprint:
            raise UserError(
                f"{model} was trained on other data ({other_name}, fingerprint {other[:12]}) than {first} ({name}, "
                f"fingerprint {fingerprint[:12]}): train both on the same data, or evaluate them one by one"
            )
