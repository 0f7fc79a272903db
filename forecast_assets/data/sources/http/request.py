"""The HTTP request that `[source]` describes, and the redirects and next pages it may lead to.

Headers, credentials and body are sent to the origin of `source.url` alone. Sending is in `client`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from forecast_assets.config.redaction import (
    MIN_SECRET_LENGTH,
    Redactor,
    mask,
    redact_url,
    url_secrets,
)
from forecast_assets.config.settings import matches_any
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.request import FetchRequest, expand_as_of
from forecast_assets.errors import SourceError

DEFAULT_PORTS = {"http": 80, "https": 443}
ENCODING = {"Accept-Encoding": "gzip"}
DEFAULT_HEADERS = {"User-Agent": "forecast-assets", "Accept": "*/*", **ENCODING}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?")


@dataclass(frozen=True)
class HttpRequest:
    """One request. `label` is its URL as messages show it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    origin: str  # of `source.url`
    allow_hosts: tuple[str, ...] | None
    label: str

    @property
    def key(self) -> str:
        """Hash everything that the response depends on."""
        parts = [self.method, self.url, sorted(self.headers.items())]
        return hashlib.sha256(json.dumps(parts).encode() + (self.content or b"")).hexdigest()

    @property
    def content(self) -> bytes | None:
        """Return the body as it is sent."""
        return None if self.body is None else orjson.dumps(self.body)

    @property
    def is_to_origin(self) -> bool:
        """Whether it goes to the origin of `source.url`."""
        return origin_of(self.url) == self.origin

    def sent_headers(self) -> dict[str, str]:
        """Return the headers for this request's URL: those of the settings only at the origin."""
        headers = dict(DEFAULT_HEADERS)
        if self.is_to_origin:
            headers |= {} if self.body is None else {"Content-Type": "application/json"}
            names = {name.lower(): name for name in headers}
            headers |= {names.get(name.lower(), name): v for name, v in self.headers.items()}
        return {**headers, **ENCODING}

    def follow(self, target: str, kind: str) -> "HttpRequest":
        """Return the request to a URL that a response names; `kind` is "redirect" or "next page".

        Raises SourceError if the URL is invalid, must not be followed, or would receive a body
        outside the origin.
        """
        url = _join_url(self, target, kind)
        if refusal := self._refusal(url):
            raise SourceError(
                f"{self.label} names the {kind} {redact_url(url)}, which {refusal}. Nothing was"
                f" published; earlier versions are unchanged."
            )
        request = replace(self, url=url, label=redact_url(url))
        if self.body is not None and not request.is_to_origin:
            raise SourceError(
                f"{self.label} names the {kind} {request.label}, which is outside the origin of"
                f" `source.url`, so `source.body` was not sent there. Nothing was published. If the"
                f" address is correct, set `source.url` to it."
            )
        return request

    def _refusal(self, url: str) -> str | None:
        """Return why a URL must not be followed, and the remedy; None if it may be."""
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
        if scheme not in DEFAULT_PORTS:
            return "is neither http nor https. Ask the operator of the server"
        if scheme == "http" and urlsplit(self.url).scheme == "https":
            return "leaves https for http. If that is safe, set `source.url` to it"
        is_same_origin = origin_of(url) in (self.origin, origin_of(self.url))
        if is_same_origin or matches_any(host, map(str.lower, self.allow_hosts or ())):
            return None
        if self.allow_hosts is None and scheme == "https":
            return None
        problem = "is plain http elsewhere" if self.allow_hosts is None else "is on another host"
        return f"{problem}. If it is correct, add {host} to `source.allow_hosts`"


def build_request(source: HttpSource, request: FetchRequest, redactor: Redactor) -> HttpRequest:
    """Build the request of the settings, with secrets resolved and dates expanded.

    Raises SettingsError if the environment lacks a secret, and SourceError if the URL is invalid
    or a header cannot be sent.
    """
    as_of = request.local_as_of
    given_url = expand_as_of(redactor.resolve(source.url), as_of)
    params = {
        name: expand_as_of(redactor.resolve(text), as_of) for name, text in source.params.items()
    }
    headers = {name: redactor.resolve(text) for name, text in source.headers.items()}
    redactor.add(*url_secrets(given_url))
    redactor.add(*(v for v in (*params.values(), *headers.values()) if len(v) >= MIN_SECRET_LENGTH))
    _check_headers(headers)
    url, basic = _parse_url(given_url, params, source)
    if source.url.startswith("env:"):
        redactor.add(*(text for text in (url, urlsplit(url).path) if len(text) > 1))
    if basic:
        redactor.add(basic.removeprefix("Basic "))
        if "authorization" not in map(str.lower, headers):
            headers["Authorization"] = basic
    return HttpRequest(
        method=source.method,
        url=url,
        headers=headers,
        body=_expand_body(source.body, request, redactor),
        origin=origin_of(url),
        allow_hosts=source.allow_hosts,
        label=source.url if source.url.startswith("env:") else redact_url(url),
    )


def _parse_url(url: str, params: Mapping[str, str], source: HttpSource) -> tuple[str, str]:
    """Return the URL with parameters and without credentials, and these as a Basic header."""
    import httpx2

    try:
        parsed = httpx2.URL(url).copy_merge_params(params)
        plain = parsed.copy_with(username=None, password=None, fragment=None)
        is_valid = parsed.scheme in DEFAULT_PORTS and bool(parsed.host) and origin_of(str(plain))
    except (httpx2.InvalidURL, ValueError):
        is_valid = False  # the reason is not shown, because it may quote a password
    if not is_valid:
        raise SourceError(
            f"`source.url` = {mask(source.url)} is not a valid URL: it needs http:// or https://"
            f" and a host, and reserved characters have to be percent-encoded, also in a password."
            f" Nothing was fetched; earlier versions are unchanged. Correct it in forecast.toml."
        )
    if not parsed.userinfo:
        return str(plain), ""
    auth = httpx2.BasicAuth(parsed.username, parsed.password)
    request = next(auth.auth_flow(httpx2.Request("GET", plain)))
    return str(plain), request.headers["Authorization"]


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise SourceError(
                f"`source.headers.{name}` cannot be sent: a name has no spaces, and a value is"
                f" ASCII without line breaks, leading or trailing spaces. Nothing was fetched;"
                f" earlier versions are unchanged. Correct it in forecast.toml, or in the"
                f" environment if it is env:NAME."
            )


def _expand_body(value: Any, request: FetchRequest, redactor: Redactor) -> Any:
    """Resolve and expand every text in a body."""
    if isinstance(value, dict):
        return {key: _expand_body(inner, request, redactor) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand_body(inner, request, redactor) for inner in value]
    if isinstance(value, str):
        return expand_as_of(redactor.resolve(value), request.local_as_of)
    return value


def origin_of(url: str) -> str:
    """Return scheme, host and port (RFC 6454)."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _join_url(request: HttpRequest, target: str, kind: str) -> str:
    """Resolve a URL that a response names, without credentials and fragment."""
    import httpx2

    try:
        joined = httpx2.URL(request.url).join(target)
        url = str(joined.copy_with(username=None, password=None, fragment=None))
        origin_of(url)
    except (httpx2.InvalidURL, ValueError):
        url = ""
    if not url:
        raise SourceError(
            f"{request.label} names a {kind} whose URL is invalid. It was not followed, and nothing"
            f" was published. Ask the operator of the server."
        )
    return url
