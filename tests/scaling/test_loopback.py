"""The store of a worker group on this machine is open to this machine only."""

import os
import socket
import subprocess
import sys

import pytest
from ports import is_loopback

from imer_ray.stages.graph import Stage

GROUPS = """
import os, sys
sys.path[:0] = sys.argv[3:]
from ports import is_loopback, listening
from torch import distributed, ones
from imer_ray.scaling.loopback import listen_on_loopback
for method in sys.argv[1:3]:
    distributed.init_process_group("gloo", init_method=method, world_size=1, rank=0)
    found = listening({os.getpid()})
    distributed.all_reduce(total := ones(2))
    distributed.destroy_process_group()
    print(total.sum().item(), len(found) > 0, all(map(is_loopback, found)), flush=True)
    listen_on_loopback()
os._exit(0)  # a thread of gloo that still runs would now and then abort the interpreter's end
"""


@pytest.mark.slow
def test_a_group_listens_everywhere_before_and_then_on_the_loopback():
    with socket.socket() as one, socket.socket() as other:
        addresses = []
        for holder in (one, other):
            holder.bind(("127.0.0.1", 0))
            addresses.append(f"tcp://127.0.0.1:{holder.getsockname()[1]}")
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    words = [sys.executable, "-c", GROUPS, *addresses, *sys.path]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["2.0 True False", "2.0 True True"]), done.stderr


@pytest.mark.slow
def test_every_port_of_a_group_of_ray_train_is_on_the_loopback(broker, tmp_path):
    log = tmp_path / "log"
    broker.compute(Stage(name="group", function="ports:note", config={"log": str(log)}, data="toy", inputs={}), "w")
    found = [line.split() for line in log.read_text().splitlines()]
    assert len(found) == 2, "one line of each worker"
    assert max(map(len, found)) >= 3, "of Ray, gloo and the store"
    assert all(is_loopback(address) for addresses in found for address in addresses)
