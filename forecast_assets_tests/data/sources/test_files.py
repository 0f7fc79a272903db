"""Files as a source: on a disk, on an object store on loopback, dated, and in bombs."""

import bz2
import gzip
import lzma
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem

from forecast_assets.data.sources import fetch
from forecast_assets.data.sources.request import FetchRequest, expand_as_of
from forecast_assets.errors import SourceError
from forecast_assets_tests.builders import make_settings
from forecast_assets_tests.http_servers import Reply, serve
from forecast_assets_tests.s3_server import bucket

HEADER = b"unique_id,ds,y\n"
CSV = HEADER + b"007,2026-01-02,1.5\n007,2026-01-09,\nNA,2026-01-02,2\n"
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
ENDINGS = {gzip: "gz", bz2: "bz2", lzma: "xz"}
NEVER_SEEN = "no one may read this"


def asked(
    root: Path, path: str, *, say: Callable[[str], None] = print, **source: Any
) -> FetchRequest:
    """What is asked of the files at a path below `root`, once more where it may pass."""
    quick = {"max_retries": 1, "retry_base_seconds": 0.001}
    settings = make_settings(root, source={"kind": "file", "path": path, **quick, **source})
    return FetchRequest(settings, MONDAY, log=say)


def ids(root: Path, path: str, **source: Any) -> list[str]:
    """The series in the files at a path, row by row."""
    return list(fetch.fetch(asked(root, path, **source))["unique_id"])


@pytest.mark.parametrize(
    ("status", "words"), [(503, "did not answer: 503"), (404, "No file answers to")]
)
def test_an_address_that_is_away_is_tried_again_and_one_that_is_gone_is_not(
    tmp_path: Path, status: int, words: str
) -> None:
    said: list[str] = []
    with serve(Reply(status=status)) as server, pytest.raises(SourceError, match=words):
        fetch.fetch(asked(tmp_path, server.url("/x.csv"), say=said.append))
    assert len(said) == (status == 503)


def chain(error: BaseException | None) -> str:
    """All that an error and those behind it say."""
    return f"{error} {error!r} {chain(error.__cause__ or error.__context__)}" if error else ""


class Unwell(MemoryFileSystem):  # type: ignore[misc]
    """A file system that raises, at the named step, what stands in its address."""

    protocol = "unwell"
    cachable = False

    def info(self, path: str, **kwargs: Any) -> Any:
        """Describe a file of nine bytes, unless its name says otherwise."""
        if "locked" in path:
            raise PermissionError("access denied")
        if "away" in path:
            raise TimeoutError("no answer in 30 s")
        if "odd" in path:
            raise LookupError(f"{path} is odd, as {NEVER_SEEN} is: user:{NEVER_SEEN}")
        return {"name": path, "size": 9, "type": "file", **kwargs}

    def _open(self, path: str, *_: Any, **__: Any) -> Any:
        raise ConnectionResetError(f"{path}: the line broke")


fsspec.register_implementation("unwell", Unwell, clobber=True)


def test_a_pattern_reads_every_file_in_the_order_of_names(tmp_path: Path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text(f"unique_id,ds,y\n{name},2026-01-02,1\n")
    (tmp_path / "c.csv").mkdir()
    assert ids(tmp_path, "*.csv") == ["a", "b"]


def test_an_address_is_read_wherever_fsspec_reaches(tmp_path: Path):
    with fsspec.open("memory://sources/a.csv", "wb") as file:
        file.write(CSV)
    assert len(ids(tmp_path, "memory://sources/a.csv")) == 3
    assert len(ids(tmp_path, "memory://sources/*.csv")) == 3


@pytest.mark.parametrize("path", ["no.csv", "no*.csv", ".", "a.csv/b.csv", "memory://no.csv"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, path: str):
    (tmp_path / "a.csv").write_bytes(CSV)
    with pytest.raises(
        SourceError,
        match=r"^No file answers to `source\.path`: .*\. There is nothing to forecast from, and"
        r" earlier versions stand\. Put the file there, or correct the path in forecast\.toml"
        r" \(a relative one starts at .*\)\.$",
    ):
        ids(tmp_path, path)


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.gz", "a.csv.zip"])
def test_an_ending_that_is_not_known_is_refused(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(CSV)
    with pytest.raises(
        SourceError,
        match=rf"The ending of .*{re.escape(name)} is none of \.csv, \.parquet, \.json, \.jsonl,"
        r" \.ndjson, so nothing says how to read it\. Nothing was read\. Rename the file to what it"
        r" holds\.",
    ):
        ids(tmp_path, name)


def test_a_protocol_that_is_not_known_is_refused(tmp_path: Path):
    with pytest.raises(
        SourceError,
        match=r"`source\.path` = nope://a\.csv cannot be opened: Protocol not known: nope\. Nothing"
        r" was read\. Correct the address, or install the package that its protocol or compression"
        r" needs\.",
    ):
        ids(tmp_path, "nope://a.csv")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path):
    with pytest.raises(
        SourceError,
        match=r"^unwell://locked\.csv may not be read: access denied\. Nothing was read\. Give this"
        r" user the right to, or log in by the environment where Dagster's processes start\.$",
    ):
        ids(tmp_path, "unwell://locked.csv")


@pytest.mark.parametrize("path", ["unwell://away.csv", "unwell://broken.csv"])
def test_a_file_system_that_does_not_answer_is_asked_again(tmp_path: Path, path: str):
    told: list[str] = []
    with pytest.raises(
        SourceError,
        match=rf"^{path} did not answer: .*\. Nothing was read; another try may pass\."
        r" Attempt 2 of 2 failed",
    ):
        ids(tmp_path, path, say=told.append)
    assert len(told) == 1
    assert told[0].startswith(f"Attempt 1 of 2 failed: {path} did not answer: ")


@pytest.mark.parametrize("name", ["odd", "locked", "away", "a"])
def test_what_is_secret_in_an_address_is_not_told(tmp_path: Path, name: str):
    path = f"unwell://user:{NEVER_SEEN}@{name}.csv?token={NEVER_SEEN}"
    told: list[str] = []
    with pytest.raises(SourceError, match=rf"unwell://{name}\.csv") as raised:
        ids(tmp_path, path, say=told.append)
    assert NEVER_SEEN not in chain(raised.value) + str(told)
    described = fetch.display_name(asked(tmp_path, path).settings)
    assert described == f"unwell://{name}.csv"


def test_a_dated_path_is_that_of_the_day_asked_for_in_the_sources_zone(tmp_path: Path):
    for day in ("20260104", "20260105"):
        (tmp_path / f"{day}.csv").write_text(f"unique_id,ds,y\n{day},2026-01-02,1\n")
    assert ids(tmp_path, "{as_of:%Y%m%d}.csv") == ["20260105"]
    assert ids(tmp_path, "{as_of:%Y%m%d}.csv", timezone="America/New_York") == ["20260104"]
    assert ids(tmp_path, "{as_of:%Y}*.csv") == ["20260104", "20260105"]


def test_only_as_of_is_replaced_in_a_dated_text():
    text = "{as_of}/{as_of:%d.%m.%y}/{a,b}/{}/{as_ofs}/{of:%Y}/%Y"
    assert expand_as_of(text, MONDAY) == "2026-01-05/05.01.26/{a,b}/{}/{as_ofs}/{of:%Y}/%Y"


def test_a_drop_that_is_not_there_yet_is_waited_for(tmp_path: Path):
    def it_comes(said: str) -> None:
        assert "2026-01-05.csv is not there yet. Nothing was read; another try may find" in said
        (tmp_path / "2026-01-05.csv").write_bytes(CSV)

    assert len(ids(tmp_path, "{as_of}.csv", say=it_comes)) == 3


def test_a_drop_that_never_comes_is_refused_by_name(tmp_path: Path):
    with pytest.raises(
        SourceError,
        match=r"^No file answers to `source\.path` = sales_\{as_of\}\.csv for 2026-01-05: \S+"
        r"sales_2026-01-05\.csv is not there yet\. Nothing was read; another try may find it\."
        r" Attempt 2 of 2 failed",
    ):
        ids(tmp_path, "sales_{as_of}.csv")


def test_files_of_a_bucket_are_read_one_or_many(tmp_path: Path):
    with bucket(("in/a.csv", CSV), ("in/b.csv.gz", gzip.compress(CSV)), ("c.txt", b"")):
        assert ids(tmp_path, "s3://bucket/in/a.csv") == ["007", "007", "NA"]
        assert len(ids(tmp_path, "s3://bucket/in/*.csv*")) == 6
        with pytest.raises(SourceError, match=r"No file answers to .* s3://bucket/in/c\.csv\. "):
            ids(tmp_path, "s3://bucket/in/c.csv")
        with pytest.raises(SourceError, match=r"No file answers to .* s3://nobody/in/\*\.csv\. "):
            ids(tmp_path, "s3://nobody/in/*.csv")


def test_a_listing_in_parts_is_read_to_its_end(tmp_path: Path):
    """The server lists a thousand keys at a time."""
    names = [f"{n:04}.csv" for n in range(1002)]
    files = [(name, HEADER + name.encode() + b",2026-01-02,1\n") for name in names]
    with bucket(*files):
        assert ids(tmp_path, "s3://bucket/*001.csv") == ["0001.csv", "1001.csv"]


def test_a_drop_that_comes_to_a_bucket_between_two_tries_is_found(tmp_path: Path):
    """Listings are kept by s3fs; the one of the first try must not answer the second."""

    def it_comes(_: str) -> None:
        S3FileSystem(skip_instance_cache=True).pipe("bucket/sales_2026-01-05_a.csv", CSV)

    with bucket(("sales_2026-01-04_a.csv", CSV)):
        assert len(ids(tmp_path, "s3://bucket/sales_{as_of}*.csv", say=it_comes)) == 3


def test_a_bucket_without_credentials_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with bucket(("a.csv", CSV)):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        S3FileSystem.clear_instance_cache()
        with pytest.raises(
            SourceError,
            match=r"^s3://bucket/a\.csv may not be read: Unable to locate credentials\. Nothing was"
            r" read\. Give this user the right to, or log in by the environment",
        ):
            ids(tmp_path, "s3://bucket/a.csv")


def test_a_bucket_whose_server_is_gone_is_asked_again(tmp_path: Path):
    told: list[str] = []
    with bucket(("a.csv", CSV)) as server:
        server.stop()
        with pytest.raises(
            SourceError,
            match=r"^s3://bucket/a\.csv did not answer: Could not connect .* Attempt 2 of",
        ):
            ids(tmp_path, "s3://bucket/a.csv", say=told.append)
    assert len(told) == 1


READ_BOMBS = """
import resource, sys
from pathlib import Path
from forecast_assets_tests.data.sources.test_files import SourceError, ids

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

ids(Path(sys.argv[1]), "small.csv")
before = peak()
for ending in sys.argv[2:]:
    try:
        ids(Path(sys.argv[1]), f"bomb.csv.{ending}", max_bytes=10_000_000)
    except SourceError as error:
        print(peak() - before, error)
"""


def test_a_bomb_stops_at_the_limit_and_little_of_it_is_in_memory(tmp_path: Path):
    """300 MB of rows in some kilobytes, of which 10 MB are let in."""
    (tmp_path / "small.csv").write_bytes(CSV)
    for pack in (gzip, bz2, lzma):
        block = pack.compress(b"a,2026-01-02,1\n" * 200_000)
        bomb = pack.compress(HEADER) + block * 100
        (tmp_path / f"bomb.csv.{ENDINGS[pack]}").write_bytes(bomb)
    answer = subprocess.run(
        [sys.executable, "-c", READ_BOMBS, tmp_path, *ENDINGS.values()],
        check=True,
        capture_output=True,
        text=True,
    )
    said = answer.stdout.splitlines()
    assert len(said) == len(ENDINGS)
    for line in said:
        assert "gives more than `source.max_bytes` = 10,000,000 bytes, unpacked and all" in line
        assert int(line.split()[0]) < 100_000  # kilobytes


def test_the_same_files_give_the_same_frame(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(CSV)
    first, second = (fetch.fetch(asked(tmp_path, "*.csv")) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
