"""What configurations are known by: worked out once, noted in the journal, and believed only of the same code."""

import json
from importlib import resources

import pytest
from records import GRID, canonical, record, row, trials

from imer_ray.config import code, plugins


class Counting:
    """Identifies configurations, and counts how many."""

    def __init__(self):
        self.number = 0

    def __call__(self, config):
        self.number += 1
        return canonical(config)


EVERY = {json.dumps({"sde": sde, "steps": steps}) for sde in ("vp", "ve") for steps in (1, 2, 3)}


def asked_until_exhausted(study):
    found = set()
    while (proposal := study.ask()) is not None:
        found.add(json.dumps(proposal.config))
    return found


def run(folder, number, **settings):
    """So many trials of two points each."""
    study = record(folder, space=GRID, **settings)
    for _ in range(number):
        proposal = study.ask()
        study.tell(proposal.trial, [row(proposal), row(proposal, point=1, steps=proposal.config["steps"] + 10)])
    return study


def test_the_same_code_works_nothing_out_again_and_knows_the_same(tmp_path):
    first, again = Counting(), Counting()
    before = run(tmp_path, 4, identify=first, code="a")
    after = record(tmp_path, space=GRID, identify=again, code="a")
    assert first.number >= 8 and again.number == 0
    assert after.points == before.points and after.num_configurations == 4
    assert asked_until_exhausted(after) | {each["config"] for each in before.rows if not each["point"]} == EVERY


@pytest.mark.parametrize("codes", [("a", "b"), ("a", None), (None, "a")])
def test_what_other_code_noted_is_worked_out_anew(tmp_path, codes):
    before, after = codes
    run(tmp_path, 3, identify=lambda config: f"as it was {canonical(config)}", code=before)
    counting = Counting()
    study = record(tmp_path, space=GRID, identify=counting, code=after)
    assert counting.number == len(study.rows) == 6
    assert len(asked_until_exhausted(study)) == 3  # of six, those that are not known


def test_identities_of_other_rows_are_not_believed(tmp_path):
    run(tmp_path, 2, code="a")
    journal = next(tmp_path.glob("*.journal"))
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    for entry in entries:
        del entry["check"]
        if noted := entry.get("user_attr", {}).get("identities"):
            noted["of"].pop()
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    counting = Counting()
    study = record(tmp_path, space=GRID, identify=counting, code="a")
    assert counting.number == len(study.rows) == 4


def test_identities_are_noted_before_the_rows_that_end_a_trial(tmp_path):
    run(tmp_path, 1, code="a")
    (trial,) = (trial for trial in trials(tmp_path) if "rows" in trial.user_attrs)
    assert list(trial.user_attrs).index("identities") < list(trial.user_attrs).index("rows")


def test_code_is_known_by_its_sources_whatever_python_left_beside_them(tmp_path):
    folder = tmp_path / "package"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.py").write_text("x = 1")
    (folder / "inner" / "b.yaml").write_text("x: 1")
    first = code.digest(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"0")
    assert code.digest(folder) == first
    (folder / "inner" / "b.yaml").write_text("x: 2")
    second = code.digest(folder)
    (folder / "inner" / "b.yaml").rename(folder / "b.yaml")
    assert len({first, second, code.digest(folder)}) == 3


def test_with_a_plugin_whose_code_may_lie_anywhere_nothing_is_noted(tmp_path, monkeypatch):
    assert code.stamp() == code.digest(resources.files("imer_ray"))
    (tmp_path / "a_lab" / "systems").mkdir(parents=True)
    (tmp_path / "a_lab" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load(["a_lab"])
    try:
        assert code.stamp() is None
    finally:
        plugins.forget()
