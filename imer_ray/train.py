"""Train a chosen configuration finally: ``python -m imer_ray.train config=runs/demo/export/knee.yaml``.

``config`` may also name a published system's settings (imder, decoupled, rohydr); ``settings.*`` changes either, for
example ``settings.training.joint.num_epochs=4``.

Trains it and the baselines with every seed, scores the test split once for each, and leaves ``models/<name>/<seed>/``
(safetensors, configuration, and the losses of every epoch in ``history.json``),
``models/<name>/baselines/<system>/<seed>/``, ``metrics.csv`` (mean, standard deviation and 95 % interval over seeds;
accuracies and F1 in percent), ``metrics.md``, and the losses' curves as ``training.png`` and ``.svg``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from imer_ray import cli
from imer_ray.command_schema import TrainConfig
from imer_ray.config import PRESETS, compose, merge, options, resolve
from imer_ray.errors import UserError, printable
from imer_ray.evaluate import SPLIT
from imer_ray.files import write_whole
from imer_ray.schema import ExperimentConfig

HISTORY = "history.json"


def main(overrides: list[str]) -> None:
    from analysis import comparison as figures
    from imer_ray.scaling.cluster import session
    from imer_ray.training.collect import BASELINES
    from imer_ray.training.optimum import bayes_optimum
    from imer_ray.training.table import BAYES, markdown, spread, summarise

    chosen = compose(TrainConfig, "train", overrides)
    if not chosen["seeds"]:
        raise UserError("seeds is empty: name at least one, for example seeds=[1111,1112]")
    path = Path(chosen["config"])
    config = read_config(path, chosen["data"], chosen["settings"])
    cli.say_unscored(config, SPLIT)
    output = Path(chosen["output"] or Path("models") / path.stem)
    output.mkdir(parents=True, exist_ok=True)
    jobs = {
        (system, seed): {**config, "system": system, "seed": seed}
        for seed in chosen["seeds"]
        for system in dict.fromkeys([config["system"], *chosen["baselines"]])
    }
    with session(chosen["stages"], chosen["scaling"], slots=1) as broker:
        results = _run(jobs, broker)
    runs: dict[str, list[dict[str, float]]] = {}
    folders: dict[str, list[Path]] = {}
    for (system, seed), (stage, metrics) in results.items():
        own = system == config["system"]
        folder = output / str(seed) if own else output / BASELINES / system / str(seed)
        _save(folder, stage, jobs[system, seed], chosen["stages"])
        runs.setdefault(path.stem if own else system, []).append(metrics)
        folders.setdefault(path.stem if own else system, []).append(folder)
    best = [bayes_optimum(jobs[config["system"], seed], SPLIT) for seed in chosen["seeds"]]
    runs |= {BAYES: best} if best[0] else {}
    frame = summarise(runs, SPLIT)
    write_whole(output / "metrics.csv", frame.to_csv(index=False, float_format="%.4f").encode())
    table = f"{markdown(frame)}\n\n{spread(frame)}\n"
    write_whole(output / "metrics.md", table.encode())
    figures.draw_training(output, folders)
    print(printable(table), end="")
    print(f"wrote {output}/metrics.csv, metrics.md, training.png and a model for each of {len(chosen['seeds'])} seeds")


def read_config(path: Path, data: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved configuration of an exported file, or of a preset, with ``data`` and other ``settings`` changed.

    Raises:
        UserError: the file is missing, no export, or its data are elsewhere or changed.
    """
    from imer_ray.training.latents import load_dataset

    if str(path) in options(PRESETS):
        words = [f"{PRESETS}={path}", *([f"data={data['name']}"] if "name" in data else [])]
        content: Any = {"config": compose(ExperimentConfig, "experiment", words)}
        data = {key: value for key, value in data.items() if key != "name"}
    else:
        content = _read_export(path)
    config = merge(content["config"], settings)
    if set(data) - {"path"}:
        config["data_fingerprint"] = None  # other data are asked for, not the same ones elsewhere
    config = resolve(merge(config, {"data": data}))
    return {**config, "data_fingerprint": load_dataset(config).fingerprint}


def _read_export(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path} does not exist; export one with python -m imer_ray.export pick=knee, or name one of "
            f"{', '.join(options(PRESETS))}"
        ) from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("config"), Mapping):
        raise UserError(f"{path} is no exported configuration: it has no section config")
    return content


def _run(jobs: Mapping[tuple[str, int], Mapping[str, Any]], broker: Any) -> dict[tuple[str, int], tuple[Any, dict]]:
    """Every job's evaluate stage and what it measured; shared stages are computed once."""
    done = 0

    def one(key: tuple[str, int]) -> tuple[Any, dict[str, float]]:
        nonlocal done
        config = jobs[key]
        final = importlib.import_module(f"imer_ray.systems.{config['system']}").graph(config, SPLIT)
        metrics: dict[str, float] = {}
        for stage in final.in_order():
            metrics = broker.compute(stage, waiter=f"train-{key[0]}-{key[1]}").metrics
        done += 1
        print(f"{done} of {len(jobs)}: {key[0]}, seed {key[1]}", flush=True)
        return final, metrics

    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        return dict(zip(jobs, pool.map(one, jobs), strict=True))


def _save(folder: Path, stage: Any, config: Mapping[str, Any], root: str) -> None:
    from imer_ray.stages.store import Store
    from imer_ray.training.context import Context
    from imer_ray.training.encode import load_shape
    from imer_ray.training.evaluate import load_model
    from imer_ray.training.model_folder import save

    store = Store(root)
    inputs = {role: store.open(s.key).folder for role, s in stage.inputs.items()}
    context = Context(folder=folder, inputs=inputs, checkpoint=folder)
    imputer = {name: node for name, node in stage.config.items() if name == "imputer"}  # the system's choice
    save(folder, load_model({**config, **stage.config}, context), {**config, **imputer}, load_shape(context))
    found = {s.name: store.open(s.key).folder / HISTORY for s in stage.in_order()}
    histories = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}
    write_whole(folder / HISTORY, json.dumps(histories).encode())


if __name__ == "__main__":
    cli.run(main)
