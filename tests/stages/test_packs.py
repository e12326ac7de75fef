"""Packs of artefacts and checkpoints in an object store: whole, damaged, hostile, or as earlier versions had them."""

import json
import os
import tarfile

import pytest
from toy_stages import toy
from worlds import World, commit

from imer_ray.errors import StoreFailed
from imer_ray.stages import mirror, pack
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.remote import RemoteFolders
from imer_ray.stages.run import run_graph


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
        with pytest.raises(StoreFailed, match="lost"):
            commit(world.store(), stage, {"a.bin": b"1", "deep/b.bin": b"2", "z.bin": b"3"})
    assert world.store().find(stage.key) is None
    commit(world.store(), stage, {"a.bin": b"4"})
    assert (world.store("another node").open(stage.key).folder / "a.bin").read_bytes() == b"4"


def test_a_checkpoint_follows_its_stage_to_another_node(world):
    first, second, key = world.store("one"), world.store("two"), toy("a", x=1).key
    folder = first.workspace(key)
    (folder / "checkpoint-1.safetensors").write_bytes(b"1")
    (folder / "checkpoint-1.json").write_bytes(b"{}")
    first.sync_workspace(key)
    (folder / "checkpoint-2.json").write_bytes(b"{}")
    (folder / "checkpoint-1.json").unlink()
    (folder / "checkpoint-1.safetensors").write_bytes(b"2")
    first.sync_workspace(key)
    first.flush_workspace(key)
    there = {path.name: path.read_bytes() for path in second.workspace(key).iterdir()}
    assert there == {"checkpoint-1.safetensors": b"2", "checkpoint-2.json": b"{}"}
    commit(second, toy("a", x=1), {})
    assert os.listdir(second.workspace(key)) == []  # which waits until the checkpoint is gone
    assert os.listdir(world.store("three").workspace(key)) == []


def test_a_checkpoint_of_many_files_is_whole_whatever_changed_when(world):
    """Files of one epoch, of every epoch, and of the first alone; the process changes in between."""
    key = toy("a", x=1).key
    for node in ("one", "two", "three"):
        store = world.store(node)
        folder = store.workspace(key)
        for epoch in range(3):
            (folder / "deep").mkdir(exist_ok=True)
            first = folder / "deep/first.bin"
            first.exists() or first.write_bytes(b"first")
            (folder / "state.json").write_text(f"{node} {epoch}")
            (folder / f"{node}-{epoch}.bin").write_text(f"{epoch}")
            (folder / f"{node}-{epoch - 2}.bin").unlink(missing_ok=True)
            store.sync_workspace(key)
            store.sync_workspace(key)  # nothing is new, and what was begun is done
            there = world.store("reader").workspace(key)
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
    (store.workspace(key) / "state.json").write_text("0")
    store.sync_workspace(key)
    store.flush_workspace(key)
    (sent,) = world.folder(".work").rglob("*.tar")
    text = json.dumps(index).replace("{outside}", str(outside)).encode()
    (tmp_path / "state.json").write_text("0")
    with open(sent, "wb") as target:
        pack.write(target, tmp_path, ["state.json"], {mirror.INDEX: text})
    folder = world.store("two").workspace(key)
    assert list(folder.iterdir()) == [] and [path.name for path in folder.parent.iterdir()] == ["checkpoint"]
    assert outside.read_text() == "mine"


def test_a_checkpoint_whose_sending_broke_off_is_the_one_before(tmp_path):
    world, key = World(tmp_path, remote=True), toy("a", x=1).key
    store = world.store()
    folder = store.workspace(key)
    for epoch in range(3):
        (folder / "state.json").write_text(f"{epoch}")
        store.sync_workspace(key)
    store.flush_workspace(key)
    newest = max(world.folder(".work").rglob("*.tar"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:100])
    assert (world.store("two").workspace(key) / "state.json").read_text() == "1"
