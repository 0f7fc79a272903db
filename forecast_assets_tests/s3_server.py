"""An S3-compatible server on loopback, as s3fs and Delta Lake use one.

It is a process of its own: deltalake holds the interpreter's lock while it waits for an answer.
"""

import atexit
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

import pytest

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "user",
    "AWS_SECRET_ACCESS_KEY": "password",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
    "NO_PROXY": "127.0.0.1",
}
SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").disabled = True
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # until the tests are over
"""


@contextmanager
def bucket(*files: tuple[str, bytes]) -> Iterator[None]:
    """Make `s3://bucket` hold these files, and nothing else, in this block."""
    from s3fs import S3FileSystem  # half a second that only some workers need

    _send("POST", "moto-api/reset")
    _send("PUT", "bucket")
    for name, content in files:
        _send("PUT", f"bucket/{name}", content)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": _address()}.items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()  # of instances with another environment
        try:
            yield
        finally:
            S3FileSystem.clear_instance_cache()


def keys() -> list[str]:
    """Return the keys of all objects in the bucket."""
    return re.findall(r"<Key>(.*?)</Key>", _send("GET", "bucket?list-type=2&max-keys=1000"))


@functools.cache
def _address() -> str:
    """Start the server, once for all tests of this process."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": "3"},
    )
    assert process.stdout is not None
    atexit.register(process.communicate)  # closes its input and waits for its end
    return f"http://127.0.0.1:{int(process.stdout.readline())}"


def _send(method: str, path: str, body: bytes | None = None) -> str:
    headers = {"Content-Type": "application/octet-stream"}
    request = Request(f"{_address()}/{path}", body, headers, method=method)  # noqa: S310
    with urlopen(request) as response:  # noqa: S310 - on loopback
        return str(response.read(), "utf-8")
