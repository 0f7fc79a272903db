"""A small object store that speaks S3 on loopback: what Delta Lake asks of one, and no more.

It is a process of its own: deltalake holds the interpreter's lock while it waits for an answer.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import urlopen
from xml.sax.saxutils import escape

objects: dict[str, bytes] = {}
lock = Lock()


@contextmanager
def running() -> Iterator[str]:
    """An empty object store; its address, for AWS_ENDPOINT_URL."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def keys(address: str) -> list[str]:
    """The keys of all objects."""
    with urlopen(f"{address}/bucket/?list-type=2") as answer:  # noqa: S310 - on loopback
        return re.findall(r"<Key>(.*?)</Key>", answer.read().decode())


class _Bucket(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            is_taken = self.headers["If-None-Match"] == "*" and self._key in objects
            if not is_taken:
                objects[self._key] = body
        self._answer(412 if is_taken else 200, ETag='"put"')

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._answer(200, _listed(query).encode())
        elif self._key not in objects:
            self._answer(404)
        else:
            self._answer_part(objects[self._key])

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        objects.pop(self._key, None)
        self._answer(204)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = re.findall(r"<Key>(.*?)</Key>", body)
        for key in asked:
            objects.pop(unquote(key), None)
        gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in asked)
        self._answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket/")

    def _answer_part(self, whole: bytes) -> None:
        asked = re.match(r"bytes=(\d*)-(\d*)", self.headers["Range"] or "")
        if not asked:
            self._answer(200, whole, ETag='"put"')
            return
        first, last = asked.groups()
        start = int(first) if first else len(whole) - int(last)
        end = min(int(last), len(whole) - 1) if first and last else len(whole) - 1
        part = {"Content-Range": f"bytes {start}-{end}/{len(whole)}", "ETag": '"put"'}
        self._answer(206, whole[start : end + 1], **part)

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        said = {"Content-Length": str(len(body)), "Last-Modified": formatdate(usegmt=True)}
        for name, value in {**said, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _listed(query: dict[str, list[str]]) -> str:
    """The objects below a prefix; what lies deeper than a delimiter as prefixes of its own."""
    prefix, delimiter, after = (
        query.get(name, [""])[0] for name in ("prefix", "delimiter", "start-after")
    )
    found, deeper = [], set()
    for key, body in sorted(objects.items()):
        rest = key.removeprefix(prefix)
        if key.startswith(prefix) and key > after:
            if delimiter and delimiter in rest:
                deeper.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                found.append((key, len(body)))
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{n}</Size><ETag>put</ETag>"
        f"<LastModified>2026-01-05T00:00:00.000Z</LastModified></Contents>"
        for key, n in found
    )
    prefixes = "".join(
        f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(deeper)
    )
    return (
        f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}{prefixes}</ListBucketResult>"
    )


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
