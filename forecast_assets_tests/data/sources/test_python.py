"""A function as a source: import, arguments, errors and return values."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecast_assets.data.sources import fetch as sources
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import SourceError
from forecast_assets_tests.builders import AS_OF, make_settings

MODULE = """
import functools, urllib.error
import httpx2, pandas as pd, pyarrow as pa, requests
from forecast_assets.errors import SourceError, SourceUnavailable

FRAME = pd.DataFrame({"shop": ["a", "a'; DROP TABLE x;--"], "ds": "2026-01-02", "y": [1.0, 2.0]})
as_ofs, calls = [], []

def rows(as_of):
    as_ofs.append(as_of)
    return FRAME

def by_index(as_of):
    return rows(as_of).set_index(["shop", "ds"])

def arrow(*, as_of):
    return pa.table(rows(as_of))

async def later(as_of):
    return FRAME

def without(when):
    return FRAME

def nothing(as_of):
    pass

def many(as_of):
    yield FRAME

def wrong(as_of):
    return functools.reduce(lambda total, value: total / value, [1, 0])

def refused(as_of):
    raise SourceError("Ask the team of the warehouse.")

def flaky(error):
    def get(as_of):
        calls.append(error)
        if calls.count(error) < 3:
            raise error
        return FRAME
    return get

lost = flaky(ConnectionResetError("the connection broke"))
slow = flaky(TimeoutError("no answer"))
by_httpx2 = flaky(httpx2.ReadTimeout("no answer"))
by_requests = flaky(requests.ConnectionError("no answer"))
not_yet = flaky(SourceUnavailable("It is not there yet."))

class DatabaseError(Exception):
    sqlstate = "40P01"

deadlock = flaky(DatabaseError("deadlock detected"))

by_urllib = flaky(urllib.error.URLError(ConnectionRefusedError("Connection refused")))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder with the modules `our_rows` and `broken_rows`."""
    (tmp_path / "our_rows.py").write_text(MODULE)
    (tmp_path / "broken_rows.py").write_text("import pandas\nraise KeyError('no setting')\n")
    monkeypatch.delitem(sys.modules, "our_rows", raising=False)  # of another test
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path


def fetch(root: Path, name: str, log: Callable[[str], None] = print) -> pd.DataFrame:
    """Fetch from a function of `our_rows`, with two retries."""
    source = {"kind": "python", "callable": name if ":" in name else f"our_rows:{name}"}
    quick = {"unique_id": "shop", "max_retries": 2, "retry_base_seconds": 0.001}
    settings = make_settings(root, source={**source, **quick})
    return sources.fetch(FetchRequest(settings, AS_OF, log=log))


@pytest.mark.parametrize("name", ["rows", "by_index", "arrow"])
def test_a_function_beside_the_settings_is_read(root: Path, name: str):
    """It gets `as_of`, and its frame is not modified."""
    raw = fetch(root, name)
    assert raw["unique_id"].tolist() == ["a", "a'; DROP TABLE x;--"]
    assert raw["y"].tolist() == [1.0, 2.0]
    our_rows: Any = sys.modules["our_rows"]
    assert our_rows.as_ofs == [AS_OF]
    assert our_rows.FRAME.to_numpy().tolist()[0] == ["a", "2026-01-02", 1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost", "ConnectionResetError: the connection broke"),
        ("slow", "TimeoutError: no answer"),
        ("by_httpx2", "ReadTimeout: no answer"),
        ("by_requests", "ConnectionError: no answer"),
        ("by_urllib", "URLError: .*Connection refused"),
        ("deadlock", "DatabaseError: deadlock detected"),
        ("not_yet", "It is not there yet."),
    ],
)
def test_transient_errors_are_retried_and_logged(root: Path, name: str, message: str):
    log: list[str] = []
    assert len(fetch(root, name, log.append)) == 2
    for n, line in enumerate(log, start=1):
        assert re.match(rf"Attempt {n} of 3 failed: .*{message}", line)
    assert len(log) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_rows:get", r"cannot be imported: ModuleNotFoundError: No module named 'no_rows'\. "),
        ("our_rows:no", r"cannot be imported: AttributeError: module 'our_rows' has no attribute"),
        ("broken_rows:get", r"cannot be imported: KeyError: 'no setting', at .*broken_rows\.py:2,"),
        ("our_rows:FRAME", r"is a DataFrame, not a function\. Nothing was read\. Name a plain"),
        ("our_rows:later", r"is an async function, which is not supported\. Nothing was read\. "),
        ("our_rows:without", r"cannot be called as `f\(as_of=…\)`\. Nothing was read\. Name a pla"),
    ],
)
def test_a_callable_that_cannot_be_imported_or_called_is_refused(
    root: Path, name: str, message: str
):
    with pytest.raises(SourceError, match=rf"^`source\.callable` = {name} {message}"):
        fetch(root, name)


@pytest.mark.parametrize(("name", "kind"), [("nothing", "NoneType"), ("many", "generator")])
def test_a_result_that_is_not_a_table_is_refused(root: Path, name: str, kind: str):
    with pytest.raises(
        SourceError,
        match=rf"^our_rows:{name} returned a {kind} instead of a table\. Nothing was published\."
        r" Return a pandas DataFrame, or a table of polars or pyarrow\.$",
    ):
        fetch(root, name)


def test_other_errors_fail_at_once_with_their_line(root: Path):
    with pytest.raises(SourceError, match=r"^Ask the team of the warehouse\.$"):
        fetch(root, "refused")
    log: list[str] = []
    with pytest.raises(
        SourceError,
        match=r"^our_rows:wrong failed: ZeroDivisionError: division by zero, at .*our_rows\.py:32,"
        r" `return functools\.reduce\(lambda total, value: total / value, \[1, 0\]\)`\. Nothing was"
        r" published; earlier versions are unchanged\. Correct the function\. To have an error"
        r" retried, raise it as ConnectionError or TimeoutError\.$",
    ):
        fetch(root, "wrong", log.append)
    assert log == []
