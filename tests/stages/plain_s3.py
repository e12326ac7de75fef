"""The few requests of S3 that a store makes, answered from memory in a fraction of a millisecond and after a latency.

Moto takes many milliseconds of a processor for each, which on a busy machine is all that one would measure.
``python tests/stages/plain_s3.py latency=0.05`` runs as `s3_server` does.
"""

from __future__ import annotations

import collections
import hashlib
import io
import json
import sys
import threading
import time
import uuid
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO
from urllib import parse
from xml.sax.saxutils import escape

OBJECTS: dict[str, tuple[bytes, float]] = {}  # key -> content, and when it was written
PARTS: dict[str, dict[int, bytes]] = {}  # upload -> its parts so far
COUNTS: collections.Counter[str] = collections.Counter()
LATENCY = [0.0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _begin(self, method: str) -> tuple[str, dict[str, str], bytes]:
        path, _, query = self.path.partition("?")
        key = parse.unquote(path).strip("/").partition("/")[2]
        COUNTS[f"{method} {'object' if key else 'bucket'}"] += 1
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = _unchunked(self.rfile)
        else:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # the client, or what stands between, has gone: there is no such object then
                raise ConnectionAbortedError
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            body = _unchunked(io.BytesIO(body))
        time.sleep(LATENCY[0])
        return key + "/" * (path.endswith("/") and bool(key)), dict(parse.parse_qsl(query, True)), body

    def _end(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_PUT(self) -> None:
        key, query, body = self._begin("PUT")
        if "uploadId" in query:
            PARTS[query["uploadId"]][int(query["partNumber"])] = body
        else:
            OBJECTS[key] = (body, time.time())
        self._end(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_POST(self) -> None:
        """Begin or complete an object of several parts, as those of more than 5 MB are."""
        key, query, _ = self._begin("POST")
        if "uploads" in query:
            name = uuid.uuid4().hex
            PARTS[name] = {}
            self._end(200, _xml("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>"))
            return
        parts = PARTS.pop(query["uploadId"])
        OBJECTS[key] = (b"".join(parts[number] for number in sorted(parts)), time.time())
        self._end(200, _xml("CompleteMultipartUploadResult", '<ETag>"-"</ETag>'))

    def do_DELETE(self) -> None:
        key, query, _ = self._begin("DELETE")
        if PARTS.pop(query.get("uploadId", ""), None) is None:
            OBJECTS.pop(key, None)
        self._end(204)

    def do_HEAD(self) -> None:
        key, _, _ = self._begin("HEAD")
        if key and key not in OBJECTS:
            self._end(404)
            return
        content, written = OBJECTS.get(key, (b"", 0.0))
        self._end(200, content, Last_Modified=formatdate(written, usegmt=True), ETag='"-"')

    def do_GET(self) -> None:
        key, query, _ = self._begin("GET")
        if not key:
            self._list(query)
        elif key not in OBJECTS:
            self._end(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            content, written = OBJECTS[key]
            first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1 if last else None]
            where = f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}"
            self._end(206, part, Last_Modified=formatdate(written, usegmt=True), ETag='"-"', Content_Range=where)

    def _list(self, query: dict[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        files, folders = [], dict[str, None]()
        for key, (content, written) in sorted(dict(OBJECTS).items()):
            if not key.startswith(prefix):
                continue
            below = key[len(prefix) :]
            if delimiter and delimiter in below:
                folders[prefix + below.partition(delimiter)[0] + delimiter] = None
            else:
                when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(written))
                size = f"<Size>{len(content)}</Size><LastModified>{when}</LastModified>"
                files.append(f"<Contents><Key>{escape(key)}</Key>{size}</Contents>")
        common = "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(files)}{common}</ListBucketResult>"
        self._end(200, text.encode(), Content_Type="application/xml")

    def log_message(self, *_: object) -> None: ...


def _xml(name: str, content: str) -> bytes:
    return f'<?xml version="1.0"?><{name}>{content}</{name}>'.encode()


def _unchunked(stream: IO[bytes]) -> bytes:
    """The content of a body in chunks, each after a line with its length in hexadecimal digits; lines may follow."""
    parts = []
    while length := int(stream.readline().partition(b";")[0], 16):
        parts.append(stream.read(length))
        stream.readline()
    while stream.readline().strip():
        pass
    return b"".join(parts)


class Server(ThreadingHTTPServer):
    """Listens on a port of its own from the beginning."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """A client that has gone is no matter of the terminal."""


def uri(port: int, folder: str = "stages") -> str:
    """Of a folder behind a port of this machine."""
    return f"s3://bucket/{folder}?scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{port}"


def main() -> None:
    LATENCY[0] = float(dict(word.split("=") for word in sys.argv[1:]).get("latency", 0))
    print(uri(Server().server_port), flush=True)
    for _ in sys.stdin:
        print(json.dumps(COUNTS), flush=True)
        COUNTS.clear()


if __name__ == "__main__":
    main()
