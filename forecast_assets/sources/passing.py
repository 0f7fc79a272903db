"""Which errors of libraries and of users' own code may pass, so that another try is worth it."""

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


def may_pass(error: BaseException) -> bool:
    """Whether it is a lost connection or a time-out, Python's own or a library's."""
    reason = getattr(error, "reason", None)  # what urllib's error is about
    cause = reason if isinstance(reason, BaseException) else error
    return not NAMES.isdisjoint(kind.__name__ for kind in type(cause).__mro__)
