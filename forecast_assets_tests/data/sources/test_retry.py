"""Trying again: for how long, how often, and what is said of it."""

import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_assets.config.loader import parse
from forecast_assets.config.source_settings import FileSource
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.sources.retry import with_retries
from forecast_assets.errors import DataError, SourceError, SourceUnavailable
from forecast_assets_tests.http_servers import AS_OF


def failing(times: int, *, after_seconds: float = 0.0) -> Callable[[], str]:
    """What fails so many times, and then answers."""
    left = [times]

    def call() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise SourceUnavailable(f"It is away ({left[0]}).", after_seconds=after_seconds)
        return "rows"

    return call


def waits(call: Callable[[], object], *, seed: int = 0, **source: float) -> list[float]:
    """How long each wait is, in seconds; none of them is waited for."""
    waited: list[float] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(time, "sleep", waited.append)
        with_retries(call, *asked(seed=seed, **source))
    return waited


def asked(
    say: Callable[[str], None] = lambda _: None, *, seed: int = 0, **source: float
) -> tuple[FileSource, FetchRequest]:
    """A source with these settings, and how it is asked."""
    table = {"kind": "file", "path": "a.csv", **source}
    settings = parse({"source": table}, root=Path("/r"), var=Path("/v"), origin="a test")
    assert isinstance(settings.source, FileSource)
    return settings.source, FetchRequest(settings, AS_OF, say=say, rng=Random(seed))  # noqa: S311


@given(
    n=st.integers(0, 42), base=st.floats(0.001, 10), cap=st.floats(0.001, 500), seed=st.integers()
)
def test_waits_are_drawn_from_ever_longer_spans_up_to_the_cap(
    n: int, base: float, cap: float, seed: int
) -> None:
    drawn = waits(failing(n), seed=seed, retry_base_seconds=base, retry_cap_seconds=cap)
    assert len(drawn) == n
    for i, seconds in enumerate(drawn):
        assert 0 <= seconds <= min(cap, base * 2**i)


def test_waits_are_spread_over_all_of_their_span() -> None:
    firsts = [waits(failing(1), seed=seed, retry_base_seconds=8)[0] for seed in range(200)]
    assert min(firsts) < 0.5
    assert max(firsts) > 7.5
    assert 3.5 < sum(firsts) / len(firsts) < 4.5


def test_the_source_may_ask_for_longer_but_not_beyond_the_cap() -> None:
    assert waits(failing(2, after_seconds=20)) == [20, 20]
    assert waits(failing(2, after_seconds=3600)) == [300, 300]


def test_thousands_of_tries_do_not_overflow() -> None:
    drawn = waits(failing(3000), max_retries=3000, retry_cap_seconds=1)
    assert max(drawn) <= 1


def test_each_try_is_told_with_its_cause_and_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    said: list[str] = []
    assert with_retries(failing(2, after_seconds=7), *asked(said.append)) == "rows"
    assert said == [
        "Try 1 of 43: It is away (1). The next in 7 s.",
        "Try 2 of 43: It is away (0). The next in 7 s.",
    ]


@pytest.mark.parametrize("n", [0, 3])
def test_after_the_last_try_it_is_no_longer_worth_one(
    monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(
        SourceError,
        match=rf"It is away \({99 - n}\)\. That was try {n + 1} of {n + 1}, in 0 s; nothing was"
        r" published, and earlier versions stand\. When it answers again: `forecast-assets run`\.",
    ) as caught:
        with_retries(failing(100), *asked(max_retries=n))
    assert not isinstance(caught.value, SourceUnavailable)


@pytest.mark.parametrize("error", [SourceError, DataError, OSError])
def test_what_does_not_pass_is_not_tried_again(error: type[Exception]) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise error("for good")

    with pytest.raises(error, match="for good"):
        with_retries(call, *asked())
    assert len(calls) == 1
