import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_stages import notes, toy
from worlds import commit

from imer_ray.errors import UserError
from imer_ray.files import disk_errors
from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.run import run_graph
from imer_ray.stages.store import Store


def test_what_was_committed_is_opened(world):
    stage = toy("pretrain[l]", x=1, inputs={"a": toy("encode", x=2)})
    metrics = {"loss": 0.5, "Corr": math.nan, "worst": -math.inf}
    commit(world.store(), stage, {"a.bin": b"123", "deep/er/b.bin": b""}, metrics)
    artefact = world.store("another node").open(stage.key)
    assert (artefact.folder / "a.bin").read_bytes() == b"123"
    assert (artefact.folder / "deep/er/b.bin").read_bytes() == b""
    assert artefact.seconds == 1.5
    assert artefact.metrics["loss"] == 0.5
    assert math.isnan(artefact.metrics["Corr"])
    assert artefact.metrics["worst"] == -math.inf
    assert artefact.manifest.stage["inputs"] == {"a": toy("encode", x=2).key}
    assert artefact.manifest.stage["config"] == {"x": 1}
    text = (artefact.folder / "artefact.json").read_text()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert world.left_over() == []


def test_an_artefact_exists_if_and_only_if_its_json_does(world):
    store, stage = world.store(), toy("a", x=1)
    assert store.find(stage.key) is None
    with pytest.raises(MissingArtefact):
        store.open(stage.key)
    commit(store, stage, {"a.bin": b"1"})
    assert store.find(stage.key) is not None
    (world.folder(stage.key) / "artefact.json").unlink()
    assert store.find(stage.key) is None
    commit(store, stage, {"a.bin": b"2"})
    assert (store.open(stage.key).folder / "a.bin").read_bytes() == b"2"


def test_a_failed_stage_leaves_nothing(world):
    store, stage = world.store(), toy("a", x=1)
    with pytest.raises(ZeroDivisionError), store.writing(stage.key) as folder:
        (folder / "half.bin").write_bytes(b"1")
        raise ZeroDivisionError
    assert store.find(stage.key) is None
    assert world.left_over() == []


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def change_metric(folder):
    path = folder / "artefact.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "metrics": {"value": 99.0}}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "value.txt"),
        lambda folder: (folder / "value.txt").write_text(""),
        lambda folder: (folder / "value.txt").unlink(),
        lambda folder: (folder / "artefact.json").write_text('{"format": 1'),
        lambda folder: (folder / "artefact.json").write_text("[]"),
        change_metric,
    ],
    ids=["flipped bit", "truncated", "missing file", "half json", "not a manifest", "changed metric"],
)
def test_a_damaged_artefact_is_put_aside_and_built_anew(world, damage, tmp_path, caplog):
    log = str(tmp_path / "log")
    below, above = toy("below", x=1, log=log), toy("above", x=2, inputs={"b": toy("below", x=1, log=log)})
    run_graph(below, world.store())
    world.unpack(below.key)
    damage(world.folder(below.key))
    results = run_graph(above, world.store("another node"))
    assert [result.metrics["value"] for result in results] == [1, 3]
    assert len(notes(log)) == 2
    assert "is damaged" in caplog.text
    assert f"{below.key}.damaged-1" in caplog.text
    assert world.folder(f"{below.key}.damaged-1").is_dir()
    assert (world.store().open(below.key).folder / "value.txt").read_text() == "1"


def test_damage_after_the_first_look_is_seen_in_the_same_process(tmp_path):
    store, stage = Store(tmp_path), toy("a", x=1)
    run_graph(stage, store)
    assert store.find(stage.key) is not None
    flip(tmp_path / stage.key / "value.txt")
    assert store.find(stage.key) is None
    assert len(store.put_aside) == 1


def test_the_manifest_of_a_later_version_is_not_touched(world):
    store, stage = world.store(), toy("a", x=1)
    commit(store, stage, {})
    path = world.folder(stage.key) / "artefact.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(UserError, match="format 2"):
        store.find(stage.key)
    assert path.exists()


def test_a_manifest_cannot_name_files_elsewhere(world):
    stage = toy("a", x=1)
    with pytest.raises(MissingArtefact, match="outside"):
        escape(world, stage)


def escape(world, stage):
    from imer_ray.stages.manifest import FileRecord, Manifest, describe

    commit(world.store(), stage, {})
    manifest = vars(describe(stage, world.folder("nothing"), {}, 1.0, 1, False))
    body = Manifest(**{**manifest, "files": {"../../x": FileRecord(size=0, sha256="0")}}).to_json()
    (world.folder(stage.key) / "artefact.json").write_bytes(body)
    world.store("another node").open(stage.key)


def test_a_full_disk_is_told_with_the_path_and_leaves_nothing(world):
    """The limit on the size of a file stands for a full disk: it is the same error path, and needs no mount."""
    store, stage = world.store(), toy("a", x=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*(root|one).*file size limit"):
            commit(store, stage, {"small.bin": b"1", "big.bin": b"1" * 20_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.find(stage.key) is None
    assert world.left_over() == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space left"),  # safetensors' way
    ],
)
def test_errors_of_the_disk_become_advice(error, words):
    with pytest.raises(UserError, match=f"cannot write /some/where: .*{words}"), disk_errors("/some/where"):
        raise error


def test_other_errors_pass_unchanged():
    with pytest.raises(FileNotFoundError), disk_errors("/some/where"):
        raise FileNotFoundError(errno.ENOENT, "No such file")


def test_a_root_that_cannot_be_used_is_told_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot use .*/file/stages as a store"):
        Store(tmp_path / "file" / "stages").prepare()


def test_an_unknown_file_system_is_told():
    with pytest.raises(UserError, match="cannot use nowhere://x"):
        Store("nowhere://x")


COMMITTER = """
import sys
sys.path[:0] = [sys.argv[1]]
from worlds import World, commit
from toy_stages import toy
from pathlib import Path
store = World.__new__(World)
store.base, store.remote = Path(sys.argv[2]), sys.argv[3] == "True"
store.root = store.base / "root"
store = store.store()
print("ready", flush=True)
for number in range(int(sys.argv[4]), 10**6):
    commit(store, toy("a", x=number), {f"{i}.bin": bytes(200_000) for i in range(3)})
"""


def _is_whole(manifest):
    """Without a look into the store, which would put aside what this one, on a disk, shows half written."""
    try:
        json.loads(manifest.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return True


def test_sigkill_while_committing_leaves_whole_artefacts_or_none(world):
    for attempt in range(4):
        arguments = [str(Path(__file__).parent), str(world.base), str(world.remote), str(attempt * 10_000)]
        child = subprocess.Popen([sys.executable, "-c", COMMITTER, *arguments], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"ready\n"
        first = toy("a", x=attempt * 10_000)
        while not _is_whole(world.folder(first.key) / "artefact.json"):
            assert child.poll() is None
        time.sleep(0.017 * attempt)
        child.kill()
        assert child.wait() == -signal.SIGKILL
    store = world.store()
    stages = [toy("a", x=attempt * 10_000 + number) for attempt in range(4) for number in range(200)]
    found = [stage for stage in stages if store.find(stage.key) is not None]
    assert len(found) >= 4
    for stage in found:
        assert len(list(store.open(stage.key).folder.iterdir())) == 4
    assert not any(".damaged-" in path.name for path in world.root.rglob("*"))
    for stage in stages[:200]:  # what the first killed process left goes when the same stage is written again
        if stage not in found:
            commit(store, stage, {})
    left = {name.partition(".tmp-")[2][:32] for name in world.left_over()}
    assert left.isdisjoint(stage.key for stage in stages[:200])


def test_rubbish_in_the_way_is_put_aside(tmp_path):
    store, stage = Store(tmp_path), toy("a", x=1)
    (tmp_path / stage.key).mkdir()
    (tmp_path / stage.key / "rubbish").touch()
    assert (commit(store, stage, {"a.bin": b"1"}).folder / "a.bin").read_bytes() == b"1"
    assert os.listdir(tmp_path / f"{stage.key}.damaged-1") == ["rubbish"]


def test_two_processes_that_commit_one_key_agree(world):
    script = """
import os, sys, time
sys.path[:0] = [sys.argv[1]]
from worlds import World, commit
from toy_stages import toy
from pathlib import Path
world = World.__new__(World)
world.base, world.remote = Path(sys.argv[2]), sys.argv[3] == "True"
world.root = world.base / "root"
store = world.store("one")
Path(sys.argv[2], f"ready-{os.getpid()}").touch()
while not Path(sys.argv[2], "go").exists():
    pass
for number in range(20):
    artefact = commit(store, toy("a", x=number), {"x.bin": b"same"})
    assert (artefact.folder / "x.bin").read_bytes() == b"same"
"""
    arguments = [str(Path(__file__).parent), str(world.base), str(world.remote)]
    children = [subprocess.Popen([sys.executable, "-c", script, *arguments]) for _ in range(2)]
    while len(list(world.base.glob("ready-*"))) < 2:
        time.sleep(0.01)
    (world.base / "go").touch()
    assert [child.wait() for child in children] == [0, 0]
    store = world.store("another node")
    assert all(store.find(toy("a", x=number).key) for number in range(20))
    assert world.left_over() == []
