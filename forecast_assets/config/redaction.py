"""Resolve secrets (`env:NAME`), and redact them in settings, URLs and messages."""

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlsplit

from forecast_assets.errors import SettingsError

MASK = "***"
# A shorter text may be any word: it is redacted only where it stands alone, and a shorter part of
# a secret, plain setting, user name or parameter of a URL counts as no secret.
MIN_SECRET_LENGTH = 6
AUTHENTICATION_SCHEMES = {"basic", "bearer", "digest", "token"}


def mask(text: str) -> str:
    """Return a setting that may be secret as `env:NAME`, or as its URL scheme and `***`."""
    if text.startswith("env:"):
        return text
    scheme = re.match(r"[\w+.-]{1,20}://", text)
    return f"{scheme.group() if scheme else ''}{MASK}"


def mask_nested(value: Any) -> Any:
    """Return a table or list of settings with each text masked."""
    if isinstance(value, dict):
        return {key: mask_nested(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [mask_nested(inner) for inner in value]
    return mask(value) if isinstance(value, str) else value


def redact_url(url: str) -> str:
    """Return scheme, host and path of a URL, without user, password, query and fragment."""
    if url.startswith("env:"):
        return url
    if "::" in re.sub(r"\[.*?\]", "", url):  # a chain of fsspec, such as filecache::https://…
        return mask(url)
    try:
        parts = urlsplit(url)
        # A slash, a question mark or a hash in a password ends the host too early.
        is_cut = parts.port is not None and "@" not in parts.netloc and "@" in url
    except ValueError:
        return mask(url)
    if is_cut or not parts.scheme:
        return mask(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def resolve_env(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a setting with `env:NAME` replaced by the environment variable.

    Raises SettingsError if the variable is missing or empty.
    """
    name = text.removeprefix("env:")
    if name == text:
        return text
    if not environ.get(name):
        raise SettingsError(
            f"The settings contain `{text}`, but the environment has no {name}, so whatever needs"
            f" it cannot work. Set {name} where Dagster's processes start."
        )
    return environ[name]


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret in a text by `***`, in all forms that a library may write it in."""
    forms = {form for secret in secrets for form in _written_forms(secret)}
    patterns = [
        re.escape(form) if len(form) >= MIN_SECRET_LENGTH else rf"(?<!\w){re.escape(form)}(?!\w)"
        for form in sorted(forms, key=len, reverse=True)
    ]
    return re.sub("|".join(patterns), MASK, text, flags=re.IGNORECASE) if patterns else text


def _written_forms(secret: str) -> set[str]:
    """Return a secret and its words as URLs, JSON, Python and Basic authentication write them."""
    words = {word for word in secret.split() if len(word) >= MIN_SECRET_LENGTH}
    words = {word for word in words if word.lower() not in AUTHENTICATION_SCHEMES}
    forms = set()
    for part in {secret, secret.strip(), *words}:
        forms |= {part, quote(part, safe=""), quote(part), quote_plus(part)}
        forms |= {json.dumps(part)[1:-1], repr(part)[1:-1], repr(part.encode())[2:-1]}
        forms.add(base64.b64encode(part.encode()).decode())
    return forms - {""}


def url_secrets(url: str) -> set[str]:
    """Return user name, password and query of a URL, or of each URL in a chain of fsspec."""
    secrets: set[str] = set()
    for rest in url.split("://")[1:]:
        credentials, query = rest.rpartition("@")[0], rest.partition("?")[2]
        user, _, password = credentials.partition(":")
        values = [unquote(user), *(value for _, value in parse_qsl(query))]
        secrets |= {credentials, password, unquote(password), query, unquote(query)}
        secrets |= {value for value in values if len(value) >= MIN_SECRET_LENGTH}
    return secrets - {""}


def redact_url_parts(text: str, url: str) -> str:
    """Replace each part of a URL in a text, but not its scheme and the names of its parameters."""
    location, _, query = url.split("://", 1)[-1].partition("?")
    values = [location, *(pair.partition("=")[2] or pair for pair in query.split("&"))]
    decoded = {form for value in values for form in (value, unquote(value), unquote_plus(value))}
    parts = {part for form in decoded for part in re.split(r"[/:@?&=,;#\s]+", form)}
    return redact(re.sub(r"(\w+://)\S+", rf"\1{MASK}", text), decoded | parts)


class Redactor:
    """Collects the secrets of one fetch and redacts them in texts."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def add(self, *secrets: str) -> None:
        """Redact these texts from now on, however short."""
        self._secrets.update(secrets)

    def resolve(self, text: str) -> str:
        """Resolve a setting; what the environment holds is a secret."""
        value = resolve_env(text)
        if text.startswith("env:"):
            self.add(value)
        return value

    def redact(self, text: str) -> str:
        """Return the text without the secrets."""
        return redact(text, self._secrets)
