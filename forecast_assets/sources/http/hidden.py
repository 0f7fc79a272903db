"""What is secret in a request, and how texts and files are kept free of it."""

import base64
import json
import re
from typing import IO
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from forecast_assets.settings_file import revealed

BLOCK = 1 << 20  # bytes
# A value that stands in forecast.toml itself may be any word: a short one is no secret.
SHORTEST = 6
SHORTEST_PART = 3  # of a value of several words
SCHEMES = {"basic", "bearer", "digest", "token"}  # which are no secrets


class Hidden:
    """The secrets of one fetch, in every form that they may be written in."""

    def __init__(self) -> None:
        self._told_to_none: set[str] = set()
        self._from_environment: set[str] = set()

    def reveal(self, text: str) -> str:
        """A setting as it is to be used; what the environment gives is a secret from then on."""
        value = revealed(text)
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
