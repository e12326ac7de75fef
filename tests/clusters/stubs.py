"""Programs that note how they are called, for what the documents tell people to type."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TYPED = "aws az azcopy curl docker gcloud helm kubectl pip python ray rsync sbatch scp squeue ssh tail xdg-open"
HARMLESS = "bash chmod cut dirname grep hostname mkdir sed sleep"  # the machine's own
NOTE = """#!{python}
import json, os, shlex, subprocess, sys, time
name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
with open(os.environ["STUBS_NOTES"], "a") as notes:
    notes.write(json.dumps([name, *words]) + "\\n")
answers = json.loads(os.environ["STUBS_ANSWERS"])
print(next((answers[key] for key in answers if " ".join([name, *words]).startswith(key)), ""))
if os.environ.get("STUBS_NEW") and ("describe" in words or words[:3] == ["network", "vnet", "show"]):
    sys.exit(1)  # nothing is there yet
if os.environ.get("STUBS_CLOSED") and name in ("aws", "azcopy", "gcloud"):  # there is no way in
    sys.exit(1)
if name == "ray" and "--" in words:  # the job's own command, which the head gives to a shell
    sys.exit(subprocess.run(shlex.join(words[words.index("--") + 1 :]), shell=True).returncode)
if name == "python":
    time.sleep(float(os.environ.get("STUBS_SLEEP", 0)))
    sys.exit(int(os.environ.get("STUBS_STATUS", 0)))
"""
NOT_FOUND = """command_not_found_handle() { echo "$*" >> "$STUBS_UNKNOWN"; return 127; }
export -f command_not_found_handle
"""


@dataclass(frozen=True)
class Typed:
    """What came of a shell's text: the calls, those of programs that there are not, and the exit status."""

    calls: list[list[str]]
    unknown: list[str]
    status: int
    errors: str


def typed(text: str, folder: Path, answers: Mapping[str, str]) -> Typed:
    """Have bash run ``text`` in ``folder`` where no program is but the stubs and a few that do no harm.

    Args:
        answers: beginning of a call -> what it prints.
    """
    programs = folder / ".stubs"
    if not programs.exists():
        programs.mkdir()
        for name in TYPED.split():
            stub = programs / name
            stub.write_text(NOTE.format(python=sys.executable))
            stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
        for name in HARMLESS.split():
            (programs / name).symlink_to(next(p for p in (Path("/bin") / name, Path("/usr/bin") / name) if p.exists()))
    notes, unknown, start = programs / "notes", programs / "unknown", programs / "start"
    for file in (notes, unknown):
        file.write_text("")
    start.write_text(NOT_FOUND)
    environment = {
        "PATH": str(programs),
        "HOME": str(folder),
        "BASH_ENV": str(start),
        "STUBS_NOTES": str(notes),
        "STUBS_UNKNOWN": str(unknown),
        "STUBS_ANSWERS": json.dumps(dict(answers)),
        "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8"),
    }
    done = subprocess.run(
        ["/bin/bash", "-eu", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    calls = [json.loads(line) for line in notes.read_text().splitlines()]
    return Typed(calls, unknown.read_text().splitlines(), done.returncode, done.stderr)
