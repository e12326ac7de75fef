"""Nobody else of the machine gets into a session's own Ray, and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from other_user import NOBODY, as_user, is_root, python_as
from ports import is_loopback, listening
from processes import family
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from imer_ray.config.commands import ScalingConfig
from imer_ray.errors import UserError
from imer_ray.scaling import local as module
from imer_ray.scaling.cluster import session, start, stop
from imer_ray.scaling.join import _look

SCALING = ScalingConfig(num_workers=0, train_stages=(), max_failures=0)
VARIABLES = ("RAY_ADDRESS", "RAY_TMPDIR", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", *module.LOOPBACK)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a user in whose Ray a task has run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.setattr(os, "sched_getaffinity", lambda pid: {0})
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(folder))
        start(SCALING, num_slots=2)
        assert ray.get(ray.remote(num_cpus=1)(lambda: os.getuid()).remote()) == os.getuid()
        yield folder
        stop()


@pytest.fixture
def gcs(home: Path) -> str:
    return str(ray.get_runtime_context().gcs_address)


@pytest.fixture
def token(home: Path) -> Path:
    return Path(os.environ["RAY_AUTH_TOKEN_PATH"])


def test_a_port_that_all_may_reach_would_be_seen() -> None:
    with socket.create_server(("", 0)), socket.create_server(("127.0.0.1", 0)):
        assert sorted(map(is_loopback, listening({os.getpid()})))[0] is False


def test_every_port_of_a_session_is_on_the_loopback(home: Path) -> None:
    found = listening(family(os.getpid()))
    assert len(found) >= 5, "of the driver, its GCS, its raylet (two) and a worker at least"
    assert {address for address in found if not is_loopback(address)} == set()


def test_a_session_has_no_process_that_nobody_needs(home: Path) -> None:
    found = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in family(os.getpid())]
    assert any("raylet/raylet" in command for command in found)
    assert [command for command in found if "log_monitor" in command or "autoscaler" in command] == []


def test_the_token_is_the_sessions_own_and_for_no_other_eyes(home: Path, token: Path) -> None:
    assert len(token.read_text()) == 64
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
    assert list(home.iterdir()) == [], "Ray would leave one in ~/.ray that all may read"


@is_root
def test_another_user_reads_neither_the_token_nor_what_is_beside_it(token: Path) -> None:
    for path in (token, token.parent, Path(ray._private.worker._global_node.get_session_dir_path())):
        done = subprocess.run(
            as_user(NOBODY, ["ls", "-l", f"{path}/"], reads_all=False), capture_output=True, text=True
        )
        assert done.returncode != 0 and "Permission denied" in done.stderr


ASK = """
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    print(GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session", timeout=60))
except AuthenticationError:
    print("refused")
"""


def of_a_stranger(home: Path, **changes: str) -> dict[str, str]:
    """The environment of another user."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**kept, "HOME": str(home), "RAY_gcs_server_port_wait_time_s": "1", **changes}


@is_root
def test_another_user_is_answered_only_with_the_token(gcs: str, token: Path, tmp_path: Path) -> None:
    def ask(**changes: str) -> str:
        words, environment = python_as(NOBODY, ASK, gcs), of_a_stranger(tmp_path, **changes)
        return subprocess.run(words, env=environment, capture_output=True, text=True).stdout.strip()

    assert ask() == "refused"
    assert ask(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64) == "refused"
    assert ask(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token.read_text()).startswith("b'session_")


# Ray takes 127.0.0.1 in an address for the machine's outer one; who wants to get in would not let it.
HERE = "from ray._private import services; services.resolve_ip_for_localhost = lambda host: host\n"
RAY_START = f"{HERE}import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
RAY_INIT = f"""{HERE}
import os, sys, ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(address=sys.argv[1], _temp_dir=sys.argv[2], _node_ip_address="127.0.0.1", log_to_driver=False)
task = ray.remote(num_cpus=0)(lambda: os.getuid())
print(sorted(ray.get([task.options(scheduling_strategy=On(n["NodeID"], soft=False)).remote() for n in ray.nodes()])))
"""


@pytest.mark.slow
@is_root
def test_another_users_ray_start_and_ray_init_need_the_token(gcs: str, token: Path) -> None:
    """With the token they work, and run code as the session's user: nothing but the token keeps him out."""
    temporary = Path(subprocess.run(as_user(NOBODY, ["mktemp", "-d"]), capture_output=True, text=True).stdout.strip())
    join = python_as(NOBODY, RAY_START, "start", f"--address={gcs}", "--num-cpus=1", f"--temp-dir={temporary}")
    join += ["--node-ip-address=127.0.0.1", "--block"]
    drive = python_as(NOBODY, RAY_INIT, gcs, str(temporary))
    known = of_a_stranger(temporary, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token.read_text())
    started = None
    try:
        for words in (join, drive):
            done = subprocess.run(words, env=of_a_stranger(temporary), capture_output=True, text=True, timeout=120)
            assert done.returncode != 0
            assert "InvalidAuthToken" in done.stdout + done.stderr
        assert len(ray.nodes()) == 1
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started = subprocess.Popen(join, env=known, start_new_session=True, **piped)
        said = iter(started.stdout.readline, "")
        assert any("Ray runtime started" in line for line in said)
        assert len(ray.nodes()) == 2
        done = subprocess.run(drive, env=known, capture_output=True, text=True, timeout=120)
        assert done.stdout.strip() == f"[{os.getuid()}, {NOBODY}]", done.stderr
    finally:
        if started is not None:
            started.terminate()
            started.wait(60)
        subprocess.run(["rm", "-rf", str(temporary)], check=True)


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"])
def test_a_user_who_chose_a_token_or_none_is_left_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "mine").write_text("a token")
    monkeypatch.setenv(name, {"RAY_AUTH_MODE": "disabled"}.get(name, str(tmp_path / "mine")))
    assert module._token(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_token_of_the_users_own_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="RAY_AUTH_TOKEN_PATH=.*none is no token"):
        module._token(tmp_path)


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_rays_files_go_where_the_user_wants_them(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)  # what Python remembers
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    short = Path("/tmp") / f"t{os.getpid()}"
    monkeypatch.setenv(variable, str(short))
    if variable == "TMPDIR":
        short.mkdir()  # Python passes over one that is not there
    try:
        assert module._base() == short and short.is_dir()
    finally:
        short.rmdir()
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv(variable, str(long))
    assert module._base() == Path("/tmp")
    assert re.search(r"Ray's files go to /tmp: .* too long for .*x{80}", capsys.readouterr().err)


def test_a_gpu_that_is_not_there_ends_a_session_at_its_start(home: Path, tmp_path: Path) -> None:
    wanted = replace(SCALING, gpus_per_stage=1)
    with pytest.raises(UserError, match="a stage takes 1 CPU and 1 GPU .* but this machine has 1 CPU and no GPU"):
        with session(str(tmp_path / "stages"), wanted, slots=1):
            pytest.fail("it began")
    assert ray.is_initialized(), "it was not the session's own"


def test_a_cluster_of_other_versions_is_not_joined(gcs: str) -> None:
    """A real one, which says that it is of others."""
    key, namespace = b"CLUSTER_METADATA", "cluster"
    before = _internal_kv_get(key, namespace=namespace)
    other = json.dumps({**json.loads(before), "ray_version": "2.9.0"}).encode()
    try:
        _internal_kv_put(key, other, True, namespace=namespace)
        with pytest.raises(UserError, match=r"runs Ray 2\.9\.0 on Python"):
            _look(gcs, gcs, deadline=120)
    finally:
        _internal_kv_put(key, before, True, namespace=namespace)
    _look(gcs, gcs, deadline=120)


@pytest.mark.parametrize("wrong", [{"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}, {"HOME": "/nowhere"}])
def test_a_cluster_whose_token_is_missing_or_wrong_is_not_joined(
    gcs: str, wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "HOME" in wrong:  # where Ray looks for a token of which it is told nothing else
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="refuses this process's token, or that it has none"):
        _look(gcs, gcs, deadline=120)


def test_paths_of_sockets_are_as_long_as_they_are_taken_to_be(home: Path, token: Path) -> None:
    node = ray._private.worker._global_node
    path = node.plasma_store_socket_name
    pid = re.search(r"_(\d+)/sockets", path)
    assert pid is not None
    assert len(path) + 7 - len(pid[1]) == len(str(token.parent.parent)) + module.BELOW


def test_broken_off_while_ray_starts_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**settings: object) -> None:
        assert Path(str(settings["_temp_dir"])).parent.is_dir()
        raise KeyboardInterrupt

    before = dict(os.environ)
    monkeypatch.setattr(module, "_base", lambda: tmp_path)
    monkeypatch.setattr(ray, "init", interrupt)
    monkeypatch.setattr(ray, "shutdown", lambda **settings: None)
    with pytest.raises(KeyboardInterrupt), module.local_ray(1, {}):
        pass
    assert list(tmp_path.iterdir()) == [] and dict(os.environ) == before


def test_a_session_leaves_nothing_behind(home: Path, token: Path) -> None:
    """The last of this file: it ends the session."""
    stop()
    assert not token.parent.exists()
    assert not {*module.LOOPBACK, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    assert list(home.iterdir()) == []
