"""Retries: how long they wait, how often they repeat, and what they log."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_assets.config.loader import parse
from forecast_assets.config.source_settings import FileSource
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.sources.retry import with_retries
from forecast_assets.errors import DataError, SourceError, SourceUnavailable
from forecast_assets_tests.http_servers import AS_OF


def failing(times: int, *, after_seconds: float = 0.0) -> Callable[[], str]:
    """Return a function that fails so many times and then succeeds."""
    left = iter(reversed(range(times)))

    def call() -> str:
        for n in left:
            raise SourceUnavailable(f"It is down ({n}).", after_seconds=after_seconds)
        return "rows"

    return call


def retrying(
    log: Callable[[str], None] = lambda _: None, *, seed: int = 0, **source: float
) -> tuple[FileSource, FetchRequest]:
    """Return the last two arguments of `with_retries`."""
    table = {"kind": "file", "path": "a.csv", **source}
    parsed = parse({"source": table}, root=Path("/r"), var=Path("/v"), origin="a test")
    assert isinstance(parsed.source, FileSource)
    return parsed.source, FetchRequest(parsed, AS_OF, log=log, rng=Random(seed))  # noqa: S311


def waits(call: Callable[[], object], *, seed: int = 0, **source: float) -> list[float]:
    """Return the seconds of each wait without waiting."""
    seconds: list[float] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(time, "sleep", seconds.append)
        with_retries(call, *retrying(seed=seed, **source))
    return seconds


@given(
    n=st.integers(0, 42), base=st.floats(0.001, 10), cap=st.floats(0.001, 500), seed=st.integers()
)
@settings(max_examples=50)
def test_waits_are_drawn_from_doubling_spans_up_to_the_cap(
    n: int, base: float, cap: float, seed: int
) -> None:
    drawn = waits(failing(n), seed=seed, retry_base_seconds=base, retry_cap_seconds=cap)
    assert len(drawn) == n
    for i, seconds in enumerate(drawn):
        assert 0 <= seconds <= min(cap, base * 2**i)


def test_waits_are_spread_over_their_whole_span_and_do_not_overflow() -> None:
    drawn = waits(failing(1100), max_retries=1100, retry_cap_seconds=1)
    assert max(drawn) <= 1
    assert min(drawn) < 0.05
    assert max(drawn) > 0.95
    assert 0.45 < sum(drawn) / len(drawn) < 0.55


def test_each_attempt_is_logged_with_its_cause_and_the_wait_that_it_asks_for_up_to_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    lines: list[str] = []
    assert with_retries(failing(2, after_seconds=7), *retrying(lines.append)) == "rows"
    assert lines == [
        "Attempt 1 of 43 failed: It is down (1). Retrying in 7 s.",
        "Attempt 2 of 43 failed: It is down (0). Retrying in 7 s.",
    ]
    assert waits(failing(2, after_seconds=3600)) == [300, 300]


@pytest.mark.parametrize("n", [0, 3])
def test_the_last_failed_attempt_is_a_permanent_error(
    monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(
        SourceError,
        match=rf"It is down \({99 - n}\)\. Attempt {n + 1} of {n + 1} failed after 0 s\. Nothing"
        r" was published; earlier versions are unchanged\. Once the source answers again, run"
        r" `forecast-assets run`\.",
    ) as caught:
        with_retries(failing(100), *retrying(max_retries=n))
    assert not isinstance(caught.value, SourceUnavailable)


@pytest.mark.parametrize("error", [SourceError, DataError, OSError])
def test_permanent_errors_are_not_retried(error: type[Exception]) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise error("for good")

    with pytest.raises(error, match="for good"):
        with_retries(call, *retrying())
    assert len(calls) == 1
