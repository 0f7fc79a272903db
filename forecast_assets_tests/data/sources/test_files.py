"""Files as a source: on a disk, over http, in a bucket, dated, and decompression bombs."""

import bz2
import gzip
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from traceback import format_exception
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from forecast_assets.data.sources.fetch import display_name, fetch
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import SourceError
from forecast_assets_tests.builders import AS_OF, make_settings
from forecast_assets_tests.fetch_process import measured_fetches
from forecast_assets_tests.http_servers import Reply, serve
from forecast_assets_tests.s3_server import bucket

HEADER = b"unique_id,ds,y\n"
CSV = HEADER + b"007,2026-01-02,1.5\n007,2026-01-09,\nNA,2026-01-02,2\n"
SUFFIXES = {gzip: "gz", bz2: "bz2", lzma: "xz"}
SECRET = "hidden-from-messages"  # noqa: S105 - of nobody


def make_request(
    root: Path, path: str, *, log: Callable[[str], None] = print, **source: Any
) -> FetchRequest:
    """Return a request for the files at a path below `root`, with one retry."""
    quick = {"max_retries": 1, "retry_base_seconds": 0.001}
    settings = make_settings(root, source={"kind": "file", "path": path, **quick, **source})
    return FetchRequest(settings, AS_OF, log=log)


def ids(root: Path, path: str, **source: Any) -> list[str]:
    """Return the series of each row in the files at a path."""
    return list(fetch(make_request(root, path, **source))["unique_id"])


class FailingFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """A file system that fails as the name of the file says."""

    protocol = "failing"
    cachable = False

    def info(self, path: str, **kwargs: Any) -> Any:
        """Describe a file of nine bytes, or fail."""
        if "locked" in path:
            raise PermissionError(f"{path}: access denied")
        if "slow" in path:
            raise TimeoutError(f"{path}: no answer in 30 s")
        if "odd" in path:
            raise LookupError(f"{path} is odd: user:{SECRET}")
        return {"name": path, "size": 9, "type": "file", **kwargs}

    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        raise ConnectionResetError(f"{path}: the connection broke")


fsspec.register_implementation("failing", FailingFileSystem, clobber=True)


def test_a_pattern_reads_every_file_in_the_order_of_names(tmp_path: Path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(f"unique_id,ds,y\n{name},2026-01-02,1\n")
    (tmp_path / "c.csv").mkdir()
    assert ids(tmp_path, "*.csv") == ["a", "b"]
    assert fetch(make_request(tmp_path, "*.csv"))["file"].tolist() == ["a.csv", "b.csv"]
    assert fetch(make_request(tmp_path, "a.csv"))["file"].tolist() == [None]
    assert display_name(make_request(tmp_path, "*.csv").settings) == str(tmp_path / "*.csv")


@pytest.mark.parametrize("path", ["memory://sources/a.csv", "memory://sources/*.csv"])
def test_any_url_of_fsspec_is_read(tmp_path: Path, path: str):
    with fsspec.open("memory://sources/a.csv", "wb") as file:
        file.write(CSV)
    assert len(ids(tmp_path, path)) == 3


ABSENT = (
    r"`source\.path` matches no file: .*\. Nothing was published; earlier versions are unchanged\."
    r" Put the file there, or correct the path in forecast\.toml \(a relative path starts at .*\)\."
)
UNKNOWN_FORMAT = (
    r"The suffix of \S+ is none of \.csv, \.tsv, \.xlsx, \.parquet, \.json, \.jsonl, \.ndjson, so"
    r" its format is unknown\. Nothing was read\. Rename the file\."
)
UNKNOWN_PROTOCOL = (
    r"`source\.path` = nope://a\.csv cannot be opened: Protocol not known: nope\. Nothing was"
    r" read\. Correct the path, or install the package that its protocol or compression needs\."
)
LOCKED = (
    r"failing://locked\.csv cannot be read: \S+ access denied\. Nothing was read\. Grant this user"
    r" access, or set credentials in the environment where Dagster's processes start\."
)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["no.csv", "no*.csv", ".", "a.csv/b.csv", "memory://no.csv"], ABSENT),
        (["a.xls", "a", "a.gz", "a.csv.zip"], UNKNOWN_FORMAT),
        (["nope://a.csv"], UNKNOWN_PROTOCOL),
        (["failing://locked.csv"], LOCKED),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, paths: list[str], message: str):
    for name in ("a.csv", "a.xls", "a", "a.gz", "a.csv.zip"):
        (tmp_path / name).write_bytes(CSV)
    for path in paths:
        with pytest.raises(SourceError, match=f"^{message}$"):
            ids(tmp_path, path)


@pytest.mark.parametrize("name", ["slow", "broken"])
def test_a_file_system_that_does_not_answer_is_retried(tmp_path: Path, name: str):
    log: list[str] = []
    with pytest.raises(
        SourceError,
        match=rf"^failing://{name}\.csv did not answer: .*\. Nothing was read; a retry may"
        r" succeed\. Attempt 2 of 2 failed",
    ):
        ids(tmp_path, f"failing://{name}.csv", log=log.append)
    assert [line[:15] for line in log] == ["Attempt 1 of 2 "]


@pytest.mark.parametrize(
    ("status", "message", "n_retries"),
    [(503, "did not answer: 503", 1), (404, "matches no file", 0), (403, "matches no file", 0)],
)
def test_only_transient_statuses_of_http_are_retried(
    tmp_path: Path, status: int, message: str, n_retries: int
):
    log: list[str] = []
    with serve(Reply(status=status)) as server, pytest.raises(SourceError, match=message):
        fetch(make_request(tmp_path, server.url("/x.csv"), log=log.append))
    assert len(log) == n_retries


@pytest.mark.parametrize("name", ["odd", "locked", "slow", "a"])
def test_secrets_of_a_url_are_in_no_message(tmp_path: Path, name: str):
    path = f"failing://user:{SECRET}@{name}.csv?token={SECRET}"
    log: list[str] = []
    with pytest.raises(SourceError, match=rf"failing://{name}\.csv") as error:
        ids(tmp_path, path, log=log.append)
    assert SECRET not in "".join(format_exception(error.value)) + str(log)
    assert display_name(make_request(tmp_path, path).settings) == f"failing://{name}.csv"


def test_a_dated_path_has_the_day_in_the_time_zone_of_the_source(tmp_path: Path):
    for day in ("20260104", "20260105"):
        (tmp_path / f"{day}.csv").write_text(f"unique_id,ds,y\n{day},2026-01-02,1\n")
    assert ids(tmp_path, "{as_of:%Y%m%d}.csv") == ["20260105"]
    assert ids(tmp_path, "{as_of:%Y%m%d}.csv", timezone="America/New_York") == ["20260104"]
    assert ids(tmp_path, "{as_of:%Y}*.csv") == ["20260104", "20260105"]


def test_an_absent_dated_file_is_retried_until_it_arrives(tmp_path: Path):
    def deliver(message: str) -> None:
        assert "2026-01-05.csv does not exist. Nothing was read; a retry may find it." in message
        (tmp_path / "2026-01-05.csv").write_bytes(CSV)

    assert len(ids(tmp_path, "{as_of}.csv", log=deliver)) == 3
    with pytest.raises(
        SourceError,
        match=r"^`source\.path` = sales_\{as_of\}\.csv has no file for 2026-01-05 yet: \S+"
        r"sales_2026-01-05\.csv does not exist\. Nothing was read; a retry may find it\. Attempt 2",
    ):
        ids(tmp_path, "sales_{as_of}.csv")


def test_files_of_a_bucket_are_read(tmp_path: Path):
    with bucket(("in/a.csv", CSV), ("in/b.csv.gz", gzip.compress(CSV)), ("c.txt", b"")):
        assert ids(tmp_path, "s3://bucket/in/a.csv") == ["007", "007", "NA"]
        assert len(ids(tmp_path, "s3://bucket/in/*.csv*")) == 6
        for path in ("s3://bucket/in/c.csv", "s3://nobody/in/*.csv"):
            with pytest.raises(SourceError, match=rf"matches no file: {re.escape(path)}\. "):
                ids(tmp_path, path)


def test_a_retry_does_not_use_the_cached_listing_of_a_bucket(tmp_path: Path):
    from s3fs import S3FileSystem

    def deliver(_: str) -> None:
        S3FileSystem(skip_instance_cache=True).pipe("bucket/sales_2026-01-05_a.csv", CSV)

    with bucket(("sales_2026-01-04_a.csv", CSV)):
        assert len(ids(tmp_path, "s3://bucket/sales_{as_of}*.csv", log=deliver)) == 3


def test_a_bucket_without_credentials_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with bucket(("a.csv", CSV)):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        with pytest.raises(
            SourceError, match=r"^s3://bucket/a\.csv cannot be read: Unable to locate credentials\."
        ):
            ids(tmp_path, "s3://bucket/a.csv")


def test_a_bucket_whose_server_is_down_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log: list[str] = []
    with bucket():
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with pytest.raises(
            SourceError,
            match=r"^s3://bucket/a\.csv did not answer: Could not connect .* Attempt 2 of",
        ):
            ids(tmp_path, "s3://bucket/a.csv", log=log.append)
    assert len(log) == 1


def test_a_decompression_bomb_stops_at_the_limit_of_bytes(tmp_path: Path):
    """300 MB of rows, of which at most 10 MB are read."""
    (tmp_path / "small.csv").write_bytes(CSV)
    for module, suffix in SUFFIXES.items():
        block = module.compress(b"a,2026-01-02,1\n" * 20_000)
        bomb = module.compress(HEADER) + block * 1000
        (tmp_path / f"bomb.csv.{suffix}").write_bytes(bomb)
    sources = [
        {"kind": "file", "path": str(tmp_path / name), "max_bytes": 10_000_000}
        for name in ("small.csv", *(f"bomb.csv.{suffix}" for suffix in SUFFIXES.values()))
    ]
    results = measured_fetches(*sources)
    assert len(results) == len(SUFFIXES)
    for outcome, kilobytes in results:
        assert "gives more than `source.max_bytes` = 10,000,000 bytes, unpacked" in str(outcome)
        assert kilobytes < 100_000
