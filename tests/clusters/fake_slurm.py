"""Two nodes of a Slurm cluster on one machine: a network, an address and a view of the processes each.

`enter` runs a batch script on the first node, as sbatch would have it run; `srun` starts a command on every node.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ADDRESSES = ("10.77.0.1", "10.77.0.2")
NODE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
FIRST_NODE = [*NODE, "--user", "--map-root-user"]
SECOND = f"""ip link set lo up
until ip link set eth1 up; do sleep 0.1; done 2>/dev/null
ip addr add {ADDRESSES[1]}/24 dev eth1
ip route add default dev eth1
exec "$@"
"""


def enter(script: str, *words: str) -> int:
    """On the first node, which has namespaces of its own already: its network, then the batch script.

    A file that FAKE_SLURM_SIGNAL names, once it is there, has the script told the signal whose name is in it.
    """
    for command in ("link set lo up", "link add eth0 type veth peer name eth1", "link set eth0 up"):
        subprocess.run(["ip", *command.split()], check=True)
    subprocess.run(["ip", "addr", "add", f"{ADDRESSES[0]}/24", "dev", "eth0"], check=True)
    subprocess.run(["ip", "route", "add", "default", "dev", "eth0"], check=True)
    told = Path(os.environ["FAKE_SLURM_SIGNAL"])
    with subprocess.Popen(["bash", script, *words]) as batch:
        while batch.poll() is None:
            if told.exists():
                batch.send_signal(signal.Signals[told.read_text()])
                told.unlink()
            time.sleep(0.1)
    return batch.returncode


def srun(*words: str) -> int:
    """Start the command on all nodes at once; the highest of their exit statuses."""
    first = next(number for number, word in enumerate(words) if not word.startswith("-"))
    command, tasks = words[first:], []
    for number in range(int(os.environ["SLURM_JOB_NUM_NODES"])):
        environment = {**os.environ, "SLURM_NODEID": str(number)}
        start = [*NODE, "bash", "-c", SECOND, "node"] if number else []
        tasks.append(subprocess.Popen([*start, *command], env=environment))
    for task in tasks[1:]:  # the other end of the cable, once it has a network of its own
        children = Path(f"/proc/{task.pid}/task/{task.pid}/children")
        while not (inside := children.read_text().split()):
            time.sleep(0.05)
        subprocess.run(["ip", "link", "set", "eth1", "netns", inside[0]], check=True)
    return max(task.wait() for task in tasks)


if __name__ == "__main__":
    called, *given = sys.argv[1:]
    sys.exit(srun(*given) if called == "srun" else enter(*given))
