"""A function as a source: how it is found and called, and what it may raise and return."""

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from forecast_assets.data.sources import fetch as sources
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import SourceError
from forecast_assets_tests.builders import make_settings

MODULE = """
import asyncio, functools, urllib.request
import httpx2, pandas as pd, pyarrow as pa, requests
from forecast_assets.errors import SourceError, SourceUnavailable

FRAME = pd.DataFrame({"shop": ["a", "a'; DROP TABLE x;--"], "ds": "2026-01-02", "y": [1.0, 2.0]})
asked, calls = [], []

def rows(as_of):
    asked.append(as_of)
    return FRAME

def by_index(as_of):
    return FRAME.set_index(["shop", "ds"])

def arrow(*, as_of):
    return pa.table(FRAME)

async def later(as_of):
    return FRAME

def without(when):
    return FRAME

def nothing(as_of):
    pass

def many(as_of):
    yield FRAME

def empty(as_of):
    return FRAME.head(0)

def wrong(as_of):
    return functools.reduce(lambda total, one: total / one, [1, 0])

def told(as_of):
    raise SourceError("Ask the team of the warehouse.")

def flaky(error):
    def get(as_of):
        calls.append(error)
        if calls.count(error) < 3:
            raise error
        return FRAME
    return get

lost = flaky(ConnectionResetError("the line broke"))
slow = flaky(TimeoutError("no answer"))
by_httpx2 = flaky(httpx2.ReadTimeout("no answer"))
by_requests = flaky(requests.ConnectionError("no answer"))
of_ours = flaky(SourceUnavailable("It is not there yet."))

def by_urllib(as_of):
    calls.append("urllib")
    if calls.count("urllib") < 3:
        urllib.request.urlopen("http://127.0.0.1:1/")
    return FRAME
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder of forecast.toml with the module `our_rows` beside it."""
    (tmp_path / "our_rows.py").write_text(MODULE)
    (tmp_path / "broken_rows.py").write_text("import pandas\nraise KeyError('no setting')\n")
    path = list(sys.path)
    _forget()  # what a guide's example, or another test, is called
    yield tmp_path
    assert sys.path == path
    _forget()


def _forget() -> None:
    for name in ("our_rows", "broken_rows"):
        sys.modules.pop(name, None)


def fetch(root: Path, name: str, say: Callable[[str], None] = print) -> pd.DataFrame:
    """What the function of `our_rows` gives, tried three times where it may pass."""
    source = {"kind": "python", "callable": name if ":" in name else f"our_rows:{name}"}
    mapped = {"unique_id": "shop", "max_retries": 2, "retry_base_seconds": 0.001}
    settings = make_settings(root, source={**source, **mapped})
    return sources.fetch(FetchRequest(settings, datetime(2026, 1, 5, tzinfo=UTC), log=say))


@pytest.mark.parametrize("name", ["rows", "by_index", "arrow"])
def test_a_function_beside_the_settings_gives_its_rows(root: Path, name: str):
    raw = fetch(root, name)
    assert raw["unique_id"].tolist() == ["a", "a'; DROP TABLE x;--"]
    assert raw["y"].tolist() == [1.0, 2.0]


def test_it_is_told_for_when_and_its_frame_stays_as_it_was(root: Path):
    fetch(root, "rows")
    ours: Any = sys.modules["our_rows"]
    assert ours.asked == [datetime(2026, 1, 5, tzinfo=UTC)]
    assert ours.FRAME.columns.tolist() == ["shop", "ds", "y"]
    assert ours.FRAME["ds"].tolist() == ["2026-01-02"] * 2


@pytest.mark.parametrize("name", ["lost", "slow", "by_httpx2", "by_requests", "of_ours"])
def test_what_may_pass_is_tried_again_and_told(root: Path, name: str):
    told: list[str] = []
    assert len(fetch(root, name, told.append)) == 2
    assert [one[:14] for one in told] == ["Attempt 1 of 3", "Attempt 2 of 3"]


def test_an_error_of_urllib_is_known_by_its_reason(root: Path):
    told: list[str] = []
    assert len(fetch(root, "by_urllib", told.append)) == 2
    assert "our_rows:by_urllib did not get its rows: URLError: " in told[0]
    assert "Connection refused" in told[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_rows:get", r"cannot be imported: ModuleNotFoundError: No module named 'no_rows'\. "),
        ("our_rows:no", r"cannot be imported: AttributeError: module 'our_rows' has no attribute"),
        ("broken_rows:get", r"cannot be imported: KeyError: 'no setting', at .*broken_rows\.py:2,"),
        ("our_rows:FRAME", r"is a DataFrame and no function\. Nothing was read\. Name a plain"),
        ("our_rows:later", r"is an async function, which nobody awaits here\. Nothing was read\. "),
        ("our_rows:without", r"cannot be called as `f\(as_of=…\)`\. Nothing was read\. Name a pla"),
    ],
)
def test_what_cannot_be_called_is_refused(root: Path, name: str, said: str):
    with pytest.raises(SourceError, match=rf"^`source\.callable` = {name} {said}"):
        fetch(root, name)


@pytest.mark.parametrize(("name", "kind"), [("nothing", "NoneType"), ("many", "generator")])
def test_what_is_no_frame_is_refused(root: Path, name: str, kind: str):
    with pytest.raises(
        SourceError,
        match=rf"^our_rows:{name} returns a {kind}, which is no frame\. Nothing was published\. Let"
        r" it return a pandas DataFrame, or a table of polars or pyarrow\.$",
    ):
        fetch(root, name)


def test_an_error_of_the_function_is_told_with_its_place(root: Path):
    told: list[str] = []
    with pytest.raises(
        SourceError,
        match=r"^our_rows:wrong failed: ZeroDivisionError: division by zero, at .*our_rows\.py:35,"
        r" `return functools\.reduce\(lambda total, one: total / one, \[1, 0\]\)`\. Nothing was"
        r" published, and earlier versions stand\. Mend it; what may pass it has to raise as"
        r" ConnectionError or TimeoutError, and then it is called again\.$",
    ):
        fetch(root, "wrong", told.append)
    assert told == []


def test_an_error_of_this_package_is_the_functions_own_word(root: Path):
    with pytest.raises(SourceError, match=r"^Ask the team of the warehouse\.$"):
        fetch(root, "told")
