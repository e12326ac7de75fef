"""A study's journal that is damaged is refused in one sentence with the line, and never begun anew over its results."""

import dataclasses
import json
import os
import random
import re

import optuna
import pytest
from changed import changed
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from imer_ray.errors import UserError
from imer_ray.results.schema import read_results
from imer_ray.tuning.study.journal import FILE_NAME, Journal
from imer_ray.tuning.study.results_file import complete_row, write
from imer_ray.tuning.study.study import open_record, plan

SPACE = """\
diffusion.sde: {choice: [vp, ve]}
diffusion.num_steps: {int: [1, 64], log: true}
loss.recovery: {float: [0.5, 1.0]}
"""
DAMAGED = re.compile(
    r"[^\n]*study\.journal is damaged in line \d+ \([^\n]+\); restore it from a copy, or choose [^\n]*"
)
HOSTILE = (None, True, [], {}, "", "x", -1, 3, 10**30, -(10**30), 0.5, float("nan"), float("inf"), [[1]], {"a": [None]})


@pytest.fixture(scope="module")
def searched(composed, tmp_path_factory):
    """The plan of a study of the toy systems."""
    folder = tmp_path_factory.mktemp("journal")
    (folder / "toy.yaml").write_text(SPACE)
    study = {"name": "toy", "root": str(folder), "searcher": "random", "prefix_trials": 1, "num_trials": 9}
    data = {"num_train": 64, "num_valid": 64, "num_test": 64}
    options = changed(composed, data=data, study=study, space=str(folder / "toy.yaml"))
    return plan(options, systems="toy_systems")


def finish(record, searched, num_trials):
    for _ in range(num_trials):
        proposal = record.ask()
        measured = {"valid.Non0_F1_score": 0.7, "speedup_vs_imder": 10.0, "stages": "{}", "seed": 1, "error": None}
        times = {"started": "2026-11-21T10:00:00+00:00", "finished": "2026-11-21T10:00:01+00:00"}
        derived = {**proposal.config, "diffusion": {**proposal.config["diffusion"], "num_steps": 65 + proposal.trial}}
        rows = [{**measured, **times, "config": json.dumps(config)} for config in (proposal.config, derived)]
        if proposal.trial == 2:
            rows = [{**rows[0], "error": "stage encode failed 3 times, last: the worker died"}]
        record.tell(proposal.trial, [complete_row("toy", proposal.trial, point, row) for point, row in enumerate(rows)])


@pytest.fixture(scope="module")
def recorded(searched):
    """The lines of a study of five trials: one failed, one was run with a further seed, one was left running."""
    path = searched.folder / FILE_NAME
    record = open_record(searched)
    finish(record, searched, 5)
    repeat = {**record.rows[0], "repeat": 1, "seed": 2}
    record.tell_repeat({name: repeat[name] for name in repeat if not name.startswith("objective.")})
    record.note_spent({"dollars": 0.5})
    record.ask()
    lines = path.read_bytes().splitlines(keepends=True)
    write(searched, record)
    return lines, (searched.folder / "results.parquet").read_bytes()


@pytest.fixture
def reopen(searched, recorded):
    """reopen(lines) opens a study with this journal, asks for a trial and writes its results; returns the record."""

    def reopen(lines, results=False):
        path = searched.folder / FILE_NAME
        path.write_bytes(b"".join(lines))
        (searched.folder / "results.parquet").unlink(missing_ok=True)
        if results:
            (searched.folder / "results.parquet").write_bytes(recorded[1])
        record = open_record(searched)
        record.ask()
        read_results(write(searched, record))
        return record

    return reopen


def unchecked(lines):
    """As earlier versions wrote them."""
    return [re.sub(rb',"check":"[0-9a-f]{16}"\}\n$', b"}\n", line) for line in lines]


def test_every_entry_ends_with_its_check_and_all_is_taken_up(recorded, reopen):
    lines, _ = recorded
    assert all(json.loads(line)["check"] and re.search(rb',"check":"[0-9a-f]{16}"\}\n$', line) for line in lines)
    record = reopen(lines, results=True)
    assert record.finished == set(range(5)) and len(record.rows) == 9 and len(record.repeats) == 1


def test_every_line_that_is_dropped_doubled_swapped_or_changed_is_named(recorded, reopen):
    lines, _ = recorded
    last = len(lines) - 1
    for i in range(last):
        damaged = {
            "dropped": (lines[:i] + lines[i + 1 :], i + 1),
            "doubled": (lines[: i + 1] + lines[i:], i + 2),
            "swapped": ([*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]], i + 1),
            "changed": ([*lines[:i], lines[i].replace(b"-", b"_", 1), *lines[i + 1 :]], i + 1),
        }
        for how, (content, line) in damaged.items():
            with pytest.raises(UserError, match=rf"in line {line} \(it does not follow from the line before") as raised:
                reopen(content)
            assert DAMAGED.fullmatch(str(raised.value)), how
    with pytest.raises(UserError, match=rf"damaged in line {last + 2} "):
        reopen([*lines, lines[last]])


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("part", range(3))
def test_whatever_is_wrong_with_a_line_it_is_refused_with_its_number_or_does_no_harm(recorded, reopen, old, part):
    """50 of 300 inputs a time, none of which may end in anything but a sentence: bytes and values exchanged at random,
    in a journal of today and in one without checks, where only their form says what is wrong."""
    lines = unchecked(recorded[0]) if old else recorded[0]
    rng = random.Random(part)
    refused = 0
    for number in range(50):
        at = rng.randrange(len(lines))
        damaged = mutated_values(lines[at], rng) if number % 3 else mutated_bytes(lines[at], rng)
        try:
            reopen([*lines[:at], damaged, *lines[at + 1 :]])
        except UserError as error:
            refused += 1
            assert DAMAGED.fullmatch(str(error)) or "was begun with other settings" in str(error), damaged
    assert refused == 50 if not old else refused >= 20


def mutated_bytes(line, rng):
    content = bytearray(line[:-1])
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(content))
        content[at : at + rng.randint(0, 2)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 2)))
    return bytes(content) + b"\n" if bytes(content) + b"\n" != line else b"{}\n"


def mutated_values(line, rng):
    """One value of an entry, or of the JSON in one of its texts, exchanged or left out."""
    entry = json.loads(line)
    places = list(leaves(entry))
    node, key = rng.choice(places)
    if isinstance(node[key], str) and node[key].startswith("{") and rng.random() < 0.8:
        inner = json.loads(node[key])
        exchange(*rng.choice([*leaves(inner), (inner, "new")]), rng)
        node[key] = json.dumps(inner)
    else:
        exchange(node, key, rng)
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def exchange(node, key, rng):
    if rng.random() < 0.2 and isinstance(node, dict) and key in node:
        del node[key]
    else:
        node[key] = rng.choice([value for value in HOSTILE if isinstance(node, list) or value != node.get(key)])


def leaves(node):
    for key in node if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], (dict, list)):
            yield from leaves(node[key])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\n", "it is blank: delete the line"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b'{"op_code":99,"worker_id":"a"}\n', "99 is no operation"),
        (b'{"op_code":8,"worker_id":"a","trial_id":99,"user_attr":{"trial":1}}\n', "trial_id 99 is none of "),
        (b'{"op_code":8,"worker_id":"a","trial_id":0,"user_attr":{"rows":[]}}\n', "no list of them"),
        (
            b'{"op_code":6,"worker_id":"a","trial_id":0,"state":1,"values":[1' + b"0" * 400 + b",1]}\n",
            "are no values of 2",
        ),
        (
            b'{"op_code":2,"worker_id":"a","study_id":0,"user_attr":{"identity":'
            + b'{"a":' * 50
            + b"1"
            + b"}" * 52
            + b"\n",
            "nested too deeply",
        ),
        (b"\xff\xfe\n", "no JSON"),
        (b"\0" * 50 + b"\n", "no JSON"),
    ],
)
def test_a_line_that_is_no_entry_is_named(recorded, reopen, line, reason):
    lines, _ = recorded
    with pytest.raises(UserError) as raised:
        reopen([*lines[:7], line, *lines[7:]])
    assert DAMAGED.fullmatch(str(raised.value)) and "damaged in line 8 (" in str(raised.value)
    assert reason in str(raised.value)


@pytest.mark.parametrize("tail", [b'{"op_code":8,"wor', b"\0" * 5000, b"\n\n  \n", b'\n\n{"op_code"'])
def test_what_a_killed_driver_or_an_editor_left_at_the_end_does_no_harm(recorded, reopen, searched, tail):
    lines, _ = recorded
    assert reopen([*lines, tail], results=True).finished == set(range(5))
    assert all(line.strip() for line in (searched.folder / FILE_NAME).read_bytes().splitlines())


def test_a_file_of_something_else_is_refused_and_left_as_it_is(searched, reopen):
    content = b"PK\x03\x04" + bytes(range(128, 256)) * 3
    with pytest.raises(UserError, match="damaged in line 1 "):
        reopen([content])
    assert (searched.folder / FILE_NAME).read_bytes() == content


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_in_the_journals_place_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / FILE_NAME)
    with pytest.raises(UserError, match="is no file"):
        Journal(tmp_path / FILE_NAME)


@pytest.mark.parametrize("kept", [None, 0, 1, 2, 20])
def test_a_study_is_never_begun_anew_over_the_results_of_an_old_one(recorded, reopen, searched, kept):
    """The journal is missing, empty, or cut off after a whole line."""
    lines, results = recorded
    with pytest.raises(UserError) as raised:
        reopen(lines[: kept or 0], results=True)
    said = str(raised.value)
    assert re.search(r"results\.parquet has \d+ rows that .*study\.journal does not know, the first of trial \d", said)
    assert "put study.journal back from a copy, or choose another study.name; study.warm_start=" in said
    assert "\n" not in said
    if kept is None:
        (searched.folder / FILE_NAME).unlink()
        with pytest.raises(UserError, match="was emptied, cut off or exchanged"):
            open_record(searched)
        assert not (searched.folder / FILE_NAME).exists()
    assert (searched.folder / "results.parquet").read_bytes() == results


def test_a_journal_of_another_study_does_not_overwrite_the_results(recorded, reopen, searched, tmp_path):
    lines, _ = recorded
    options = changed(searched.options, study={"root": str(tmp_path), "seed": 5})
    other = dataclasses.replace(searched, options=options)
    finish(open_record(other), other, 6)
    foreign = (other.folder / FILE_NAME).read_bytes().splitlines(keepends=True)
    with pytest.raises(UserError, match="was emptied, cut off or exchanged"):
        reopen(foreign, results=True)


def test_damaged_results_are_written_anew_from_a_journal_and_kept_without_one(recorded, searched):
    lines, _ = recorded
    path = searched.folder / "results.parquet"
    path.write_bytes(b"PAR1")
    (searched.folder / FILE_NAME).write_bytes(b"".join(lines))
    assert len(read_results(write(searched, open_record(searched)))) == 10
    path.write_bytes(b"PAR1")
    (searched.folder / FILE_NAME).write_bytes(b"")
    with pytest.raises(UserError, match=r"study.journal has no result, and .*results.parquet cannot be read; put"):
        open_record(searched)
    assert path.read_bytes() == b"PAR1"


def test_a_journal_of_an_earlier_version_goes_on_with_checks_and_is_read_by_optuna(recorded, reopen, searched):
    lines = unchecked(recorded[0])
    again = [*lines[:1], *lines]  # which began the study at each opening
    record = reopen(again, results=True)
    assert record.finished == set(range(5))
    finish(record, searched, 2)
    path = searched.folder / FILE_NAME
    now = path.read_bytes().splitlines(keepends=True)
    assert now[: len(again)] == again and all(b'"check":' in line for line in now[len(again) :])
    assert open_record(searched).finished == {*range(5), *(row["trial"] for row in record.rows)}
    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(path))))
    assert len({trial.user_attrs["trial"] for trial in study.trials if "trial" in trial.user_attrs}) >= 7
    with pytest.raises(UserError, match=rf"damaged in line {len(again) + 1} "):
        reopen([*again, *now[len(again) + 1 :]])


def test_notes_that_optuna_dashboard_keeps_between_our_entries_do_no_harm(recorded, reopen, searched):
    lines, _ = recorded
    reopen(lines)
    path = searched.folder / FILE_NAME
    storage = JournalStorage(JournalFileBackend(str(path)))
    storage.set_study_system_attr(0, "dashboard:note_ver:1", "what I saw")
    record = open_record(searched)
    storage.set_study_system_attr(0, "dashboard:note_ver:2", "while it runs")
    finish(record, searched, 2)
    assert open_record(searched).finished == record.finished
