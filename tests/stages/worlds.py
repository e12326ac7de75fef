"""Stores on a local folder and on something like an object store, for tests."""

from __future__ import annotations

import contextlib
import tarfile

import pytest
from pyarrow import fs
from s3_server import ACCESS, S3Server

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

    def unpack(self, key):
        """An artefact's files lie singly, as earlier versions put them into an object store."""
        for packed in self.folder(key).glob("*.tar"):
            with tarfile.open(packed) as tar:
                tar.extractall(self.folder(key), filter="data")
            packed.unlink()

    def left_over(self):
        """Names of all that is neither an artefact nor its mark nor an empty folder, here and in the caches."""
        files = [path.relative_to(self.base) for path in self.base.rglob("*") if path.is_file()]
        files = [path for path in files if USED not in path.parts]
        return [str(path) for path in files if any(part.startswith(".") for part in path.parts)]


class Refusing(fs.FileSystemHandler):
    """A local folder as an object store that is far away: the next ``num_refused`` requests find the network gone."""

    def __init__(self, root):
        self._filesystem = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())
        self.num_refused = 0

    def __eq__(self, other):
        return self is other

    def get_type_name(self):
        return "far away"

    def normalize_path(self, path):
        return path

    def _ask(self, name, *arguments):
        if self.num_refused > 0:
            self.num_refused -= 1
            raise OSError("AWS Error NETWORK_CONNECTION during HeadObject operation")
        return getattr(self._filesystem, name)(*arguments[: 2 if name in ("move", "copy_file") else 1])


def _asking(name, real):
    return lambda self, *arguments: self._ask(real, *arguments)


for _name in Refusing.__abstractmethods__:
    setattr(Refusing, _name, _asking(_name, {"get_file_info_selector": "get_file_info"}.get(_name, _name)))
Refusing.__abstractmethods__ = frozenset()


def commit(store, stage, files, metrics=None):
    with store.writing(stage.key) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return store.commit(stage, folder, metrics or {}, 1.5)


@contextlib.contextmanager
def s3_server(**settings):
    """A server's object, see `s3_server.S3Server`, and the URI of an empty folder in a bucket that it has."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ACCESS.items():
            patch.setenv(name, value)
        server = S3Server(**settings)
        with server.running() as uri:
            yield server, uri
