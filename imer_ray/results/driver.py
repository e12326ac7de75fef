"""Which process searches a study now, as it writes it into the study's folder for whoever looks there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_NAME = "driver.lock"  # empty while nobody has the folder; what a killed process wrote there stays


@dataclass(frozen=True)
class Driver:
    """A process: the machine that it is on, and its number there."""

    host: str
    pid: int

    @classmethod
    def own(cls) -> Driver:
        return cls(host=socket.gethostname(), pid=os.getpid())

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def is_alive(self) -> bool:
        """Whether the process is there, as far as this machine knows: of another machine's it knows nothing bad."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it is somebody else's
            pass
        return True


def parse(text: str) -> Driver | None:
    """What `Driver.to_text` wrote; None of anything else, as of a process that has not said yet who it is."""
    try:
        content = json.loads(text)
        host, pid = content["host"], content["pid"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_process = isinstance(host, str) and type(pid) is int and 0 < pid < 2**31
    return Driver(host=host, pid=pid) if is_process else None


def is_searched(folder: Path) -> bool:
    """Whether a search of the study in this folder runs now. The lock itself is not tried: that would keep one out."""
    driver = None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        driver = parse((folder / FILE_NAME).read_text(encoding="utf-8"))
    return driver is not None and driver.is_alive
