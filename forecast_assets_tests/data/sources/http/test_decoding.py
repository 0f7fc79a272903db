"""Bodies that are packed: unpacked block by block, never past a limit."""

import gzip
import io
import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.data.sources.http.decoding import ByteBudgets, decode_to_file
from forecast_assets.errors import SourceError, SourceUnavailable
from forecast_assets_tests.http_servers import CSV, Reply, csv, fetch, web

pytestmark = pytest.mark.usefixtures("no_proxy")


def raw_deflate(body: bytes) -> bytes:
    """Deflated without zlib's header, as some servers do."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
    "identity": bytes,
    "": bytes,
}


def unpacked(blocks: list[bytes] | Iterator[bytes], coding: str, limit: int = 10**7) -> bytes:
    """What a body of these blocks holds."""
    file = io.BytesIO()
    decode_to_file(file, blocks, coding, ByteBudgets.of(limit), name="the body")
    return file.getvalue()


@given(
    body=st.binary(min_size=1, max_size=5000),
    way=st.sampled_from(sorted(PACKERS)),
    size=st.integers(1, 700),
    n_members=st.integers(1, 3),
)
def test_what_was_packed_comes_out_again(body: bytes, way: str, size: int, n_members: int) -> None:
    """However it is cut into blocks; of several members, all."""
    packed = PACKERS[way](body) * n_members
    blocks = [packed[start : start + size] for start in range(0, len(packed), size)]
    assert unpacked(blocks, way.removeprefix("raw ")) == body * n_members


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_is_cut_off_is_not_taken_for_whole(coding: str) -> None:
    packed = PACKERS[coding](CSV)
    for end in range(1, len(packed)):
        with pytest.raises(SourceUnavailable, match=r"body (that was cut off|that cannot be unpa)"):
            unpacked([packed[:end]], coding)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip"])
def test_another_packing_is_refused(tmp_path: Path, coding: str) -> None:
    with web(csv(Content_Encoding=coding)) as server:
        with pytest.raises(
            SourceError,
            match=rf"/data packs its body as `{coding}`, which was not asked for \(gzip, deflate"
            r" was\)\. It was not read, and nothing was published\. Ask who runs the server to heed"
            r" `Accept-Encoding`\.",
        ):
            fetch(tmp_path, server.url())
        assert len(server.asked) == 1


@pytest.mark.parametrize("way", ["gzip", "deflate", "raw deflate"])
def test_a_bomb_stops_at_the_limit(tmp_path: Path, way: str) -> None:
    """A hundred megabytes of zeros are a hundred kilobytes over the wire."""
    bomb = PACKERS[way](bytes(10**8))
    assert len(bomb) < 200_000
    reply = csv(bomb, Content_Encoding=way.removeprefix("raw "))
    with web(reply) as server:
        with pytest.raises(SourceError, match=r"more than `source\.max_bytes` = 1,000,000 bytes"):
            fetch(tmp_path, server.url(), max_bytes=1_000_000)
        assert len(server.asked) == 1
    assert list((tmp_path / "var" / "fetched").iterdir()) == []


def test_empty_members_without_end_stop_at_the_limit() -> None:
    """They unpack to nothing, and are counted as they come over the wire."""
    with pytest.raises(SourceError, match=r"more than `source\.max_bytes` = 10,000 bytes"):
        unpacked(repeat(gzip.compress(b"")), "gzip", limit=10_000)


IN_A_PROCESS = """
import resource, sys
from pathlib import Path
from forecast_assets.errors import SourceError
from forecast_assets_tests.http_servers import fetch

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

folder, small, big = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
fetch(folder, small)
before = peak()
try:
    fetch(folder, big, max_bytes=300_000_000)
except SourceError as error:
    assert "more than `source.max_bytes`" in str(error), error
    print(peak() - before)
"""


@pytest.mark.parametrize("is_packed", [False, True])
def test_memory_is_bounded_while_a_body_comes(tmp_path: Path, is_packed: bool) -> None:  # noqa: FBT001
    """Three hundred megabytes go through a process that grows by a tenth of that at most."""
    block = b"a,2026-01-02,1.5\n" * 60_000
    if is_packed:
        big = csv(gzip.compress(block * 400, 1), Content_Encoding="gzip")
    else:
        big = Reply(repeat(block), headers={"Content-Type": "text/csv"})
    with web(csv()) as small, web(big) as server:
        done = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS, str(tmp_path), small.url(), server.url()],
            capture_output=True,
            text=True,
            check=True,
        )
    assert int(done.stdout) < 30_000_000
