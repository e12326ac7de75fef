"""An emulator of Google's Cloud Storage in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import urllib.request

from waiting import until

CODE = "import sys; from gcp_storage_emulator.__main__ import main; sys.exit(main(sys.argv[1:]))"


@contextlib.contextmanager
def gcs_server():
    """The URI of an empty root in it, with what Arrow needs to find it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory", "--default-bucket=bucket"]
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def answers():
        assert process.poll() is None, "the emulator has ended"
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/storage/v1/b/bucket"):
            return True
        return False

    try:
        until(answers)
        yield f"gs://anonymous@bucket/stages?endpoint_override=127.0.0.1:{port}&scheme=http&retry_limit_seconds=10"
    finally:
        process.kill()
        process.wait()
