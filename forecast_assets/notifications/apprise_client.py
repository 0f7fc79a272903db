"""Send a notification to one channel through Apprise: mail, chat or a webhook.

Which channels receive a notification is decided in `routing`; retries are in `queue`.
"""

import concurrent.futures
import logging
import os
import re
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forecast_assets.config.redaction import redact_url_parts, resolve_env
from forecast_assets.errors import SettingsError, format_list
from forecast_assets.notifications.routing import Notification

# Apprise writes a subject as one line with up to three characters for a byte. A line of a mail
# holds 998.
TITLE_BYTES = 300
CUT = "\n\n(Shortened: this channel accepts no longer messages.)"
# A service without titles puts the title into the text.
RESERVED_CHARACTERS = len(CUT) + TITLE_BYTES + 20
SERVICES = (
    "https://appriseit.com/services/ shows the URL of each service and the package that it may"
    " need. The URL of your own webhook is jsons://host/path."
)
CHECK_SERVICE = "Check that the service is running and that the host and port in the URL are right."
# The first pattern found in the reason selects the remedy.
REMEDIES = {
    r"\berror=3\d\d\b": "The service has moved: correct the URL, or add redirect=yes to it.",
    r"\berror=40[13]\b|\(5(30|34|35) ": "Correct the user, password or token in the URL.",
    r"recipient .* refused|\(55\d ": (
        "Correct the recipients in the URL, or make the server accept them."
    ),
    r"\berror=(429|5\d\d)\b": "The service may accept it later; its own log says more.",
    r"": CHECK_SERVICE,
}
# Apprise logs an exception as "Socket Exception: " and its text, from which the cause is taken.
EXCEPTION = r"[^:]*\bException\b[^:]*: (.*)"
CAUSES = (
    (r".*\((\d{3}), b'(.*?)'\).*", r"\1 \2"),  # an SMTP reply
    (r".*\[Errno -?\d+\] ([^'\")]*).*", r"\1"),
    (r".*timed out.*", "no answer in time"),
)
# Apprise logs the first for each recipient of a mail, the second for one that the server refused
# while it accepted others.
ACCEPTED = ("Sent ", "SMTP recipient ")


@dataclass(frozen=True)
class SendFailure:
    """The reason why a channel did not accept a notification, in one line without secrets."""

    reason: str
    is_partial: bool = False  # some of the recipients in the URL received it


def check_url(url: str) -> str | None:
    """Return why Apprise cannot use a channel's URL, or None. Nothing is sent."""
    return _service(url)[2]


def send(notification: Notification, url: str, *, seconds: float) -> SendFailure | None:
    """Send a notification to one channel and return the failure, or None if it was accepted.

    Waits for at most `seconds`. The channel may still accept the notification afterwards: the
    thread that sends it goes on until this process ends. The text lists files that cannot be read.
    """
    service, address, problem = _service(url)
    if service is None:
        return SendFailure(str(problem))
    _limit_timeouts(service, seconds)
    # A daemon thread: the threads of an executor would keep this process from ending.
    future = concurrent.futures.Future[SendFailure | None]()
    arguments = (future, lambda: _send(notification, service, address))
    threading.Thread(target=_run_into, args=arguments, name="send", daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except concurrent.futures.TimeoutError:
        return SendFailure(
            f"The channel did not answer within {seconds:.3g} seconds. It may have received the"
            f" notification. {CHECK_SERVICE}"
        )


def to_utf8(text: str) -> str:
    """Replace by `?` what UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()


def _service(url: str) -> tuple[Any, str, str | None]:
    """Return Apprise's service for a URL or None, the resolved URL, and what is wrong with it."""
    try:
        address = resolve_env(url)
    except SettingsError as error:
        return None, url, str(error)
    # Importing Apprise takes 0.3 s, and most commands send nothing.
    from apprise import Apprise, AppriseAsset, LogCapture

    # Its messages hold URLs: they are read here and reach no log.
    logging.getLogger("apprise").propagate = False
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
    asset = AppriseAsset(
        app_id="forecast_assets",
        async_mode=False,  # send in the thread that calls
        service_timeout=0,  # use no thread pool, which would keep this process from ending
        http_redirects=False,  # a redirected POST becomes a GET, which sends nothing
        pgp_autogen=False,
    )
    with LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
        try:
            service = Apprise.instantiate(address, asset=asset)
        except TypeError:  # of a desktop service that cannot parse its URL
            service = None
        lines = dict.fromkeys(line.strip().rstrip(".") for line in log.getvalue().splitlines())
    if service is not None and not lines:
        return service, address, None
    reason = redact_url_parts("; ".join(lines), address) or "it is no URL"
    problem = f"Apprise cannot use this URL: {reason}. Nothing is sent to it. {SERVICES}"
    return service, address, problem


def _limit_timeouts(service: Any, seconds: float) -> None:
    """Give a service all of the time, or less if its URL says so, and never ignore its failure.

    Apprise's defaults: it waits 4 seconds for a web server, and an `optional` service succeeds.
    """
    for name in ("socket_connect_timeout", "socket_read_timeout"):
        setattr(service, name, min(vars(service).get(name, seconds), seconds))
    service.optional = False


def _run_into(future: concurrent.futures.Future[Any], work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised again by future.result
        future.set_exception(error)


def _send(notification: Notification, service: Any, address: str) -> SendFailure | None:
    from apprise import Apprise, AppriseAttachment, NotifyFormat, NotifyType
    from apprise.attachment.file import AttachFile

    types = {"info": NotifyType.INFO, "warning": NotifyType.WARNING, "error": NotifyType.FAILURE}
    paths = [path for path in notification.files if os.access(path, os.R_OK) and path.is_file()]
    missing = [f"`{path.name}`" for path in notification.files if path not in paths]
    note = f"\n\nNot attached, because it cannot be read: {format_list(missing)}."
    text = notification.text + (note if missing else "")
    title = _subject(notification.title)
    files = [
        # Given a text, Apprise would read a URL, and a `?` in a file name would end it.
        AttachFile(str(path), name=_ascii_file_name(path.name))  # type: ignore[no-untyped-call]
        for path in paths
    ]
    client = Apprise(asset=service.asset)
    client.add(service)
    result = client.notify(
        body=_truncate_body(to_utf8(text), service) or title,
        title=title,
        notify_type=types[notification.severity],
        body_format=NotifyFormat.MARKDOWN,
        attach=AppriseAttachment(files) if files else None,
        log_level=logging.DEBUG,
    )
    return None if result else _failure([*result.logs()], address)


def _failure(log: list[Any], address: str) -> SendFailure:
    """Turn Apprise's log of a failed attempt into one line: its warnings, and their causes."""
    warnings = [
        entry.message.strip().rstrip(".")
        for entry in log
        if logging.getLevelName(entry.level) >= logging.WARNING
    ]
    exceptions = [re.match(EXCEPTION, entry.message, re.DOTALL) for entry in log]
    causes = "; ".join(dict.fromkeys(_cause(match[1]) for match in exceptions if match))
    text = "; ".join(dict.fromkeys(warnings)) or "Apprise gives no reason"
    line = " ".join((f"{text} ({causes})" if causes else text).split())
    reason = redact_url_parts(line, address)
    remedy = next(remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, reason))
    is_partial = any(entry.message.startswith(ACCEPTED) for entry in log)
    prefix = "Only some of the recipients in the URL received it: " if is_partial else ""
    return SendFailure(f"{prefix}{reason}. {remedy}", is_partial=is_partial)


def _cause(text: str) -> str:
    for pattern, replacement in CAUSES:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text.strip().rstrip(".")


def _subject(title: str) -> str:
    """Return the title as one line that the header of a mail can hold."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", to_utf8(title)).split())
    content = line.encode()
    if len(content) <= TITLE_BYTES:
        return line
    return f"{content[: TITLE_BYTES - 3].decode(errors='ignore')}…"


def _ascii_file_name(name: str) -> str:
    """Return a file name in ASCII: Apprise writes other characters as a header that is invalid."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r'[^ -~]|["\\]', "_", plain)


def _truncate_body(text: str, service: Any) -> str:
    """Cut the text at the end of a line to one message of a service that limits its length.

    Markup may make Markdown longer than the limit: then Apprise sends two messages. Apprise could
    cut the text itself, but would attach only the first file; a URL with `overflow` asks for that.
    """
    from apprise import NotifyBase, OverflowMode

    limit = service.body_maxlen
    if limit == NotifyBase.body_maxlen or "overflow_mode" in vars(service):
        return text
    service.overflow_mode = OverflowMode.SPLIT
    if len(text) <= limit - RESERVED_CHARACTERS:
        return text
    head = text[: max(limit - RESERVED_CHARACTERS, limit // 2)]
    end = head.rfind("\n", len(head) // 2)
    return (head if end < 0 else head[:end]) + CUT
