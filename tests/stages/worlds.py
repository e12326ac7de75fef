"""Stores on a local folder and on something like an object store, for tests."""

from __future__ import annotations

import contextlib
from urllib import request

import pytest
from pyarrow import fs

from imer_ray.stages.folders import USED
from imer_ray.stages.store import Store


class World:
    """A root that is a local folder, or an object store in which nothing is ever renamed."""

    def __init__(self, base, remote):
        self.remote = remote
        self.root = base / "root"
        self.root.mkdir()
        self.base = base

    def store(self, node="one"):
        if not self.remote:
            return Store(self.root)
        return Store("bucket", fs.SubTreeFileSystem(str(self.root), fs.LocalFileSystem()), self.base / node)

    def folder(self, key):
        return self.root / "bucket" / key if self.remote else self.root / key

    def left_over(self):
        """Names of all that is neither an artefact nor its mark nor an empty folder, here and in the caches."""
        files = [path.relative_to(self.base) for path in self.base.rglob("*") if path.is_file()]
        files = [path for path in files if USED not in path.parts]
        return [str(path) for path in files if any(part.startswith(".") for part in path.parts)]


def commit(store, stage, files, metrics=None):
    with store.writing(stage.key) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return store.commit(stage, folder, metrics or {}, 1.5)


@contextlib.contextmanager
def s3_server():
    """URI of an empty folder in a bucket, as an S3 server on this machine has it."""
    import boto3
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        request.urlopen(request.Request(f"http://{host}:{port}/moto-api/reset", method="POST"))  # of earlier servers
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        try:
            yield f"s3://bucket/stages?scheme=http&region=us-east-1&endpoint_override={host}:{port}"
        finally:
            server.stop()
