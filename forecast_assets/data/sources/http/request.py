"""The request that `[source]` describes, and what may be sent of it to whom.

Where a request may go is for `hops`; sending it is for `answers`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from forecast_assets.config.redaction import SecretRedactor, mask, redact_url
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.http.decoding import ACCEPTED
from forecast_assets.data.sources.http.url_policy import AddressRules, UrlPolicy
from forecast_assets.data.sources.request import FetchRequest, expand_as_of
from forecast_assets.errors import SourceError

if TYPE_CHECKING:
    import httpx


DEFAULT_PORTS = {"http": 80, "https": 443}
OURS = {"User-Agent": "forecast-assets", "Accept": "*/*", "Accept-Encoding": ACCEPTED}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


@dataclass(frozen=True)
class Request:
    """One request. Headers and body go to `home` alone, the origin that the settings name."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    home: str
    bounds: AddressRules
    shown: str  # its address as it may be told

    @property
    def key(self) -> str:
        """A hash of all that an answer depends on."""
        told = [self.method, self.url, sorted(self.headers.items())]
        return hashlib.sha256(json.dumps(told).encode() + (self.content or b"")).hexdigest()

    @property
    def content(self) -> bytes | None:
        """The body as it is sent."""
        return None if self.body is None else orjson.dumps(self.body)

    @property
    def is_at_home(self) -> bool:
        """Whether it goes where the settings say."""
        return origin_of(self.url) == self.home

    def sent_headers(self) -> dict[str, str]:
        """The headers, as far as who is asked may see them."""
        every = dict(OURS)
        if self.is_at_home:
            every |= {} if self.body is None else {"Content-Type": "application/json"}
            known = {name.lower(): name for name in every}
            every |= {known.get(name.lower(), name): text for name, text in self.headers.items()}
        return {**every, "Accept-Encoding": ACCEPTED}

    def to(self, url: str, bounds: AddressRules) -> "Request":
        """The same, to an address that an answer named.

        Raises SourceError where it would take a body to another origin.
        """
        moved = replace(self, url=url, bounds=bounds, shown=redact_url(url))
        if self.body is not None and not moved.is_at_home:
            raise SourceError(
                f"{self.shown} sends on to {moved.shown}, which is not the origin that `source.url`"
                f" names, so `source.body` was not sent there. Nothing was published. If it is"
                f" right, put that address into `source.url`."
            )
        return moved


def first_request(
    source: HttpSource, asked: FetchRequest, hidden: SecretRedactor, hops: UrlPolicy
) -> Request:
    """The request of these settings: secrets revealed, and hidden; the day put in.

    Raises SettingsError where the environment lacks a secret, and SourceError where the address
    cannot be asked or a header cannot be sent.
    """
    given = expand_as_of(hidden.reveal(source.url), asked.local_as_of)
    params = {
        name: expand_as_of(hidden.reveal(text), asked.local_as_of)
        for name, text in source.params.items()
    }
    headers = {name: hidden.reveal(text) for name, text in source.headers.items()}
    for value in (*params.values(), *headers.values()):
        hidden.hide(value)
    _refuse_headers(headers)
    whole, basic = _parsed(given, params, source, hidden)
    url = str(whole)
    return Request(
        method=source.method,
        url=url,
        headers=headers if "authorization" in map(str.lower, headers) else {**basic, **headers},
        body=_told(source.body, asked, hidden),
        home=origin_of(url),
        bounds=hops.first(url),
        shown=source.url if source.url.startswith("env:") else redact_url(url),
    )


def _parsed(
    given: str, params: Mapping[str, str], source: HttpSource, hidden: SecretRedactor
) -> "tuple[httpx.URL, dict[str, str]]":
    """The whole address, and its name and password as a header."""
    import httpx

    try:
        hidden.hide_address(given, is_from_environment=source.url.startswith("env:"))
        whole = httpx.URL(given).copy_merge_params(params)
        plain = whole.copy_with(username=None, password=None, fragment=None)
        is_askable = whole.scheme in DEFAULT_PORTS and bool(whole.host) and origin_of(str(plain))
    except (httpx.InvalidURL, ValueError):
        is_askable = False  # what is wrong is not told, for it may stand in a password
    if not is_askable:
        raise SourceError(
            f"`source.url` = {mask(source.url)} is no address that can be asked: it has to"
            f" begin with http:// or https:// and a host, and what is none of the signs of a URL"
            f" has to be percent-encoded, in a password too. Nothing was fetched, and earlier"
            f" versions stand. Correct it in forecast.toml."
        )
    if not whole.userinfo:
        return plain, {}
    auth = httpx.BasicAuth(whole.username, whole.password)
    basic = next(auth.auth_flow(httpx.Request("GET", plain))).headers["Authorization"]
    hidden.hide(basic.removeprefix("Basic "))
    return plain, {"Authorization": basic}


def _refuse_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise SourceError(
                f"`source.headers.{name}` cannot be sent: a header has a name without blanks, and"
                f" a value of plain ASCII with no line break and no blank at its ends. Nothing was"
                f" fetched, and earlier versions stand. Correct it in forecast.toml, or in the"
                f" environment where it says env:NAME."
            )


def _told(value: Any, asked: FetchRequest, hidden: SecretRedactor) -> Any:
    """A body with every text in it revealed and dated."""
    if isinstance(value, dict):
        return {key: _told(inner, asked, hidden) for key, inner in value.items()}
    if isinstance(value, list):
        return [_told(inner, asked, hidden) for inner in value]
    return (
        expand_as_of(hidden.reveal(value), asked.local_as_of) if isinstance(value, str) else value
    )


def origin_of(url: str) -> str:
    """Scheme, host and port: what RFC 6454 counts as one place."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def resolve_url(base: str, named: str) -> str:
    """The address that an answer names, whole: without a password, a name or a fragment.

    Raises SourceError where it is none.
    """
    import httpx

    try:
        whole = httpx.URL(base).join(named)
        url = str(whole.copy_with(username=None, password=None, fragment=None))
        origin_of(url)
    except (httpx.InvalidURL, ValueError):
        url = ""
    if not url:
        raise SourceError(
            f"{redact_url(base)} names another address, which is none that can be read. It was not"
            f" followed, and nothing was published. Ask who runs the server."
        )
    return url
