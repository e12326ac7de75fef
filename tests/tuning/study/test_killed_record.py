"""A driver killed after any entry of its journal, or within one, leaves no trace: the study ends as if nothing was."""

import json
from importlib import import_module

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from imer_ray.testing.searchers import PROCESS
from imer_ray.tuning.objectives.objectives import objectives
from imer_ray.tuning.space.space import Parameter, Space
from imer_ray.tuning.study.journal import FILE_NAME, Journal, open_study
from imer_ray.tuning.study.record import Record

NUM_TRIALS = 14
SPACE = Space(
    name="test",
    text="",
    parameters=(
        *PROCESS,
        Parameter(path="steps", distribution=IntDistribution(1, 12, log=True), when={}),
        Parameter(path="draws", distribution=CategoricalDistribution([1, 2]), when={}),
    ),
)
POINTS = [{"sde": "vp", "steps": 4, "draws": 1}, {"sde": "ve", "sigma": 10.0, "steps": 3, "draws": 2}]


def run(folder, sampler, max_entries=10**6):
    """One trial at a time until there are enough, or enough entries in the journal; returns all rows."""
    journal = Journal(folder / FILE_NAME)
    record = Record(
        open_study(journal, 2),
        sync=journal.sync,
        space=SPACE,
        objectives=objectives(quality="Non0_F1_score", speed="nfe"),
        configure=dict,
        identify=lambda config: json.dumps(config, sort_keys=True),
        build_sampler=lambda seed: import_module(f"imer_ray.tuning.searchers.{sampler}").build(seed, population=4),
        seed=7,
    )
    record.enqueue(POINTS)
    while len(record.finished) < NUM_TRIALS and len(entries(journal.path)) < max_entries:
        proposal = record.ask()
        record.tell(proposal.trial, [row(proposal, 0), row(proposal, 1), row(proposal, 2)])
    return sorted(record.rows, key=lambda row: (row["trial"], row["point"]))


def row(proposal, point):
    """Deterministic objectives; trial 5 fails, as does its second point."""
    config = {**proposal.config, "steps": proposal.config["steps"] + point}
    quality = 0.9 - 0.3 / config["steps"] - 0.01 * (config.get("sigma", 30) / 10 - 2) ** 2 + 0.02 * config["draws"]
    error = "a bug" if proposal.trial == 5 and point < 2 else None
    metrics = {"valid.Non0_F1_score": quality, "nfe": float(config["steps"] * config["draws"])}
    return {"trial": proposal.trial, "point": point, "config": json.dumps(config), "error": error, **metrics}


def entries(path):
    return path.read_bytes().splitlines(keepends=True)


def check(tmp_path, sampler, step):
    whole = run(tmp_path / "whole", sampler)
    journal = entries(tmp_path / "whole" / FILE_NAME)
    for cut in range(3, len(journal), step):  # the first entries make the study
        folder = tmp_path / str(cut)
        folder.mkdir()
        torn = journal[cut][: cut % len(journal[cut])]  # half an entry, or nothing of it
        (folder / FILE_NAME).write_bytes(b"".join(journal[:cut]) + torn)
        assert run(folder, sampler) == whole, f"killed after entry {cut}"


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_killed_now_and_then_a_study_ends_as_if_it_had_not_been(tmp_path, sampler):
    check(tmp_path, sampler, step=37)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_after_every_single_entry_a_study_ends_as_if_it_had_not_been(tmp_path):
    check(tmp_path, "tpe", step=1)


def test_killed_again_and_again_a_study_ends_as_if_it_had_not_been(tmp_path):
    """Forty drivers, each killed a few entries after it took up what the one before had left."""
    whole = run(tmp_path / "whole", "tpe")
    path, kept = tmp_path / "killed" / FILE_NAME, []
    for number in range(40):
        more = 1 + number % 9
        run(path.parent, "tpe", len(kept) + more)
        kept = entries(path)[: len(kept) + more]
        path.write_bytes(b"".join(kept))
    assert run(path.parent, "tpe") == whole
