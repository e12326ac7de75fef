"""The store of a worker group on this machine is open to this machine only."""

import os
import socket
import subprocess
import sys

import pytest
from ports import is_loopback

from imer_ray.stages.graph import Stage

GROUP = """
import os, sys
sys.path[:0] = sys.argv[3:]
from ports import is_loopback, listening
from torch import distributed, ones
from imer_ray.scaling.loopback import listen_on_loopback
if sys.argv[1] == "on the loopback":
    listen_on_loopback()
distributed.init_process_group("gloo", init_method=sys.argv[2], world_size=1, rank=0)
found = listening({os.getpid()})
distributed.all_reduce(total := ones(2))
print(total.sum().item(), len(found) > 0, all(map(is_loopback, found)))
"""


@pytest.mark.parametrize(("where", "alone"), [("on the loopback", True), ("anywhere", False)])
def test_a_group_listens(where, alone):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    words = [sys.executable, "-c", GROUP, where, address, *sys.path]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == f"2.0 True {alone}", done.stderr


@pytest.mark.slow
def test_every_port_of_a_group_of_ray_train_is_on_the_loopback(broker, tmp_path):
    log = tmp_path / "log"
    broker.compute(Stage(name="group", function="ports:note", config={"log": str(log)}, data="toy", inputs={}), "w")
    found = [line.split() for line in log.read_text().splitlines()]
    assert len(found) == 2, "one line of each worker"
    assert max(map(len, found)) >= 3, "of Ray, gloo and the store"
    assert all(is_loopback(address) for addresses in found for address in addresses)
