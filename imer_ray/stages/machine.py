"""Which hardware this is, in words: what a time that is measured on it belongs to."""

from __future__ import annotations

import platform
import re
from pathlib import Path

_CPUS, _GPUS = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")


def hardware(with_gpu: bool, cpus: Path = _CPUS, gpus: Path = _GPUS) -> str:
    """The model of the processor and, where a GPU is used, that of the first one."""
    names = [_value(cpus, "model name") or platform.processor() or platform.machine()]
    if with_gpu:
        found = [_value(path, "Model") for path in sorted(gpus.glob("*/information"))]
        names += [next(filter(None, found), None) or "a GPU"]
    return ", ".join(" ".join(name.split()) for name in names)


def _value(path: Path, name: str) -> str | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system than Linux
        return None
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return None if found is None else found[1]
