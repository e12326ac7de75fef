"""Packs of artefacts and checkpoints in an object store: whole, damaged, hostile, or as earlier versions had them."""

import asyncio
import json
import math
import os
import tarfile
from types import SimpleNamespace

import pytest
from toy_stages import notes, toy
from worlds import World, commit

from imer_ray.errors import StoreFailed
from imer_ray.stages import mirror, pack, patience, workspaces
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.broker import Broker
from imer_ray.stages.claim import Claims
from imer_ray.stages.job import Begin
from imer_ray.stages.lease import Lease
from imer_ray.stages.remote import RemoteFolders
from imer_ray.stages.run import execute, run_graph


def flip_middle(pack):
    return pack[:512] + bytes([pack[512] ^ 1]) + pack[513:]


@pytest.mark.parametrize("damage", [lambda pack: pack[:700], lambda pack: pack[:600], lambda pack: b"", flip_middle])
def test_a_damaged_pack_is_put_aside_and_built_anew(tmp_path, damage):
    world, stage = World(tmp_path, remote=True), toy("a", x=7)
    run_graph(stage, world.store())
    (packed,) = world.folder(stage.key).glob("*.tar")
    packed.write_bytes(damage(packed.read_bytes()))
    store = world.store("another node")
    with pytest.raises(MissingArtefact, match="was damaged"):
        store.open(stage.key)
    run_graph(stage, store)
    assert (store.open(stage.key).folder / "value.txt").read_text() == "7"
    assert len(store.put_aside) == 1


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt", "link"])
def test_a_pack_writes_nothing_outside_its_folder(tmp_path, name):
    world, stage = World(tmp_path, remote=True), toy("a", x=7)
    run_graph(stage, world.store())
    (packed,) = world.folder(stage.key).glob("*.tar")
    with tarfile.open(packed, "w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = (tarfile.SYMTYPE, "/etc") if name == "link" else (tarfile.REGTYPE, "")
        tar.addfile(member)
    with pytest.raises(MissingArtefact, match="no file of its folder"):
        world.store("another node").open(stage.key)
    assert not list(tmp_path.rglob("outside.txt"))


def test_files_that_lie_singly_are_read_as_well(tmp_path):
    world, stage = World(tmp_path, remote=True), toy("a", x=1)
    commit(world.store(), stage, {"a.bin": b"1", "deep/b.bin": b"2"})
    world.unpack(stage.key)
    assert (world.store("another node").open(stage.key).folder / "deep/b.bin").read_bytes() == b"2"


def test_a_large_pack_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "PART_BYTES", 1000)
    world, stage = World(tmp_path, remote=True), toy("a", x=1)
    content = bytes(range(256)) * 500
    commit(world.store(), stage, {"a.bin": content, "b.bin": b"", "c.bin": content[::-1]})
    folder = world.store("another node").open(stage.key).folder
    assert (folder / "a.bin").read_bytes() == (folder / "c.bin").read_bytes()[::-1] == content


@pytest.mark.parametrize("num_sent", [0, 1])
def test_an_upload_that_breaks_off_leaves_no_artefact(tmp_path, monkeypatch, num_sent):
    world, stage, sent = World(tmp_path, remote=True), toy("a", x=1), []
    opened = RemoteFolders._open

    def open_some(self, name):
        if len(sent) == num_sent:
            raise ConnectionError("lost")
        sent.append(name)
        return opened(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolders, "_open", open_some)
        patch.setattr(patience, "HELD_SECONDS", -1.0)
        with pytest.raises(StoreFailed, match="lost"):
            commit(world.store(), stage, {"a.bin": b"1", "deep/b.bin": b"2", "z.bin": b"3"})
    assert world.store().find(stage.key) is None
    commit(world.store(), stage, {"a.bin": b"4"})
    assert (world.store("another node").open(stage.key).folder / "a.bin").read_bytes() == b"4"


def test_a_checkpoint_follows_its_stage_to_another_node(world):
    first, second, key = world.store("one"), world.store("two"), toy("a", x=1).key
    folder = first.workspaces.folder(key)
    (folder / "checkpoint-1.safetensors").write_bytes(b"1")
    (folder / "checkpoint-1.json").write_bytes(b"{}")
    first.workspaces.send(key)
    (folder / "checkpoint-2.json").write_bytes(b"{}")
    (folder / "checkpoint-1.json").unlink()
    (folder / "checkpoint-1.safetensors").write_bytes(b"2")
    first.workspaces.send(key)
    first.workspaces.flush(key)
    there = {path.name: path.read_bytes() for path in second.workspaces.folder(key).iterdir()}
    assert there == {"checkpoint-1.safetensors": b"2", "checkpoint-2.json": b"{}"}
    commit(second, toy("a", x=1), {})
    assert os.listdir(second.workspaces.folder(key)) == []  # which waits until the checkpoint is gone
    assert os.listdir(world.store("three").workspaces.folder(key)) == []


@pytest.mark.parametrize("sent", [True, False], ids=["sent", "never sent"])
def test_a_process_is_told_whether_there_is_a_checkpoint(world, sent):
    store, lease, log, told = world.store(), Lease(), str(world.base / "log"), []
    lease.renew(store.folders)
    stage = toy("count", "count", num_epochs=3, log=log)
    if sent:
        (store.workspaces.folder(stage.key) / "state.json").write_text("[2, 3]")
        store.workspaces.send(stage.key)
        store.workspaces.flush(stage.key)

    async def launch(stage):
        told.append(await broker.begin(stage.key))
        return await asyncio.to_thread(execute, stage, store, anew=told[-1] == Begin.ANEW)

    broker = Broker(store, launch, claims=Claims(store.folders, lease))
    assert asyncio.run(broker.wait([stage], "trial", 60))[stage.key].metrics == {"total": 6.0}
    assert len(notes(log)) == (1 if sent else 3)  # epochs
    assert told == [Begin.ANEW if world.remote and not sent else Begin.RESUMED]


def test_what_lies_here_is_no_checkpoint_of_a_stage_that_begins_anew(tmp_path, monkeypatch):
    store, key = World(tmp_path, remote=True).store(), toy("a", x=1).key
    (store.workspaces.folder(key) / "state").write_text("never sent")
    monkeypatch.setattr(RemoteFolders, "names", None)  # the store is not asked
    assert os.listdir(store.workspaces.folder(key, anew=True)) == []


def test_a_checkpoint_of_many_files_is_whole_whatever_changed_when(world):
    """Files of one epoch, of every epoch, and of the first alone; the process changes in between."""
    key = toy("a", x=1).key
    for node in ("one", "two", "three"):
        store = world.store(node)
        folder = store.workspaces.folder(key)
        for epoch in range(3):
            (folder / "deep").mkdir(exist_ok=True)
            first = folder / "deep/first.bin"
            first.exists() or first.write_bytes(b"first")
            (folder / "state.json").write_text(f"{node} {epoch}")
            (folder / f"{node}-{epoch}.bin").write_text(f"{epoch}")
            (folder / f"{node}-{epoch - 2}.bin").unlink(missing_ok=True)
            store.workspaces.send(key)
            store.workspaces.send(key)  # nothing is new, and what was begun is done
            there = world.store("reader").workspaces.folder(key)
            kept = {f"{node}-{e}.bin" for e in (epoch - 1, epoch) if e >= 0}
            assert {path.name for path in there.rglob("*") if path.is_file()} >= {"first.bin", "state.json", *kept}
            assert (there / "state.json").read_text() == f"{node} {epoch}"
            assert not (there / f"{node}-{epoch - 2}.bin").exists()


@pytest.mark.parametrize(
    "index",
    [
        {"number": 1, "files": ["{outside}"]},
        {"number": 1, "files": ["../0.tar/state.json"]},
        {"number": "first", "files": ["state.json"]},
        {"number": 1, "files": 7},
        {"number": 1, "files": [7]},
        ["state.json"],
    ],
)
def test_a_checkpoint_whose_index_names_what_is_not_its_own_is_left_out(tmp_path, index):
    world, key = World(tmp_path, remote=True), toy("a", x=1).key
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    store = world.store()
    (store.workspaces.folder(key) / "state.json").write_text("0")
    store.workspaces.send(key)
    store.workspaces.flush(key)
    (sent,) = world.folder(".work").rglob("*.tar")
    text = json.dumps(index).replace("{outside}", str(outside)).encode()
    (tmp_path / "state.json").write_text("0")
    with open(sent, "wb") as target:
        pack.write(target, tmp_path, ["state.json"], {mirror.INDEX: text})
    folder = world.store("two").workspaces.folder(key)
    assert list(folder.iterdir()) == [] and [path.name for path in folder.parent.iterdir()] == ["checkpoint"]
    assert outside.read_text() == "mine"


def test_a_checkpoint_whose_sending_broke_off_is_the_one_before(tmp_path):
    world, key = World(tmp_path, remote=True), toy("a", x=1).key
    store = world.store()
    folder = store.workspaces.folder(key)
    for epoch in range(3):
        (folder / "state.json").write_text(f"{epoch}")
        store.workspaces.send(key)
    store.workspaces.flush(key)
    newest = max(world.folder(".work").rglob("*.tar"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:100])
    assert (world.store("two").workspaces.folder(key) / "state.json").read_text() == "1"


class Outage:
    """A store to which nothing can be sent: while it ``is_on``, or so many times."""

    def __init__(self, monkeypatch, num_failing=math.inf):
        self.is_on, self.num_left, sent = True, num_failing, RemoteFolders._open

        def opened(folders, name):
            if self.is_on and self.num_left > 0:
                self.num_left -= 1
                raise ConnectionError("lost")
            return sent(folders, name)

        monkeypatch.setattr(RemoteFolders, "_open", opened)


@pytest.mark.parametrize("num_sent", [0, 1, 2, 3])
def test_checkpoints_go_on_after_an_outage_and_whole(tmp_path, monkeypatch, num_sent):
    """A file of the first epoch alone, one of each epoch: whichever of the two packs was to take which."""
    world, key = World(tmp_path, remote=True), toy("a", x=1).key
    store, outage = world.store(), Outage(monkeypatch)
    folder = store.workspaces.folder(key)
    for epoch in range(num_sent + 4):
        outage.is_on = num_sent <= epoch < num_sent + 3
        (folder / "first").exists() or (folder / "first").write_text("first")
        (folder / f"{epoch}").write_text("new")
        (folder / "state").write_text(f"{epoch}")
        store.workspaces.send(key)
        if outage.is_on:
            with pytest.raises(StoreFailed, match="lost"):
                store.workspaces.flush(key)
    store.workspaces.flush(key)
    there = {path.name: path.read_text() for path in world.store("two").workspaces.folder(key).iterdir()}
    assert there == {path.name: path.read_text() for path in folder.iterdir()} and there["state"] == f"{epoch}"


def test_an_outage_that_lasts_too_long_ends_the_stage(tmp_path, monkeypatch):
    store, key = World(tmp_path, remote=True).store(), toy("a", x=1).key
    Outage(monkeypatch)
    monkeypatch.setattr(workspaces, "HELD_SECONDS", -1.0)
    folder = store.workspaces.folder(key)
    (folder / "state").write_text("0")
    store.workspaces.send(key)
    (folder / "state").write_text("1")
    with pytest.raises(StoreFailed, match="lost"):
        store.workspaces.send(key)


def test_what_was_computed_waits_for_a_store_that_comes_back(tmp_path, monkeypatch):
    world, stage = World(tmp_path, remote=True), toy("a", x=7)
    Outage(monkeypatch, num_failing=3)
    monkeypatch.setattr(patience, "FIRST_SECONDS", 0.0)
    execute(stage, world.store())
    assert (world.store("another node").open(stage.key).folder / "value.txt").read_text() == "7"


def test_an_outage_of_another_run_does_not_count(tmp_path, monkeypatch):
    """A stage that runs again in the same process has the whole of its patience again."""
    store, key, now = World(tmp_path, remote=True).store(), toy("a", x=1).key, [0.0]
    Outage(monkeypatch)
    monkeypatch.setattr(workspaces, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for _ in range(2):
        folder = store.workspaces.folder(key)
        for epoch in range(3):
            (folder / "state").write_text(f"{now[0]} {epoch}")
            store.workspaces.send(key)
        now[0] += 10 * workspaces.HELD_SECONDS
