"""What is secret in a request, and how texts and files are kept free of it."""

import base64
import json
import os
import re
from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlsplit

from forecast_assets.errors import SettingsError


def mask(text: str) -> str:
    """A value that may hold a secret, as it may be shown: `env:NAME`, or its scheme alone."""
    if text.startswith("env:"):
        return text
    scheme = re.match(r"[\w+.-]{1,20}://", text)
    return f"{scheme.group() if scheme else ''}***"


def mask_nested(value: Any) -> Any:
    """A table or list of settings that may hold secrets, each text as it may be shown."""
    if isinstance(value, dict):
        return {key: mask_nested(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [mask_nested(inner) for inner in value]
    return mask(value) if isinstance(value, str) else value


def redact_url(url: str) -> str:
    """A URL as it may be shown: its host and path, without a name, a password or a query."""
    if url.startswith("env:"):
        return url
    if "::" in re.sub(r"\[.*?\]", "", url):  # fsspec's chains, such as filecache::https://…
        return mask(url)
    try:
        parts = urlsplit(url)
        is_cut = parts.port is not None and "@" not in parts.netloc and "@" in url
    except ValueError:
        return mask(url)
    if is_cut or not parts.scheme:  # by a slash, a question mark or a hash in the password
        return mask(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def resolve_env(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """A setting that may be secret, as it is to be used: `env:NAME` is read from the environment.

    Raises SettingsError where the environment has no such name.
    """
    name = text.removeprefix("env:")
    if name == text:
        return text
    if not environ.get(name):
        raise SettingsError(
            f"The settings hold `{text}`, but the environment has no {name}, so what needs it"
            f" cannot be done. Set {name} where Dagster's processes start."
        )
    return environ[name]


PIECE_CHARACTERS = 6  # a shorter piece of a URL is blanked where it stands alone: `a` is in words


def redact_url_parts(text: str, address: str) -> str:
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


BLOCK = 1 << 20  # bytes
# A value that stands in forecast.toml itself may be any word: a short one is no secret.
SHORTEST = 6
SHORTEST_PART = 3  # of a value of several words
SCHEMES = {"basic", "bearer", "digest", "token"}  # which are no secrets


class SecretRedactor:
    """The secrets of one fetch, in every form that they may be written in."""

    def __init__(self) -> None:
        self._told_to_none: set[str] = set()
        self._from_environment: set[str] = set()

    def reveal(self, text: str) -> str:
        """A setting as it is to be used; what the environment gives is a secret from then on."""
        value = resolve_env(text)
        if text.startswith("env:"):
            self._from_environment |= _forms(value)
            self._told_to_none |= _forms(value)
        return value

    def hide(self, value: str) -> None:
        """Hide a value that was given, unless it is so short that it hides nothing."""
        if len(value) >= SHORTEST:
            self._told_to_none |= _forms(value)

    def hide_address(self, url: str, *, is_from_environment: bool) -> None:
        """Hide a name, a password and the query; of a URL of the environment's, its path too."""
        parts = urlsplit(url)
        words = [value for _, value in parse_qsl(parts.query)] + [unquote(parts.username or "")]
        secrets = {one for one in words if len(one) >= SHORTEST}
        secrets |= {unquote(parts.password or ""), parts.netloc.rpartition("@")[0]}
        if is_from_environment:
            secrets |= {one for one in (url, parts.path, parts.query) if len(one) > 1}
        forms = {form for secret in secrets for form in _forms(secret)}
        self._told_to_none |= forms
        self._from_environment |= forms if is_from_environment else set()

    def scrub(self, text: str) -> str:
        """The text with `***` for every secret in it."""
        for secret in sorted(self._told_to_none, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def is_in(self, text: str) -> bool:
        """Whether a text holds what only the environment knew."""
        return any(secret in text for secret in self._from_environment)

    def is_in_file(self, file: IO[bytes]) -> bool:
        """Whether a file holds what only the environment knew; it is read from its start."""
        secrets = [secret.encode() for secret in self._from_environment]
        overlap = max(map(len, secrets), default=0)
        file.seek(0)
        before = b""
        while secrets and (block := file.read(BLOCK)):
            window = before + block
            if any(secret in window for secret in secrets):
                return True
            before = window[-overlap:]
        return False


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as URLs, JSON, Python and `Basic` write it; its longer words too."""
    words = {word for word in secret.split() if len(word) >= SHORTEST_PART} - {secret}
    words = {word for word in words if word.lower() not in SCHEMES}
    forms = set()
    for one in {secret, secret.strip(), *words} - {""}:
        urls = {quote(one, safe=""), quote(one), quote_plus(one)}
        forms |= urls | {re.sub("%[0-9A-F]{2}", lambda byte: byte[0].lower(), url) for url in urls}
        forms |= {one, json.dumps(one)[1:-1], repr(one)[1:-1]}
        forms |= {repr(one.encode())[2:-1], base64.b64encode(one.encode()).decode()}
    return forms
