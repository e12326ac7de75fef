"""What runs on this machine, as Linux tells."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def family(pid: int) -> set[int]:
    """A process and all that it and its children started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def title(pid: int) -> str:
    """What a process calls itself; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def can_mount() -> bool:
    """Whether `unshare -m` gives a process file systems of its own: only root may."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
