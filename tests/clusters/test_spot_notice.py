"""clusters/spot-notice.sh beside a server that answers as the metadata of a cloud's machine do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

CLUSTERS = Path(__file__).parents[2] / "clusters"
TOKEN = "the-token"
NODE = "0a1b2c"


class Metadata(BaseHTTPRequestHandler):
    """Of a machine of any of the clouds: no notice before the third time that it is asked for."""

    asked = 0

    def do_PUT(self) -> None:
        self._answer(200 if self.path == "/latest/api/token" else 404, TOKEN)

    def do_GET(self) -> None:
        time = (datetime.now(UTC) + timedelta(seconds=120)).strftime("%Y-%m-%dT%H:%M:%SZ")
        taken = {"EventId": "1", "EventType": "Preempt", "EventStatus": "Scheduled"}
        known: dict[str, tuple[tuple[str, str], int, str, str]] = {  # header, status before, text before, text after
            "/latest/meta-data/spot/instance-action": (
                ("X-aws-ec2-metadata-token", TOKEN),
                404,
                "",
                json.dumps({"action": "terminate", "time": time}),
            ),
            "/computeMetadata/v1/instance/preempted": (("Metadata-Flavor", "Google"), 200, "FALSE", "TRUE"),
            "/metadata/scheduledevents?api-version=2020-07-01": (
                ("Metadata", "true"),
                200,
                json.dumps({"DocumentIncarnation": 1, "Events": [{**taken, "EventType": "Reboot"}]}),
                json.dumps({"DocumentIncarnation": 2, "Events": [taken]}),
            ),
        }
        if self.path not in known:
            return self._answer(404, "")
        (name, value), status, before, after = known[self.path]
        if self.headers[name] != value:
            return self._answer(401, "")
        Metadata.asked += 1
        self._answer(*((200, after) if Metadata.asked > 2 else (status, before)))

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def metadata() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Metadata.asked = 0
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def programs(folder: Path, **scripts: str) -> dict[str, str]:
    """The environment in which programs of these names do this."""
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(("cloud", "seconds"), [("aws", 120), ("gcp", 30), ("azure", 30)])
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_notice_is_passed_on_to_ray_once_ray_takes_it(
    metadata: str, tmp_path: Path, cloud: str, seconds: int
) -> None:
    calls, refused = tmp_path / "calls", tmp_path / "refused"
    environment = programs(
        tmp_path,
        sleep="exit 0",
        pgrep=f"echo '17 /opt/ray/raylet/raylet --port=1 --node_id={NODE} --x=2'",
        ray=f'echo "$@" >> {calls}; test -e {refused} || {{ touch {refused}; exit 1; }}',
    )
    command = ["bash", str(CLUSTERS / "spot-notice.sh"), cloud, "10.0.0.1:6379", metadata]
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert Metadata.asked == 4  # twice there was none, and Ray refused the first
    for call in (lines := calls.read_text().splitlines()):
        words = call.split()
        assert words[:3] == ["drain-node", "--address=10.0.0.1:6379", f"--node-id={NODE}"]
        assert "--reason=DRAIN_NODE_REASON_PREEMPTION" in words
        assert seconds / 2 < int(words[-1].removeprefix("--deadline-remaining-seconds=")) <= seconds
    assert len(lines) == 2


@pytest.mark.slow  # Ray's commands are imported
def test_ray_knows_what_it_is_told() -> None:
    from ray.scripts.scripts import drain_node

    text = (CLUSTERS / "spot-notice.sh").read_text()
    options = {name for parameter in drain_node.params for name in parameter.opts}
    reason = next(parameter for parameter in drain_node.params if parameter.name == "reason")
    assert {"--address", "--node-id", "--reason", "--reason-message", "--deadline-remaining-seconds"} <= options
    assert "DRAIN_NODE_REASON_PREEMPTION" in reason.type.choices and "ray drain-node" in text


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_workers_run_it_and_the_head_which_stays_does_not(cloud: str) -> None:
    described = yaml.safe_load((CLUSTERS / f"{cloud}.yaml").read_text())
    commands = {name: " ".join(described[f"{name}_start_ray_commands"]) for name in ("head", "worker")}
    assert (
        f"clusters/spot-notice.sh {cloud} $RAY_HEAD_IP:6379 <" in commands["worker"] and "spot" not in commands["head"]
    )
