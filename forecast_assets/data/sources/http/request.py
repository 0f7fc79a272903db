"""The HTTP request that `[source]` describes, and the redirects and next pages it may lead to.

Headers, credentials and body are sent to the origin of `source.url` alone. Sending is in `client`.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from forecast_assets.config.redaction import (
    MIN_SECRET_LENGTH,
    Redactor,
    mask,
    redact_url,
    url_secrets,
)
from forecast_assets.config.series_settings import matches_any
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.request import FetchRequest, expand_as_of
from forecast_assets.errors import SourceError

DEFAULT_PORTS = {"http": 80, "https": 443}
DEFAULT_HEADERS = {"User-Agent": "forecast-assets", "Accept": "*/*"}


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

    def sent_headers(self, conditions: Mapping[str, str]) -> httpx2.Headers:
        """Return the headers for this request's URL: those of the settings only at the origin."""
        headers = httpx2.Headers(DEFAULT_HEADERS)
        if self.is_to_origin:
            headers.update({} if self.body is None else {"Content-Type": "application/json"})
            headers.update(self.headers)
        headers.update({"Accept-Encoding": "gzip", **conditions})
        return headers

    def follow(self, target: str, kind: str) -> "HttpRequest":
        """Return the request to a URL that a response names; `kind` is "redirect" or "next page".

        Raises SourceError if the URL is invalid, must not be followed, or would receive a body
        outside the origin.
        """
        url = ""
        with suppress(httpx2.InvalidURL, ValueError):
            url = _without_credentials(httpx2.URL(self.url).join(target))
        if not url:
            raise SourceError(
                f"{self.label} names a {kind} whose URL is invalid. It was not followed, and"
                f" nothing was published. Ask the operator of the server."
            )
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
        is_any_https = self.allow_hosts is None and scheme == "https"
        is_allowed = matches_any(host, map(str.lower, self.allow_hosts or ()))
        if is_same_origin or is_any_https or is_allowed:
            return None
        problem = "is plain http elsewhere" if self.allow_hosts is None else "is on another host"
        return f"{problem}. If it is correct, add {host} to `source.allow_hosts`"


def build_request(source: HttpSource, request: FetchRequest, redactor: Redactor) -> HttpRequest:
    """Build the request of the settings, with secrets resolved and dates expanded.

    Raises SettingsError if the environment lacks a secret, and SourceError if the URL is invalid.
    """

    def expand(text: str) -> str:
        return expand_as_of(redactor.resolve(text), request.local_as_of)

    given_url = expand(source.url)
    params = {name: expand(text) for name, text in source.params.items()}
    headers = {name: redactor.resolve(text) for name, text in source.headers.items()}
    redactor.add(*url_secrets(given_url))
    redactor.add(*(v for v in (*params.values(), *headers.values()) if len(v) >= MIN_SECRET_LENGTH))
    url, basic = _parse_url(given_url, params, source)
    if source.url.startswith("env:"):
        redactor.add(*(text for text in (url, urlsplit(url).path) if len(text) > 1))
    if basic:
        redactor.add(basic)
        if "authorization" not in map(str.lower, headers):
            headers["Authorization"] = f"Basic {basic}"
    return HttpRequest(
        method=source.method,
        url=url,
        headers=headers,
        body=_expand_body(source.body, expand),
        origin=origin_of(url),
        allow_hosts=source.allow_hosts,
        label=source.url if source.url.startswith("env:") else redact_url(url),
    )


def _parse_url(url: str, params: Mapping[str, str], source: HttpSource) -> tuple[str, str]:
    """Return the URL with parameters and without credentials, and these as Basic auth has them."""
    try:
        parsed = httpx2.URL(url).copy_merge_params(params)
        plain = _without_credentials(parsed)
        is_valid = parsed.scheme in DEFAULT_PORTS and parsed.host
    except (httpx2.InvalidURL, ValueError):
        is_valid = False  # the reason is not shown, because it may quote a password
    if not is_valid:
        raise SourceError(
            f"`source.url` = {mask(source.url)} is not a valid URL: it needs http:// or https://"
            f" and a host, and reserved characters have to be percent-encoded, also in a password."
            f" Nothing was fetched; earlier versions are unchanged. Correct it in forecast.toml."
        )
    credentials = f"{parsed.username}:{parsed.password}".encode() if parsed.userinfo else b""
    return plain, base64.b64encode(credentials).decode()


def _without_credentials(url: httpx2.URL) -> str:
    """Return a URL without credentials and fragment. Raises ValueError if its port is invalid."""
    plain = str(url.copy_with(username=None, password=None, fragment=None))
    origin_of(plain)
    return plain


def _expand_body(value: Any, expand: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand_body(inner, expand) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand_body(inner, expand) for inner in value]
    return expand(value) if isinstance(value, str) else value


def origin_of(url: str) -> str:
    """Return scheme, host and port (RFC 6454)."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"
