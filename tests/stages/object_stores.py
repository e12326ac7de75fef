"""What is true of every object store: folders are no files, and times are whole seconds."""

import time

import pytest
from toy_stages import toy
from worlds import commit

from imer_ray.stages.artefact import MissingArtefact
from imer_ray.stages.eviction import carry_out, choose
from imer_ray.stages.inventory import take
from imer_ray.stages.lease import Lease
from imer_ray.stages.store import Store

FILES = {"a.bin": bytes(1000), "deep/b.bin": bytes(1000)}


def artefacts_are_listed_kept_while_leased_and_evicted(uri, tmp_path):
    one, two = (Store(uri, cache=tmp_path / node) for node in ("one", "two"))
    stages = [toy("a", x=x) for x in range(4)]
    for stage in stages:
        commit(one, stage, FILES)
    one.workspaces.folder("running")
    (one._local / ".work/running/checkpoint/state.json").write_text("{}")
    one.workspaces.send("running")
    one.workspaces.flush("running")
    keys, now = {stage.key for stage in stages}, time.time()
    inventory = take(two.folders, now)
    assert {entry.key for entry in inventory.entries} == keys
    assert all(entry.size > 2000 and abs(entry.used - now) < 60 for entry in inventory.entries)
    assert [left.path for left in inventory.left_over] == [".work/running"]

    lease = Lease()
    lease.renew(two.folders)
    assert choose(take(two.folders, now), (), 0, 30, now).entries == ()
    lease.end(two.folders)

    time.sleep(1.1)  # S3's times are whole seconds
    eviction = choose(take(two.folders, now), {stages[0].key}, 0, 30, now)
    assert two.find(stages[1].key), "used after the listing"
    assert carry_out(eviction, two.folders) > 0
    assert {entry.key for entry in take(one.folders, now).entries} == {stages[0].key, stages[1].key}
    for stage in stages[2:]:
        with pytest.raises(MissingArtefact):
            one.open(stage.key)  # although this machine has a copy
    commit(one, stages[2], FILES)
    assert len(list(two.open(stages[2].key).folder.rglob("*.bin"))) == 2
