"""Who is told of what, and handing it to Apprise: mail, chats and webhooks, a URL each.

What is on its way and tried again: `outbox`. What a notice says belongs to whoever puts it there;
hearing why a channel failed to `hearing`.
"""

import concurrent.futures
import http.client
import logging
import os
import re
import smtplib
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from forecast_assets.config.redaction import redact_url_parts, resolve_env
from forecast_assets.errors import SettingsError, format_list
from forecast_assets.notifications.routing import Notification

APPRISE = "apprise"
BY = "urllib3.connectionpool"  # which logs every path at DEBUG

TAKEN = ("Sent ", "SMTP recipient ")  # the second, of one who is refused when another was not


@dataclass
class CapturedLog:
    """What was said in a thread while it listened; `before` is what it was handling already."""

    before: BaseException | None = None
    complaints: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    has_taker: bool = False  # whether anybody has the message, whoever else has not

    def told(self, address: str) -> str:
        """All complaints and their causes in one line, with nothing of the address."""
        said = "; ".join(dict.fromkeys(one.strip().rstrip(".") for one in self.complaints))
        causes = "; ".join(dict.fromkeys(self.causes))
        return redact_url_parts(
            " ".join(f"{said}{f' ({causes})' if causes else ''}".split()), address
        )


class _CaptureFilter(logging.Filter):
    """Hears what is logged in a thread that listens, and keeps it from every log.

    A filter, for it comes before all handlers: the logger must be at DEBUG to be heard, and any
    handler there is would write down what it says there.
    """

    here = threading.local()
    level = logging.NOTSET  # that Apprise's logger had

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep what a listening thread says; pass what any other says, as if none listened."""
        heard: CapturedLog | None = getattr(self.here, "heard", None)
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


_EAR = _CaptureFilter()


@contextmanager
def capture_log() -> Iterator[CapturedLog]:
    """Hear what Apprise, and what it sends by, say in this thread; no log gets any of it."""
    logger = logging.getLogger(APPRISE)
    level = logger.level
    if level != logging.DEBUG:
        _EAR.level = level
        logger.setLevel(logging.DEBUG)
    for name in (APPRISE, BY):
        logging.getLogger(name).addFilter(_EAR)  # once: the same filter is not added again
    _EAR.here.heard = CapturedLog(before=sys.exception())
    try:
        yield _EAR.here.heard
    finally:
        del _EAR.here.heard


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


PARTLY = "Some of its recipients have it, others do not: "
TITLE_BYTES = 300
# Apprise writes a mail's subject as one line, up to three characters a byte: 998 are a line's most.
CUT = "\n\n(Cut short: this channel takes no more.)"
ROOM = len(CUT) + TITLE_BYTES + 20  # where a service has no titles, it is part of the text
SEE_SERVICES = (
    "https://appriseit.com/services/ has the form of each service's URL and the package that it may"
    " need; a webhook of your own is jsons://host/path."
)
REMEDIES = (
    (r"\berror=3\d\d\b", "It has moved: give the address that it leads to, or add redirect=yes."),
    (r"\berror=40[13]\b|\(5(30|34|35) ", "Correct the user, password or token in its URL."),
    (
        r"recipient .* refused|\(55\d ",
        "Correct the recipients in its URL, or have the server accept them.",
    ),
    (r"\berror=(429|5\d\d)\b", "It may take it later; its own log says more."),
    (r"", "See that it is up, and that its URL says the right host and port."),
)


def check_url(url: str) -> str | None:
    """Why a channel cannot be used as its URL stands, in one line; nothing is contacted."""
    try:
        address = resolve_env(url)
    except SettingsError as error:
        return str(error)
    with capture_log() as heard:
        is_usable = _service(address) is not None and not heard.complaints
    return None if is_usable else _unusable(heard, address)


def send(notice: Notification, url: str, *, seconds: float) -> str | None:
    """Hand a notice to one channel, and say in one line why it was not taken; None where it was.

    No more than `seconds` are waited. What a server has by then, or takes later, cannot be taken
    back: the thread that talks to it is left behind, and ends with this process at the latest. The
    line holds nothing of the URL. A file that cannot be read is named in the text, not attached.
    """
    try:
        address = resolve_env(url)
    except SettingsError as error:
        return str(error)
    with capture_log() as heard:
        service = _service(address)
    if service is None:
        return _unusable(heard, address)
    _limit_timeouts(service, seconds)
    said = concurrent.futures.Future[str | None]()
    handing = (said, lambda: _handed_over(notice, service, address))
    threading.Thread(target=_run_into_future, args=handing, name="notice", daemon=True).start()
    if concurrent.futures.wait([said], timeout=seconds).done:
        return said.result()
    return (
        f"It did not take the notice within {seconds:.3g} seconds, and may have it all the same."
        f" {REMEDIES[-1][1]}"
    )


def is_partial(reason: str) -> bool:
    """Whether `send` gave this reason though the notice reached some of a URL's recipients."""
    return reason.startswith(PARTLY)


def to_utf8(text: str) -> str:
    """The text with `?` for what no UTF-8 can hold."""
    return text.encode(errors="replace").decode()


def _service(address: str) -> Any:
    """Apprise's service of an address; None, and complaints that are heard, where there is none."""
    from apprise import Apprise, AppriseAsset  # noqa: PLC0415 - 0.3 s, and few runs tell anybody

    asset = AppriseAsset(
        app_id="forecast_assets",
        async_mode=False,  # in the thread that asks, which listens
        service_timeout=0,  # else it goes to a pool that a process waits for when it ends
        http_redirects=False,  # a redirected POST becomes a GET: taken, and nothing told
        pgp_autogen=False,
    )
    try:
        return Apprise.instantiate(address, asset=asset)
    except TypeError:  # of desktops' services, where they cannot parse it
        return None


def _unusable(heard: CapturedLog, address: str) -> str:
    why = heard.told(address) or "it is no URL"
    return f"Apprise cannot use this URL: {why}. Nobody is told by it. {SEE_SERVICES}"


def _limit_timeouts(service: Any, seconds: float) -> None:
    """Give a service all the time there is, but no more than its URL says; it may not fail unseen.

    By itself Apprise waits 4 seconds for a web server, and calls what is `optional` a success.
    """
    for name in ("socket_connect_timeout", "socket_read_timeout"):
        setattr(service, name, min(vars(service).get(name, seconds), seconds))
    service.optional = False


def _run_into_future(said: concurrent.futures.Future[Any], work: Callable[[], Any]) -> None:
    try:
        said.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        said.set_exception(error)


def _handed_over(notice: Notification, service: Any, address: str) -> str | None:
    from apprise import Apprise, AppriseAttachment, NotifyFormat, NotifyType  # noqa: PLC0415
    from apprise.attachment.file import AttachFile  # noqa: PLC0415

    kinds = {"info": NotifyType.INFO, "warning": NotifyType.WARNING, "error": NotifyType.FAILURE}
    there = [path for path in notice.files if os.access(path, os.R_OK) and path.is_file()]
    gone = [f"`{path.name}`" for path in notice.files if path not in there]
    text = notice.text + (
        f"\n\nNot attached, for it cannot be read: {format_list(gone)}." if gone else ""
    )
    title = _line(notice.title)
    files = [
        # Not as text, which Apprise would read as a URL: a `?` in a name would end it.
        AttachFile(str(path), name=_file_name(path.name))  # type: ignore[no-untyped-call]
        for path in there
    ]
    channel = Apprise(asset=service.asset)
    channel.add(service)
    with capture_log() as heard:
        is_taken = channel.notify(
            body=_truncate_body(to_utf8(text), service) or title,
            title=title,
            notify_type=kinds[notice.severity],
            body_format=NotifyFormat.MARKDOWN,
            attach=AppriseAttachment(files) if files else None,
        )
    if is_taken:
        return None
    why = heard.told(address) or "Apprise does not say why it failed"
    remedy = next(remedy for pattern, remedy in REMEDIES if re.search(pattern, why))
    return f"{PARTLY if heard.has_taker else ''}{why}. {remedy}"


def _line(title: str) -> str:
    """The title as a subject: one line, and no longer than a mail's header can be."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", to_utf8(title)).split())
    content = line.encode()
    if len(content) <= TITLE_BYTES:
        return line
    return f"{content[: TITLE_BYTES - 3].decode(errors='ignore')}…"


def _file_name(name: str) -> str:
    """The name of a file in ASCII: with anything else Apprise makes a header that none can read."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r'[^ -~]|["\\]', "_", plain)


def _truncate_body(text: str, service: Any) -> str:
    """The text, cut at the end of a line to one message of a service that takes no long ones.

    Cut to Markdown, for markup may still grow: then Apprise makes two messages of it. Apprise could
    cut by itself, but would drop all attachments but the first; a URL with `overflow` has it so.
    """
    from apprise import NotifyBase, OverflowMode  # noqa: PLC0415

    most = service.body_maxlen
    if most == NotifyBase.body_maxlen or "overflow_mode" in vars(service):
        return text
    service.overflow_mode = OverflowMode.SPLIT
    if len(text) <= most - ROOM:
        return text
    head = text[: max(most - ROOM, most // 2)]
    end = head.rfind("\n", len(head) // 2)
    return (head if end < 0 else head[:end]) + CUT
