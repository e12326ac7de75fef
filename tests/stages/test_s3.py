"""S3 as a store: what it is asked, and what it refuses."""

import pytest
from object_stores import artefacts_are_listed_kept_while_leased_and_evicted
from toy_stages import toy
from worlds import commit, s3_server

from imer_ray.errors import UserError
from imer_ray.stages.store import Store

pytestmark = pytest.mark.slow  # moto takes seconds to import


@pytest.mark.parametrize("narrow", [False, True], ids=["all is allowed", "as the documented policy allows"])
def test_artefacts_are_listed_kept_while_leased_and_evicted(tmp_path, narrow):
    with s3_server(narrow=narrow) as (_, uri):
        artefacts_are_listed_kept_while_leased_and_evicted(uri, tmp_path)


def test_what_is_reused_costs_four_requests_and_an_epoch_one(tmp_path):
    with s3_server() as (server, uri):
        stages, store = [toy("a", x=x) for x in range(5)], Store(uri, cache=tmp_path / "one")
        for stage in stages:
            commit(store, stage, {f"{number}.bin": bytes(1000) for number in range(8)})
        folder = store.workspaces.folder("running")
        for stage in stages:
            store.workspaces._dropping[stage.key].result()
        server.counts.clear()
        for epoch in range(10):
            (folder / f"checkpoint-{epoch}.safetensors").write_bytes(bytes(1000))
            (folder / f"checkpoint-{epoch}.json").write_bytes(b"{}")
            (folder / f"checkpoint-{epoch - 2}.json").unlink(missing_ok=True)
            store.workspaces.send("running")
        store.workspaces.flush("running")
        assert server.counts == {"PUT object": 10}

        other = Store(uri, cache=tmp_path / "two")
        server.counts.clear()
        assert other.lacked(toy("a", x=99).key)
        assert not any(other.lacked(stage.key) for stage in stages)
        assert server.counts == {"GET bucket": 1}
        for stage in stages:
            server.counts.clear()
            assert all(other.find(stage.key) for _ in range(3 if stage is stages[0] else 1))
            assert server.counts["PUT object"] == 1, "that it is used, once for all times"
            server.counts.clear()
            other.open(stage.key)
            assert server.counts.total() <= 4


def test_a_bucket_that_is_not_there_is_told(tmp_path):
    with s3_server() as (_, uri), pytest.raises(UserError, match="cannot use .*NO_SUCH_BUCKET"):
        Store(uri.replace("//bucket/", "//another/"), cache=tmp_path).prepare()
