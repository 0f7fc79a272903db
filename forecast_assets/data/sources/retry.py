"""Trying again: what may pass is waited for, ever longer, and each try is told with its cause."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from forecast_assets.config.source_settings import UserSource
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.errors import SourceError, SourceUnavailable

if TYPE_CHECKING:
    import tenacity


T = TypeVar("T")
DOUBLINGS = 60  # of a second: 36 billion years


def with_retries(call: Callable[[], T], source: UserSource, asked: FetchRequest) -> T:
    """Call until it answers: at most `max_retries` times more, while it is SourceUnavailable.

    Before try n + 1 it waits for a time drawn evenly from 0 to the lesser of `retry_cap_seconds`
    and `retry_base_seconds` x 2^(n-1) (Brooker, "Exponential Backoff And Jitter", 2015: full
    jitter); no less than the source asked for, where that is below the cap.

    Raises SourceError where the last try fails too; other errors pass through at once.
    """
    import tenacity  # noqa: PLC0415 - only a source that may fail needs it

    began = time.monotonic()

    def wait(state: "tenacity.RetryCallState") -> float:
        doubled = 2.0 ** min(state.attempt_number - 1, DOUBLINGS)
        longest = min(source.retry_cap_seconds, source.retry_base_seconds * doubled)
        least = getattr(_error(state), "after_seconds", 0.0)
        return min(max(asked.rng.uniform(0, longest), least), source.retry_cap_seconds)

    def told(state: "tenacity.RetryCallState") -> None:
        asked.say(
            f"Try {state.attempt_number} of {source.max_retries + 1}: {_error(state)} The next in"
            f" {state.upcoming_sleep:.3g} s."
        )

    tries = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(source.max_retries + 1),
        wait=wait,
        retry=tenacity.retry_if_exception_type(SourceUnavailable),
        before_sleep=told,
        reraise=True,
    )
    try:
        return tries(call)
    except SourceUnavailable as error:
        raise SourceError(
            f"{error} That was try {source.max_retries + 1} of {source.max_retries + 1}, in"
            f" {time.monotonic() - began:.0f} s; nothing was published, and earlier versions stand."
            f" When it answers again: `forecast-assets run`."
        ) from error


def _error(state: "tenacity.RetryCallState") -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


# By name, in any library: httpx's, requests', aiohttp's and botocore's are no ConnectionError of
# Python's, and none of these libraries has to be installed.
NAMES = frozenset(
    {
        "ConnectionError",
        "TimeoutError",
        "Timeout",
        "TransportError",
        "HTTPClientError",
        "ClientConnectionError",
        "ClientPayloadError",
        "IncompleteRead",
    }
)


def is_transient(error: BaseException) -> bool:
    """Whether it is a lost connection or a time-out, Python's own or a library's."""
    reason = getattr(error, "reason", None)  # what urllib's error is about
    cause = reason if isinstance(reason, BaseException) else error
    return not NAMES.isdisjoint(kind.__name__ for kind in type(cause).__mro__)
