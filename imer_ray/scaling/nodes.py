"""What the other nodes of a cluster have of what stages need: the code, what it imports, the store, the data.

Every node is asked before the first trial, by one light task that needs nothing of ours: a node that does not see the
store would fail each stage that comes its way.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from imer_ray.errors import UserError
from imer_ray.files import disk_errors
from imer_ray.scaling.leaving import draining

ANSWER_SECONDS = 120.0  # to start a process, and to fetch our code where it is shipped
PACKAGE = "imer_ray"
PROBE = ".probe-"  # of a store's root
SAME = ("torch", "numpy")  # packages whose version is in no key, but whose arithmetic is in every result

Node = Mapping[str, Any]
"""What `ray.nodes` says of one."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one node said.

    Attributes:
        name: of the node, for people.
        code: digest of its imer_ray; None: it has none.
        lacks: packages that imer_ray imports and the node has not.
        versions: of `SAME`, without what follows a plus sign: CPU and GPU builds compute the same.
        sees_store: whether it sees the file that was just written there.
        sizes: bytes of the data at each path; None: it sees nothing there.
    """

    name: str
    code: str | None
    lacks: Sequence[str]
    versions: Mapping[str, str]
    sees_store: bool
    sizes: Mapping[str, int | None]


def others() -> list[Node]:
    """The nodes beside the driver's that may run stages or trials."""
    here, leaving = ray.get_runtime_context().get_node_id(), draining()
    alive = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
    return [node for node in alive if node["NodeID"] != here]


def ask(store_root: str, data: Sequence[str], asked_nodes: Sequence[Node]) -> tuple[Answer, list[Answer]]:
    """What this process has, and what other nodes have. One that does not answer in time is told on the terminal.

    Args:
        store_root: folder or URI; of a URI nothing is asked.
        data: files and folders that stages read.

    Raises:
        UserError: a node cannot run what is sent there.
    """
    look, packages = _looker(), sorted({*_requirements(), *SAME})
    with _probe(store_root) as probe:
        ours = Answer(name="here", **look(packages, SAME, probe, list(data)))
        asked = {
            ray.remote(num_cpus=0, max_retries=0)(look)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            .remote(packages, SAME, probe, list(data)): f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            for node in asked_nodes
        }
        done, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
        for task in silent:
            print(f"node {asked[task]} does not answer within {ANSWER_SECONDS:g} s", file=sys.stderr, flush=True)
        answers = []
        for task in done:
            try:
                answers.append(Answer(name=asked[task], **ray.get(task)))
            except RayError as error:
                first = next(iter(str(error).splitlines()), type(error).__name__)
                raise UserError(f"node {asked[task]} cannot run what this command sends there: {first}") from error
    return ours, answers


def lacks_code(ours: Answer, answers: Sequence[Answer]) -> bool:
    """Whether any node has no imer_ray, or another."""
    return any(answer.code != ours.code for answer in answers)


def check(ours: Answer, answers: Sequence[Answer], store_root: str) -> None:
    """Compare what nodes have with what this process has.

    Raises:
        UserError: one of them lacks something; the sentence says which, and what to do.
    """
    for answer in answers:
        node = f"node {answer.name}"
        if answer.lacks:
            raise UserError(f"{node} lacks {', '.join(answer.lacks)}: install there what is installed here")
        for package, version in ours.versions.items():
            if (theirs := answer.versions[package]) != version:
                raise UserError(f"{node} has {package} {theirs}, this command {version}: install there what is here")
        if answer.code != ours.code:
            has = "has no imer_ray" if answer.code is None else "runs other code of imer_ray than this command"
            raise UserError(f"{node} {has}: install there what is installed here")
        if not answer.sees_store:
            raise UserError(
                f"{node} does not see the store of stages at {store_root}: give all nodes one folder at this path, as "
                "by NFS, or have the stages in a bucket (s3://...)"
            )
        for path, size in answer.sizes.items():
            if size != ours.sizes[path]:
                has = "does not see the data" if size is None else f"has other data ({size} bytes)"
                raise UserError(f"{node} {has} at {path}: copy them there to the same path, or share the folder")


def package_folder() -> str:
    """Where this process's imer_ray is, to be shipped."""
    return str(Path(sys.modules[PACKAGE].__file__ or "").parent)


@contextlib.contextmanager
def _probe(store_root: str) -> Iterator[str | None]:
    """A file in a store that is a folder, which is gone after the block."""
    if "://" in store_root:
        yield None
        return
    path = Path(store_root).absolute() / f"{PROBE}{uuid.uuid4().hex}"
    with disk_errors(path):
        path.touch()
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def _requirements() -> list[str]:
    """The packages that imer_ray needs, without those of extras."""
    try:
        required = importlib.metadata.requires("imer-ray") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
        return []
    names = (re.match(r"[\w.-]+", line) for line in required if "extra ==" not in line)
    return [name[0] for name in names if name]


def _looker() -> Callable[[Sequence[str], Sequence[str], str | None, Sequence[str]], dict[str, Any]]:
    """What each node runs. It is defined in here so that it is sent whole, and not by the name of a module of ours."""

    def look(packages: Sequence[str], same: Sequence[str], probe: str | None, data: Sequence[str]) -> dict[str, Any]:
        import hashlib
        import importlib.metadata
        import importlib.util
        from pathlib import Path

        def version(name: str) -> str:
            try:
                return importlib.metadata.version(name).partition("+")[0]
            except importlib.metadata.PackageNotFoundError:
                return ""

        def size(path: Path) -> int | None:
            if not path.exists():
                return None
            return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())

        spec, code = importlib.util.find_spec("imer_ray"), None
        if spec is not None and spec.origin is not None:
            digest, folder = hashlib.sha256(), Path(spec.origin).parent
            for file in sorted(file for kind in ("*.py", "*.yaml") for file in folder.rglob(kind)):
                digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
            code = digest.hexdigest()
        return {
            "code": code,
            "lacks": [name for name in packages if not version(name)],
            "versions": {name: version(name) for name in same},
            "sees_store": probe is None or Path(probe).exists(),
            "sizes": {path: size(Path(path)) for path in data},
        }

    return look
