"""Commands as another user of this machine runs them: only root can be somebody else."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

NOBODY, NAMELESS = 65534, 12345  # a user of every machine, and a number without an entry among its users
READ_ALL = "dac_read_search", 1 << 2  # a capability, by name and in /proc

is_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can be another user, with setpriv"
)


def as_user(uid: int, words: Sequence[str], reads_all: bool = True) -> list[str]:
    """The command that runs ``words`` as another user.

    He may read all files, where root may give that away: else he could not even start a Python in somebody's home.
    """
    bounding = re.search(r"CapBnd:\s+(\w+)", Path("/proc/self/status").read_text())
    name, bit = READ_ALL
    given = f",+{name}" if reads_all and bounding and int(bounding[1], 16) & bit else ""
    user = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups", f"--inh-caps=-all{given}"]
    return ["setpriv", *user, *([f"--ambient-caps=-all{given}"] if given else []), "--", *words]


def python_as(uid: int, code: str, *arguments: str) -> list[str]:
    return as_user(uid, [sys.executable, "-c", code, *arguments])
