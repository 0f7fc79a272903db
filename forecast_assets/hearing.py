"""What Apprise says of a channel that failed, as one line without anything of the channel's URL.

It logs why, at DEBUG, beside addresses and tokens. Asking it to send is `notify`'s.
"""

import http.client
import logging
import re
import smtplib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, unquote_plus

PIECE_CHARACTERS = 6  # a shorter piece of a URL is blanked where it stands alone: `a` is in words
APPRISE = "apprise"
BY = "urllib3.connectionpool"  # which logs every path at DEBUG

TAKEN = ("Sent ", "SMTP recipient ")  # the second, of one who is refused when another was not


@dataclass
class Heard:
    """What was said in a thread while it listened; `before` is what it was handling already."""

    before: BaseException | None = None
    complaints: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    has_taker: bool = False  # whether anybody has the message, whoever else has not

    def told(self, address: str) -> str:
        """All complaints and their causes in one line, with nothing of the address."""
        said = "; ".join(dict.fromkeys(one.strip().rstrip(".") for one in self.complaints))
        causes = "; ".join(dict.fromkeys(self.causes))
        return blanked(" ".join(f"{said}{f' ({causes})' if causes else ''}".split()), address)


class _Ear(logging.Filter):
    """Hears what is logged in a thread that listens, and keeps it from every log.

    A filter, for it comes before all handlers: the logger must be at DEBUG to be heard, and any
    handler there is would write down what it says there.
    """

    here = threading.local()
    level = logging.NOTSET  # that Apprise's logger had

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep what a listening thread says; pass what any other says, as if none listened."""
        heard: Heard | None = getattr(self.here, "heard", None)
        if heard is None:
            least = self.level or logging.getLogger().getEffectiveLevel()
            return record.name != APPRISE or record.levelno >= least
        error = sys.exception()  # most of what fails is logged where it is caught
        if error is not None and error is not heard.before and (cause := _cause(error)):
            heard.causes.append(cause)
        if record.levelno >= logging.WARNING:
            heard.complaints.append(record.getMessage())
        heard.has_taker |= str(record.msg).startswith(TAKEN)
        return False


_EAR = _Ear()


@contextmanager
def listening() -> Iterator[Heard]:
    """Hear what Apprise, and what it sends by, say in this thread; no log gets any of it."""
    logger = logging.getLogger(APPRISE)
    level = logger.level
    if level != logging.DEBUG:
        _EAR.level = level
        logger.setLevel(logging.DEBUG)
    for name in (APPRISE, BY):
        logging.getLogger(name).addFilter(_EAR)  # once: the same filter is not added again
    _EAR.here.heard = Heard(before=sys.exception())
    try:
        yield _EAR.here.heard
    finally:
        del _EAR.here.heard


def blanked(text: str, address: str) -> str:
    """The text with `***` for every piece of an address but its scheme and the names of options."""
    text = re.sub(r"(\w+://)\S+", r"\1***", text)
    for piece in sorted(_pieces(address), key=len, reverse=True):
        is_word = len(piece) < PIECE_CHARACTERS
        pattern = rf"(?<!\w){re.escape(piece)}(?!\w)" if is_word else re.escape(piece)
        text = re.sub(pattern, "***", text, flags=re.IGNORECASE)
    return text


def _pieces(address: str) -> set[str]:
    rest = address.partition("://")[2] if "://" in address else address
    place, _, query = rest.partition("?")
    values = [place, *(one.partition("=")[2] or one for one in query.split("&"))]
    plain = {form for value in values for form in (value, unquote(value), unquote_plus(value))}
    split = {piece for form in plain for piece in re.split(r"[/:@?&=,;#\s]+", form)}
    return {form for piece in plain | split for form in (piece, quote(piece, safe=""))} - {""}


def _cause(error: BaseException) -> str:
    """What is at the root of an error, without the URL that those around it name."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(inner)
    for one in reversed(chain):
        if isinstance(one, smtplib.SMTPRecipientsRefused):
            return _reply(*next(iter(one.recipients.values())))
        if isinstance(one, smtplib.SMTPResponseException):
            return _reply(one.smtp_code, one.smtp_error)
        if isinstance(one, TimeoutError):
            return "no answer in time"
        if isinstance(one, smtplib.SMTPException | http.client.HTTPException):
            return str(one)
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    is_its_own = type(error).__module__.split(".")[0] == APPRISE  # its complaint says more
    return "" if is_its_own else type(error).__name__


def _reply(code: int, text: bytes | str) -> str:
    return f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
