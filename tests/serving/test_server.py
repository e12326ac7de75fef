"""The command itself, as a process: it answers, refuses, survives, and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import is_loopback, listening
from processes import family
from serving_hostile import hostile
from serving_load import bodies, described, kill_under_load, request

from imer_ray.errors import UserError
from imer_ray.prediction.clip import read_clip
from imer_ray.prediction.predictor import Predictor
from imer_ray.serving import server as module

ROOT = Path(__file__).parents[2]
SECONDS = 60.0  # that a command gets to end


def command(*words: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environment.pop("RAY_ADDRESS", None)
    call = [sys.executable, "-m", "imer_ray.serve", *words]
    return subprocess.Popen(call, cwd=cwd, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True)


class Server:
    def __init__(self, model: Path) -> None:
        self.process = command(f"model={model.name}", "port=0", cwd=model.parent)
        self.said: list[str] = []
        for line in iter(self.process.stdout.readline, ""):
            self.said.append(line)
            if line.startswith("serving "):
                break
        else:
            pytest.fail(self.process.stderr.read())
        self.url = line.partition(" at ")[2].partition(";")[0]
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.errors: list[str] = []
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=SECONDS) as answer:
            return bytes(answer.read())

    def replicas(self) -> list[int]:
        """The processes that hold the model."""
        return sorted(pid for pid in family(self.process.pid) if "ServeReplica" in words(pid))

    def private_mib(self) -> float:
        """Memory of the front and its replicas that they share with nobody, as Ray's object store is."""
        lines = [memory(pid) for pid in (self.process.pid, *self.replicas())]
        return sum(lines) / 1024


def words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def memory(pid: int) -> int:
    """Private memory in KiB."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1])


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    started = Server(model)
    yield started
    started.process.kill()
    started.process.wait()


@pytest.mark.slow
def test_a_request_is_answered_as_the_predictor_does(server: Server, model: Path) -> None:
    predictor = Predictor.open(model)
    for body in bodies(described(server.url)["reads"], 7, seed=0):
        expected = predictor.predict([read_clip(json.loads(body), predictor.reads)])[0]
        post = urllib.request.Request(f"{server.url}/predict", body, {"content-type": "application/json"})
        with urllib.request.urlopen(post, timeout=SECONDS) as answer:
            found = json.load(answer)
        assert found["value"] == pytest.approx(expected.value, abs=1e-6)
        assert (found["available"], found["recovered"]) == (expected.available, list(expected.recovered))


@pytest.mark.slow
def test_it_says_what_it_reads_once_it_answers(server: Server) -> None:
    assert server.said[0].startswith("starting 2 replicas of ours")
    assert json.loads(server.get("/healthz")) == {"status": "ok"}
    assert described(server.url)["reads"]["v"]["features"] == 12


@pytest.mark.slow
def test_nobody_outside_this_machine_reaches_it_or_its_ray(server: Server) -> None:
    found = listening(family(server.process.pid))
    assert len(found) >= 5 and {address for address in found if not is_loopback(address)} == set()


@pytest.mark.slow
def test_hostile_requests_are_refused_and_leave_nothing_behind(server: Server) -> None:
    warm = hostile(server.url, 400, seed=0)
    before = server.private_mib()
    found = hostile(server.url, 400, seed=1)
    assert {status[0] for status in warm | found} == {"4"}, (warm, found)
    assert sum(found.values()) == 400
    assert server.private_mib() < before + 150  # a body or two of the largest size, as objects
    assert json.loads(server.get("/healthz")) == {"status": "ok"}


@pytest.mark.slow
def test_killed_replicas_cost_no_request(server: Server) -> None:
    """One of two, and then both at once, whose requests wait for the new ones."""
    load = bodies(described(server.url)["reads"], 70, seed=2)
    for number in (1, 2):
        killed = server.replicas()[:number]

        def kill(pids: list[int] = killed) -> None:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        found = kill_under_load(server.url, load, kill, clients=32, seconds=4.0)
        assert found["failed"] == 0 and found["requests"] > 32  # they were answered, and asked again
        assert not set(killed) & set(server.replicas())
    metrics = dict(line.rsplit(" ", 1) for line in server.get("/metrics").decode().splitlines())
    assert float(metrics["imer_ray_retries_total"]) > 0


@pytest.mark.slow
def test_a_port_that_is_taken_is_said_at_once(server: Server, model: Path) -> None:
    port = int(server.url.rpartition(":")[2])
    with command(f"model={model}", f"port={port}", cwd=model.parent) as second:
        out, err = second.communicate(timeout=SECONDS)
    assert (second.returncode, out) == (2, "")
    assert err == f"error: port={port} is taken on 127.0.0.1: another port=... is free, or port=0 takes any that is\n"


@pytest.mark.slow
def test_sigterm_answers_what_is_under_way_and_leaves_nothing_running(server: Server) -> None:
    """The last that needs the server."""
    (body,) = bodies(described(server.url)["reads"], 1, seed=3)
    started = family(server.process.pid)
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(request(body).replace(b"\r\n", b"\r\nexpect: 100-continue\r\n", 1)[: -len(body)])
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # it waits for the body
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(OSError):
            while True:  # until nobody new is let in
                socket.create_connection(("127.0.0.1", port)).close()
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(SECONDS) == 130
    assert {pid for pid in started if words(pid)} == set()


@pytest.mark.slow
def test_a_folder_that_holds_no_model_ends_the_command_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with command("model=ours", "port=0", cwd=tmp_path) as process:
        out, err = process.communicate(timeout=2 * SECONDS)
    assert process.returncode == 2
    assert err.startswith("error: ") and err.count("\n") == 1 and "ours" in err


def test_a_folder_that_is_not_there_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with command("model=none", cwd=tmp_path) as process:
        out, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, out, err) == (2, "", "error: model=none: there is no such folder\n")


@pytest.mark.parametrize(("host", "port"), [("256.1.1.1", 0), ("203.0.113.1", 0), ("no.such.host.invalid", 0)])
def test_an_address_that_is_not_this_machines_is_one_sentence(host: str, port: int) -> None:
    with pytest.raises(UserError, match=f"host={host} is no address of this machine"):
        module.bind(host, port)


def test_a_bound_port_refuses_connections_until_the_server_listens() -> None:
    with module.bind("127.0.0.1", 0) as listener:
        assert module.url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(listener.getsockname())


def test_only_an_address_that_others_reach_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    with module.bind("127.0.0.1", 0) as listener:
        module.warn_if_open(listener)
    assert capsys.readouterr().err == ""
    with module.bind("0.0.0.0", 0) as listener:
        module.warn_if_open(listener)
    assert "without authentication" in capsys.readouterr().err
