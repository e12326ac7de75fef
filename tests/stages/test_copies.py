"""Copies of a remote store's artefacts do not fill a machine's disk."""

import os

import pytest
from toy_stages import toy
from worlds import World, commit

from imer_ray.stages import copies
from imer_ray.stages.copies import IN_USE_SECONDS, LOOK_SECONDS, Copies
from imer_ray.stages.manifest import FILE_NAME

STAGES = [toy("a", x=x) for x in range(4)]
SIZE = 100_000


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path, remote=True)
    for stage in STAGES:
        commit(world.store(), stage, {"a.bin": bytes(SIZE)})
    return world


def opened(store, *stages, ago=0.0):
    """Open artefacts, the last of them so many seconds ago and each of the others a second before the next."""
    for number, stage in enumerate(reversed(stages)):
        folder = store.open(stage.key).folder
        used = os.stat(folder / FILE_NAME).st_mtime - ago - number
        os.utime(folder / FILE_NAME, (used, used))
    return folder.parent


def there(folder):
    return {stage.key for stage in STAGES if (folder / stage.key / FILE_NAME).is_file()}


def room_for(monkeypatch, number):
    """Let half of the disk be so many copies and a half."""
    usage = type("Usage", (), {"free": 2 * (number + 0.5) * SIZE - len(STAGES) * SIZE})
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda folder: usage)


def test_the_least_recently_used_go_until_the_rest_is_within_its_share(world, monkeypatch):
    store = world.store("two")
    folder = opened(store, *STAGES, ago=2 * IN_USE_SECONDS)
    room_for(monkeypatch, 2)
    assert Copies(folder).trim(os.stat(folder).st_mtime) == 2
    assert there(folder) == {stage.key for stage in STAGES[2:]}
    assert store.open(STAGES[0].key).metrics == {}, "it is downloaded again"
    assert there(world.store("one")._local) == {stage.key for stage in STAGES}, "another machine keeps its own"


def test_what_a_stage_may_be_reading_stays_whatever_it_takes(world, monkeypatch):
    store = world.store("two")
    folder = opened(store, *STAGES, ago=2 * IN_USE_SECONDS)
    store.open(STAGES[0].key)
    store.open(STAGES[1].key, found=True)
    room_for(monkeypatch, 0)
    assert Copies(folder).trim(os.stat(folder / STAGES[0].key / FILE_NAME).st_mtime) == 2
    assert there(folder) == {stage.key for stage in STAGES[:2]}


def test_on_a_disk_with_room_all_stay(world):
    folder = opened(world.store("two"), *STAGES, ago=100 * IN_USE_SECONDS)
    assert Copies(folder).trim(os.stat(folder).st_mtime) == 0 and len(there(folder)) == len(STAGES)


def test_a_process_looks_when_it_copies_and_then_not_for_a_while(world, monkeypatch):
    opened(world.store("two"), *STAGES[:3], ago=2 * IN_USE_SECONDS)
    room_for(monkeypatch, 1)
    now, store = [1e6], world.store("two")
    monkeypatch.setattr(copies.time, "monotonic", lambda: now[0])
    folder = store.open(STAGES[3].key).folder.parent
    assert there(folder) == {STAGES[2].key, STAGES[3].key}, "what was there had more than its share"
    opened(store, STAGES[0], STAGES[2], STAGES[3], ago=2 * IN_USE_SECONDS)
    assert len(there(folder)) == 3, "it does not look"
    now[0] += LOOK_SECONDS
    store.open(STAGES[1].key)
    assert there(folder) == {STAGES[1].key, STAGES[3].key}, "room for one before the new one comes"
