"""Folders for temporary files: the user's own, whatever somebody else has put where they are expected."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from other_user import NAMELESS, NOBODY, is_root, python_as

from imer_ray.errors import UserError
from imer_ray.files import LOCK, cache_folder, fresh_folder, open_own, provide_home, user_folder
from imer_ray.stages.node_load import announced, num_neighbours

NAME = f"imer_ray-{os.geteuid()}"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, as TMPDIR says."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)  # what Python remembers
    return folder


def take(base: Path, how: str) -> None:
    """Somebody has been at the user's name before him."""
    path = base / NAME
    match how:
        case "file":
            path.touch()
        case "FIFO":
            os.mkfifo(path)
        case "link":
            (base / "elsewhere").mkdir(mode=0o700)
            path.symlink_to(base / "elsewhere")
        case "dead link":
            path.symlink_to(base / "nowhere")
        case "open to all":
            path.mkdir()
            path.chmod(0o777)
            (path / "running").mkdir()
            os.mkfifo(path / "running" / "1-x.running")
        case "of another":
            path.mkdir(mode=0o700)
            os.chown(path, NOBODY, NOBODY)


def is_private(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o700 and status.st_uid == os.geteuid()


def test_a_users_folder_is_made_once_and_is_his_own(base: Path) -> None:
    assert user_folder() == user_folder() == base / NAME
    assert is_private(base / NAME)


@pytest.mark.parametrize(
    "how", ["file", "FIFO", "link", "dead link", "open to all", pytest.param("of another", marks=is_root)]
)
def test_whoever_took_his_name_is_passed_by(base: Path, how: str) -> None:
    take(base, how)
    folder = user_folder()
    assert folder == user_folder() != base / NAME
    assert folder.parent == base and is_private(folder)
    with announced(), fresh_folder(base) as fresh:
        assert num_neighbours() == 0
        assert is_private(fresh)
    assert not fresh.exists()


def test_what_is_no_file_of_the_users_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("fifo", "link", "none", "."):
        with pytest.raises(OSError):
            open_own(tmp_path / name)
    with open_own(tmp_path / "file") as file:
        assert file.read() == "mine"


@is_root
def test_another_users_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.touch()
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(PermissionError):
        open_own(path)


def test_a_fifo_among_the_announcements_is_no_neighbour(base: Path) -> None:
    with announced():
        os.mkfifo(user_folder() / "running" / "1-x.running")
        assert num_neighbours() == 0


def test_a_fresh_folder_is_gone_however_its_block_ends(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), fresh_folder(tmp_path) as folder:
        assert is_private(folder)
        (folder / "deep").mkdir()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from imer_ray.files import fresh_folder
with fresh_folder(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    def hold() -> tuple[subprocess.Popen[str], Path]:
        words = [sys.executable, "-c", HOLD, str(tmp_path)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, Path(process.stdout.readline().strip())

    (dead, left), (living, kept) = hold(), hold()
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    assert left.is_dir()
    elsewhere = tmp_path / "imer_ray.elsewhe"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / LOCK).write_text("another machine")  # whose locks this one may not see
    with fresh_folder(tmp_path) as own:
        assert not left.exists()
        assert {path.name for path in tmp_path.iterdir()} == {own.name, kept.name, elsewhere.name}
    living.communicate("")
    assert living.returncode == 0 and not kept.exists()


def test_a_folder_that_is_only_being_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "imer_ray.half0000").mkdir(mode=0o700)
    with fresh_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["imer_ray.half0000"]


def test_a_link_as_a_lock_removes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "imer_ray.crafted0"
    folder.mkdir(mode=0o700)
    (tmp_path / "lock").write_text(socket.gethostname())
    (folder / LOCK).symlink_to(tmp_path / "lock")
    with fresh_folder(tmp_path):
        pass
    assert folder.is_dir()


def test_no_place_for_temporary_files_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(UserError, match="set TMPDIR"):
        user_folder()


@pytest.mark.parametrize("home", [None, "/", "/nowhere/home", "/etc/passwd"])
@is_root
def test_a_user_without_a_home_or_a_name_has_both(home: str | None, base: Path) -> None:
    """As in a container that runs under a number."""
    code = (
        "import getpass, os, pathlib\nfrom imer_ray.files import cache_folder, provide_home, user_folder\n"
        "provide_home()\nprint(getpass.getuser(), pathlib.Path.home(), cache_folder(), user_folder(), "
        "os.environ['MPLCONFIGDIR'], os.environ['TORCHINDUCTOR_CACHE_DIR'])"
    )
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(base), **({} if home is None else {"HOME": home})}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    base.parent.chmod(0o755)
    done = subprocess.run(python_as(NAMELESS, code), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    own = str(base / f"imer_ray-{NAMELESS}")
    expected = [f"user{NAMELESS}", home or own, f"{own}/cache", own, f"{own}/cache/matplotlib", f"{own}/torchinductor"]
    assert done.stdout.split() == expected


def test_caches_go_where_the_user_wants_them(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/x")
    assert cache_folder() == user_folder() / "cache"


def test_a_machine_without_a_place_for_temporary_files_still_runs_what_needs_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    before = dict(os.environ)
    provide_home()
    assert dict(os.environ) == before
