"""An S3 server on this machine whose requests are counted, slowed down, and refused as AWS refuses them.

``python tests/stages/s3_server.py latency=0.05`` runs one until its input ends: it prints its URI, and for each line
that it is sent how many requests of each kind there were since the last.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import sys
import threading
import time
from urllib import parse

BUCKET, PREFIX = "bucket", "stages"
ACCESS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}


class S3Server:
    """Moto behind a gate.

    Args:
        latency: seconds that every request takes longer.
        narrow: it allows no more than the policy in clusters/aws-stack.yaml does, so that asking for the bucket, or for
            an object that does not exist, is answered by 403.
    """

    def __init__(self, latency: float = 0.0, narrow: bool = False) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.latency, self.narrow = latency, narrow
        self.num_refused = 0  # requests that are still to be answered by 503
        self._lock, self._serial = threading.Lock(), threading.Lock()

    @contextlib.contextmanager
    def running(self):
        """URI of an empty folder in a bucket."""
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
        from moto.s3.models import s3_backends
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._app = DomainDispatcherApplication(create_backend_app)
        s3_backends["123456789012"]["aws"].reset()  # of earlier servers of this process
        s3_backends["123456789012"]["aws"].create_bucket(BUCKET, "us-east-1")
        server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=MotoRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        try:
            yield f"s3://{BUCKET}/{PREFIX}?scheme=http&region=us-east-1&endpoint_override={host}:{port}"
        finally:
            server.shutdown()
            server.server_close()

    def __call__(self, environ, start_response):
        method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").partition("/")[2]
        query = dict(parse.parse_qsl(environ["QUERY_STRING"], keep_blank_values=True))
        with self._lock:
            self.counts[f"{method} {'object' if key else 'bucket'}"] += 1
            refused = self.num_refused > 0
            self.num_refused -= refused
        time.sleep(self.latency)
        if refused:
            return _answer(start_response, "503 Service Unavailable", "ServiceUnavailable")
        if self.narrow and not self._allows(method, key, query):
            return _answer(start_response, "403 Forbidden", "AccessDenied")
        status: list = []
        with self._serial:  # moto lists what another thread deletes
            found = self._app(environ, lambda *started: status.append(started))
            content = b"".join(found)
        if self.narrow and key and status[0][0].startswith("404"):
            return _answer(start_response, "403 Forbidden", "AccessDenied")
        start_response(*status[0])
        return [content]

    @staticmethod
    def _allows(method, key, query):
        if key:
            return key.startswith(f"{PREFIX}/")
        if method == "POST":
            return "delete" in query
        return method == "GET" and query.get("prefix", "").startswith(PREFIX)


def _answer(start_response, status, code):
    content = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))])
    return [content]


def main() -> None:
    options = dict(word.split("=") for word in sys.argv[1:])
    os.environ.update(ACCESS)
    server = S3Server(latency=float(options.get("latency", 0)))
    with server.running() as uri:
        print(uri, flush=True)
        for _ in sys.stdin:
            print(json.dumps(server.counts), flush=True)
            server.counts.clear()


if __name__ == "__main__":
    main()
