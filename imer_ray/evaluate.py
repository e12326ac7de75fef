"""Score trained models under a missing protocol: ``python -m imer_ray.evaluate model=models/knee protocol=random``.

Reads every seed of the model and of the baselines trained beside it, and leaves ``evaluate_<protocol>.csv`` and
``.md`` in the model's folder. The masks are drawn from each model's own seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imer_ray import cli
from imer_ray.config import compose
from imer_ray.errors import UserError
from imer_ray.schema import EvaluateCommandConfig

BASELINES = "baselines"
SPLIT = "test"


def main(overrides: list[str]) -> None:
    from imer_ray.training.table import BAYES, markdown, summarise

    options = compose(EvaluateCommandConfig, "evaluate", overrides)
    folder = Path(options["model"])
    runs: dict[str, list[dict[str, float]]] = {}
    for system, model in model_folders(folder):
        metrics, best = _score(model, options)
        runs.setdefault(system, []).append(metrics)
        if best and system == folder.name:
            runs.setdefault(BAYES, []).append(best)
    frame = summarise(runs, SPLIT)
    output = Path(options["output"] or folder)
    output.mkdir(parents=True, exist_ok=True)
    name = f"evaluate_{options['protocol']['name']}"
    text = markdown(frame)
    write(output / f"{name}.csv", frame.to_csv(index=False, float_format="%.4f"))
    write(output / f"{name}.md", text + "\n")
    print(text)
    print(f"wrote {output / name}.csv and .md")


def model_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    """(system, folder of one seed) of a model and of the baselines beside it.

    Raises:
        UserError: there is no trained model.
    """
    own = sorted(f.parent for f in folder.glob("*/model.safetensors"))
    if not own:
        raise UserError(f"no trained model in {folder}; train one with python -m imer_ray.train config=...")
    yield from ((folder.name, f) for f in own)
    for path in sorted(folder.glob(f"{BASELINES}/*/*/model.safetensors")):
        yield path.parent.parent.name, path.parent


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(text)
    os.replace(aside, path)


def _score(folder: Path, options: dict[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of one model, and of the Bayes optimum where it is known."""
    from imer_ray.config import build
    from imer_ray.training.evaluate import predict_protocol, score
    from imer_ray.training.latents import load_dataset
    from imer_ray.training.model_folder import load
    from imer_ray.training.optimum import bayes_optimum

    model, config = load(folder)
    same = None if set(options["data"]) - {"path"} else config["data_fingerprint"]
    config |= {"protocol": options["protocol"], "data": {**config["data"], **options["data"]}, "data_fingerprint": same}
    dataset = load_dataset(config)
    predictions = predict_protocol(model, dataset, SPLIT, config, "cpu")
    return score(predictions, dataset, SPLIT, build(config["protocol"])), bayes_optimum(config, SPLIT)


if __name__ == "__main__":
    cli.run(main)
