"""One S3-compatible server per test session, on loopback, as `s3fs` reads it."""

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "user",
    "AWS_SECRET_ACCESS_KEY": "password",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
    "NO_PROXY": "127.0.0.1",
}


@functools.cache
def _address() -> str:
    logging.getLogger("werkzeug").disabled = True
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()  # in a daemon thread
    return "http://{}:{}".format(*server.get_host_and_port())


@contextmanager
def bucket(*files: tuple[str, bytes]) -> Iterator[None]:
    """Make `s3://bucket` hold these files, and nothing else, in this block."""
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.reset()
    backend.create_bucket("bucket", "us-east-1")
    for name, content in files:
        backend.put_object("bucket", name, content)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": _address()}.items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()  # of instances with another environment
        try:
            yield
        finally:
            S3FileSystem.clear_instance_cache()
