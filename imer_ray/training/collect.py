"""Which trained systems stand in given folders: ``<model>/<seed>/`` and ``<model>/baselines/<system>/<seed>/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imer_ray.errors import UserError
from imer_ray.files import sha256
from imer_ray.training.model_folder import WEIGHTS, read_config, weights_file

BASELINES = "baselines"
Systems = dict[str, dict[int, Path]]
"""System -> seed -> folder of the model."""


def collect(folders: Sequence[Path]) -> Systems:
    """The models and the baselines beside them, all trained on the same data.

    A baseline that stands beside several models is listed once if its weights are the same everywhere, else again as
    ``masked (rohydr)``.

    Raises:
        UserError: a folder holds no trained model, two have the same name, or they were trained on different data.
    """
    systems: Systems = {}
    for folder in folders:
        if folder.name in systems:
            raise UserError(f"two models are named {folder.name}: rename the folder of one, so that it can be told")
        systems[folder.name] = _by_seed(folder)
        if not systems[folder.name]:
            raise UserError(f"no trained model in {folder}; train one with python -m imer_ray.train config=...")
    for folder in folders:
        for path in sorted(path for path in folder.glob(f"{BASELINES}/*") if path.is_dir()):
            found, known = _by_seed(path), systems.get(path.name, {})
            if all(
                sha256(weights_file(found[s])) == sha256(weights_file(known[s])) for s in found.keys() & known.keys()
            ):
                systems[path.name] = known | found
            else:
                systems[f"{path.name} ({folder.name})"] = found
    _check_same_data([model for found in systems.values() for model in found.values()])
    return systems


def _by_seed(folder: Path) -> dict[int, Path]:
    models = [path.parent for path in folder.glob(f"*/{WEIGHTS}")]
    return dict(sorted((read_config(model)["seed"], model) for model in models))


def _check_same_data(models: Sequence[Path]) -> None:
    def data(model: Path) -> tuple[str, str]:
        config = read_config(model)
        return str(config["data_fingerprint"]), config["data"]["name"]

    first, *others = models
    fingerprint, name = data(first)
    for model in others:
        other, other_name = data(model)
        if other != fingerprint:
            raise UserError(
                f"{model} was trained on other data ({other_name}, fingerprint {other[:12]}) than {first} ({name}, "
                f"fingerprint {fingerprint[:12]}): train both on the same data, or evaluate them one by one"
            )
