"""A Ray of this session's own: on the machine's loopback only, with a token and a folder that nobody else reads."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private import parameter, ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from imer_ray.errors import UserError
from imer_ray.files import FRESH, disk_errors, fresh_folder, temporary_base, write_private

OBJECT_STORE_BYTES = 200 * 1024**2  # artefacts travel by file; only configurations and metrics go through Ray
INNER = "r"  # Ray opens its own folder to everybody, so it gets one inside ours
SOCKET_BYTES = 107  # the longest path of a socket on Linux
BELOW = len(f"/{FRESH}12345678/{INNER}/session_2026-01-31_12-00-00_123456_4194304/sockets/plasma_store")

TOKEN, TOKEN_PATH, MODE = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"
LOOPBACK = {
    # Ray takes 127.0.0.1 for the machine's outer address, but where it does not expect a cluster. It reads this once,
    # when it is imported, so that our own process has to be told otherwise (`_loopback`).
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Worker groups would look for the address of the host's name, which a container may not even have.
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
}


@contextlib.contextmanager
def local_ray(num_cpus: int, resources: Mapping[str, float]) -> Iterator[None]:
    """Ray with all CPUs of this machine, or ``num_cpus`` if that is more, and further ``resources``; nothing of it is
    left after the block.

    Raises:
        UserError: there is no place for temporary files, the user's own RAY_AUTH_TOKEN_PATH cannot be read, or Ray does
            not start, as on a machine that is too busy for Ray's own deadlines.
    """
    with fresh_folder(_base()) as folder, _environment({**LOOPBACK, **_token(folder)}), _loopback():
        try:
            with _start_errors(), _few_processes():
                ray.init(
                    address="local",
                    num_cpus=max(len(os.sched_getaffinity(0)), num_cpus),
                    resources=dict(resources),
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=str(folder / INNER),
                )
            yield
        finally:
            ray.shutdown(wait_for_processes=True)  # they may still write into the folder


@contextlib.contextmanager
def _start_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of many types, and plain ones
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"Ray does not start on this machine: {first} Is it too busy, or out of memory?") from error


def _base() -> Path:
    """Where Ray's folder goes: RAY_TMPDIR, TMPDIR or /tmp, unless the paths of sockets in it would be too long."""
    wanted = Path(os.environ.get("RAY_TMPDIR") or temporary_base()).absolute()
    with disk_errors(wanted):
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
    if len(os.fsencode(wanted)) + BELOW <= SOCKET_BYTES:
        return wanted
    longest = SOCKET_BYTES - BELOW
    print(f"Ray's files go to /tmp: a path of more than {longest} letters is too long for {wanted}", file=sys.stderr)
    return Path("/tmp")


def _token(folder: Path) -> dict[str, str]:
    """What tells this session's processes a token of their own, unless the user has chosen for himself."""
    check_token_file()
    if os.environ.get(MODE, "token").lower() != "token" or os.environ.get(TOKEN) or os.environ.get(TOKEN_PATH):
        return {}
    path = folder / "token"
    write_private(path, secrets.token_hex(32).encode())
    return {TOKEN_PATH: str(path)}


def check_token_file() -> None:
    """Raise a UserError if the user names a file for Ray's token that is none: Ray would end this process.

    Raises:
        UserError: it does not exist, cannot be read, or is empty.
    """
    path = os.environ.get(TOKEN_PATH)
    if path and not os.environ.get(TOKEN) and not (os.access(path, os.R_OK) and os.path.getsize(path)):
        raise UserError(f"{TOKEN_PATH}={path} is no token that can be read: mend it, or unset it")


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set what the user has not set, for Ray's processes; afterwards all is as it was, also in what Ray remembers."""
    names = (MODE, *values)  # Ray itself sets the mode
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: value for name, value in values.items() if before[name] is None})
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _few_processes() -> Iterator[None]:
    """Ray without two of its processes, each a second of a processor at the start and more later: one passes on what
    workers print, which nobody reads here, and one adds nodes to a cluster."""
    private: Any = parameter
    params = private.RayParams
    private.RayParams = functools.partial(params, include_log_monitor=False, no_monitor=True)
    try:
        yield
    finally:
        private.RayParams = params


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
