"""A limit on the total time of an answer.

The timeouts of HTTP libraries and database drivers count from one byte to the next: a server that
sends a byte now and then never exceeds them, and a query may run without sending any.
"""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Deadline:
    """Interrupts an operation that takes longer than `seconds`; reusable, one use at a time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._expired = threading.Event()

    @property
    def is_expired(self) -> bool:
        """Whether the last operation took too long."""
        return self._expired.is_set()

    @contextmanager
    def limit(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Call `interrupt` from another thread when the time is over before the block is."""

        def expire() -> None:
            self._expired.set()
            interrupt()

        self._expired.clear()
        timer = threading.Timer(self.seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def shut_down(fileno: int) -> None:
    """Shut the connection of a file descriptor down, so that a blocked read of it ends."""
    with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
