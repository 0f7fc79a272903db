"""An S3-compatible server on loopback, with one bucket, as `s3fs` reads it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem


@contextmanager
def bucket(*files: tuple[str, bytes]) -> Iterator[ThreadedMotoServer]:
    """The bucket `bucket` with these files in it, where `s3://bucket` leads in the meantime."""
    log = logging.getLogger("werkzeug")
    log.disabled = True
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    # It keeps what it is told in this process, from one server to the next.
    urlopen(f"{address}/moto-api/reset", data=b"").close()  # noqa: S310 - on loopback
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "user",
            "AWS_SECRET_ACCESS_KEY": "password",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": "127.0.0.1",
        }.items():
            patched.setenv(name, value)
        S3FileSystem.clear_instance_cache()  # which would lead to the server before
        try:
            S3FileSystem().mkdir("bucket")
            for name, content in files:  # past the server, which takes 8 ms for each
                s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object("bucket", name, content)
            yield server
        finally:
            server.stop()
            S3FileSystem.clear_instance_cache()
            log.disabled = False
