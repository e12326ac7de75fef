"""Train a chosen configuration finally: ``python -m imer_ray.train config=runs/demo/export/knee.yaml``.

``config`` may also name a published system's settings (imder, decoupled, rohydr). ``settings.*`` changes either, for
example ``settings.training.joint.num_epochs=4`` or ``settings.diffusion.sampler=heun``, and ``data=store
data.path=data/mosi`` trains it on other data.

Trains it and the baselines with every seed, scores the test split once for each, and leaves ``models/<name>/<seed>/``
(all that a prediction needs, and the losses of every epoch in ``history.json``),
``models/<name>/baselines/<system>/<seed>/``, ``metrics.csv`` (mean, standard deviation and 95 % interval over seeds;
accuracies, F1 and the 90 % interval's coverage in percent; cost), ``metrics.md``, ``README.md`` (a model card), and the
losses' curves as ``training.png`` and ``.svg``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imer_ray import cli, systems
from imer_ray.config.changes import change
from imer_ray.config.commands import TrainConfig
from imer_ray.config.components import options
from imer_ray.config.compose import compose
from imer_ray.config.experiment import ExperimentConfig
from imer_ray.config.plugin_options import PRESETS
from imer_ray.config.resolve import config_of
from imer_ray.errors import NonFiniteError, UserError, printable
from imer_ray.evaluate import SPLIT
from imer_ray.files import make_folder, similar, write_whole
from imer_ray.received import read_yaml
from imer_ray.stages.broker import StageFailed
from imer_ray.stages.graph import Stage
from imer_ray.stages.job import Status
from imer_ray.tuning.monitor.display import Display, Jobs

if TYPE_CHECKING:
    from imer_ray.prediction.trained_folder import Measured

Job = tuple[str, int]
"""System and seed."""


class _Left(Exception):
    """The command ends before this job has."""


def main(overrides: list[str]) -> Path:
    """The command; returns the models' folder."""
    chosen = compose(TrainConfig, "train", overrides)
    path = Path(chosen.config)
    return run(chosen, read_config(path, chosen.data, chosen.settings), path.stem)


def run(chosen: TrainConfig, config: ExperimentConfig, stem: str) -> Path:
    """Train a resolved configuration as a `TrainConfig` says; its models' folder, called ``stem`` by default."""
    from imer_ray.analysis import systems as figures
    from imer_ray.evaluation.bayes_optimum import bayes_optimum
    from imer_ray.evaluation.model_collection import BASELINES, check_same_settings, seeds_in
    from imer_ray.evaluation.model_manifest import README
    from imer_ray.evaluation.scorable import check_scoring, check_training
    from imer_ray.evaluation.tables import BAYES, markdown, spread
    from imer_ray.prediction import trained_folder
    from imer_ray.prediction.model_card import together
    from imer_ray.scaling.cluster import session
    from imer_ray.scaling.machines import machines

    if not chosen.seeds:
        raise UserError("seeds is empty: name at least one, for example seeds=[1111,1112]")
    check_training(config)
    check_scoring(config, SPLIT)
    output = Path(chosen.output or Path("models") / stem)
    check_same_settings(output, config)
    cli.say_unscored(config, SPLIT)
    make_folder(output)
    jobs = {
        (system, seed): replace(config, system=system, seed=seed)
        for seed in chosen.seeds
        for system in dict.fromkeys([config.system, *chosen.baselines])
    }
    own = config.system
    folders = {
        (system, seed): output / str(seed) if system == own else output / BASELINES / system / str(seed)
        for system, seed in jobs
    }
    name = _label(stem, chosen.baselines)
    labels = {job: name if job[0] == own else job[0] for job in jobs}

    def keep(job: Job, stage: Stage, metrics: Mapping[str, float]) -> Measured:
        return trained_folder.write(folders[job], stage, jobs[job], chosen.stages, labels[job], metrics)

    with session(chosen.stages, chosen.scaling, slots=1, data=config.data_paths) as broker:
        results = _run(jobs, broker, keep, machines(chosen.scaling.gpus_per_stage, output.name))
    runs: dict[str, Sequence[Mapping[str, float]]] = {}
    trained: dict[str, list[Path]] = {}
    for label in dict.fromkeys(labels.values()):
        found = [results[job] for job in jobs if labels[job] == label]
        runs[label], trained[label] = [one.metrics for one in found], [one.folder for one in found]
    if (best := [bayes_optimum(jobs[own, seed], SPLIT) for seed in chosen.seeds])[0]:
        runs[BAYES] = best
    ours = [results[own, seed] for seed in chosen.seeds]
    if mean := trained_folder.mean_of_seeds(ours, SPLIT):
        runs[together(name)] = [mean]
    frame = trained_folder.metrics_table(runs, SPLIT)
    frame.loc[frame["Model"] == together(name), "Seeds"] = len(ours)
    content = trained_folder.csv(frame)
    write_whole(output / "metrics.csv", content)
    shown = frame[frame["Model"] != together(name)]
    table = f"{markdown(shown)}\n\n{spread(shown)}\n"
    write_whole(output / "metrics.md", table.encode())
    others = sorted(seeds_in(output) - set(chosen.seeds))
    write_whole(output / README, trained_folder.card_of(content, name, ours, others).encode())
    figures.draw_training(output, trained)
    print(printable(table), end="")
    print(f"wrote {output}/metrics.csv, metrics.md, README.md, training.png and models of {len(chosen.seeds)} seeds")
    if others:
        print(f"seeds {', '.join(map(str, others))} were there already: python -m imer_ray.evaluate scores all of them")
    return output


def read_config(path: Path, data: Mapping[str, Any], settings: Mapping[str, Any]) -> ExperimentConfig:
    """The configuration of an exported file, or of a preset, with ``data`` and other ``settings`` changed.

    Raises:
        UserError: the file is missing, no export, or its data are elsewhere or changed.
    """
    if str(path) in options(PRESETS):
        content = compose(ExperimentConfig, "experiment", [f"{PRESETS}={path}"])
    else:
        try:
            content = config_of(_read_export(path)["config"], ExperimentConfig)
        except UserError as error:
            raise UserError(f"config={path}: {error}") from error
    return prepared(content, data, settings)


def prepared(content: ExperimentConfig, data: Mapping[str, Any], settings: Mapping[str, Any]) -> ExperimentConfig:
    """A configuration with ``data`` and other ``settings`` changed, and the fingerprint of the data there.

    Raises:
        UserError: a setting cannot be, or the data are elsewhere or changed.
    """
    from imer_ray.training.latents import load_dataset

    before = content.data.name
    config, followed = change(content, {**settings, **{f"data.{key}": value for key, value in data.items()}})
    if followed:
        said = ", ".join(f"{key}={value}" for key, value in followed.items())
        print(f"data {config.data.name} in place of {before}, and what goes with them: {said}")
    return replace(config, data_fingerprint=load_dataset(config).fingerprint)


def _read_export(path: Path) -> Mapping[str, Any]:
    try:
        if path.is_dir():
            raise UserError(f"config={path} is a folder; name a file of it{_exports_in(path)}")
        content = read_yaml(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        near = similar(path) or similar(path.name, options(PRESETS))
        raise UserError(
            f"{path} does not exist{near}; export one with python -m imer_ray.export pick=knee, or name one of "
            f"{', '.join(options(PRESETS))}"
        ) from error
    if not isinstance(content, Mapping) or not isinstance(content.get("config"), Mapping):
        raise UserError(f"{path} is no exported configuration: it has no section config")
    return content


def _exports_in(folder: Path) -> str:
    """Which files of a folder, or of a study's, may be meant."""
    found = sorted([*folder.glob("*.yaml"), *folder.glob("export/*.yaml")], key=lambda file: file.parent == folder)
    return f", for example config={found[0]}" if found else "; python -m imer_ray.export writes one"


def _label(stem: str, baselines: Sequence[str]) -> str:
    """What the trained model is called in tables, where a baseline or the optimum may have its file's name."""
    from imer_ray.evaluation.tables import BAYES

    return f"{stem}.yaml" if stem in (*baselines, BAYES) else stem


def _run(
    jobs: Mapping[Job, ExperimentConfig],
    broker: Any,
    keep: Callable[[Job, Stage, Mapping[str, float]], Measured],
    machine: str,
) -> dict[Job, Measured]:
    """What was measured of every job's model; shared stages are computed once.

    ``keep`` is given a job's evaluate stage and its metrics as soon as they are there, so that whatever ends the rest
    leaves this one's model. A job that fails does not end the others.

    Raises:
        UserError: a job failed; it says which and why.
    """
    leaving = threading.Event()

    def look(status: Status) -> None:
        if leaving.is_set():
            raise _Left

    def one(job: Job) -> Measured:
        config, waiter = jobs[job], f"train-{job[0]}-{job[1]}"
        final = systems.graph(config, SPLIT, machine=machine)
        metrics: dict[str, float] = {}
        try:
            for stage in final.in_order():
                metrics = broker.compute(stage, waiter, look).metrics
        except _Left:
            broker.leave(waiter)
            raise
        return keep(job, final, metrics)

    results: dict[Job, Measured] = {}
    failed: dict[Job, Exception] = {}
    display = Display()
    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        running = {pool.submit(one, job): job for job in jobs}
        try:
            while running:
                for future in wait(running, timeout=1.0, return_when="FIRST_COMPLETED").done:
                    job = running.pop(future)
                    try:
                        results[job] = future.result()
                    except (UserError, NonFiniteError, StageFailed) as error:
                        failed[job] = error
                    how = "" if job in results else ": failed"
                    print(f"{len(results) + len(failed)} of {len(jobs)}: {job[0]}, seed {job[1]}{how}", flush=True)
                    display.postpone()
                if running and display.due:
                    display.show(Jobs("trained", len(results), len(jobs)), broker.stats())
        finally:
            leaving.set()
            display.close()
    if failed:
        (system, seed), first = next(iter(failed.items()))
        kept = f"; the models of the other {len(results)} were written" if results else ""
        raise UserError(f"{len(failed)} of {len(jobs)} trainings failed{kept}; {system}, seed {seed}: {first}")
    return {job: results[job] for job in jobs}


if __name__ == "__main__":
    cli.run(main, TrainConfig)
