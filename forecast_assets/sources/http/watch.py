"""A watch over connections: whom they reach, and that no answer takes longer than it may."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR
from typing import Any
from urllib.parse import urlsplit

from forecast_assets.errors import SourceError, SourceUnavailable
from forecast_assets.sources.http.asking import Request
from forecast_assets.sources.http.hops import ip_of


class Watch:
    """Sees every connection that is made, and ends those whose answer is not over in time.

    A time-out between two bytes does not see a server that drips one after the other, and a name
    may be looked up a second time with another result: both are seen here.
    """

    def __init__(self, seconds: float, *, proxies: Collection[str]) -> None:
        self._seconds, self._proxies = seconds, proxies  # by their hosts
        self._streams: list[Any] = []
        self._is_late = threading.Event()

    @contextmanager
    def over(self) -> Iterator[None]:
        """End what is connected when the time is over."""
        self._is_late.clear()
        timer = threading.Timer(self._seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def refuse_late(self, name: str) -> None:
        """Raise SourceUnavailable where the time was over before the answer was."""
        if self._is_late.is_set():
            raise SourceUnavailable(
                f"{name} did not come to an end within `source.total_seconds` ="
                f" {self._seconds:g}. Nothing of it was used; another try may pass."
            )

    def tracing(self, request: Request) -> Callable[[str, Mapping[str, Any]], None]:
        """What httpx is to call as it connects. Raises SourceError where it may not go there."""
        reached: list[str] = []

        def told(event: str, info: Mapping[str, Any]) -> None:
            if event.endswith(".connect_tcp.started"):
                reached.append(info["host"])
            if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
                stream = info["return_value"]
                open_ones = [one for one in self._streams if _socket(one).fileno() >= 0]
                self._streams = [*open_ones, stream]
                if reached[-1] not in {*self._proxies} - {urlsplit(request.url).hostname}:
                    self._refuse_peer(stream, request)

        return told

    def _refuse_peer(self, stream: Any, request: Request) -> None:
        peer = ip_of(str(stream.get_extra_info("server_addr")[0]))
        if fault := request.bounds.fault(peer):
            stream.close()
            raise SourceError(
                f"{request.shown} leads to {peer}, which is {fault}. Nothing was asked there, and"
                f" nothing was published. Ask who runs the server, or the name service."
            )

    def _end(self) -> None:
        self._is_late.set()
        for stream in self._streams:
            with suppress(OSError):
                _socket(stream).shutdown(SHUT_RDWR)


def _socket(stream: Any) -> Any:
    return stream.get_extra_info("socket")


def hush() -> None:
    """Keep addresses out of the logs: httpx and httpcore tell them whole."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
