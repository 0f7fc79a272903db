"""Ask a server whether anything changed since the last fetch, by a conditional request.

No body is kept: only ETag and Last-Modified of the last full fetch, in one small file.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from forecast_assets.config.redaction import Redactor
from forecast_assets.config.settings import Settings
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.http.client import HttpBody, HttpClient
from forecast_assets.data.sources.http.request import build_request
from forecast_assets.data.sources.request import FetchRequest, source_fingerprint
from forecast_assets.errors import ForecastAssetsError

# What a conditional request sends back of the last response (RFC 9110, 13.1).
CONDITIONS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
# Dagster stops a sensor after a minute.
POLL_SECONDS = 20


def save_validators(
    source: HttpSource, request: FetchRequest, body: HttpBody | None, redactor: Redactor
) -> None:
    """Remember ETag and Last-Modified of a GET without pages, for `is_unchanged`."""
    names = CONDITIONS if body and source.paging is None and source.method == "GET" else ()
    validators = {name: body.headers[name] for name in names if body and name in body.headers}
    path = _validators_path(request.settings)
    path.unlink(missing_ok=True)
    # Both come from the server, which may repeat a secret.
    if body and validators and all(redactor.redact(v) == v for v in validators.values()):
        fetched = {
            "source": source_fingerprint(request.settings),
            "as_of": request.as_of.isoformat(),
            "request": body.request.key,
        }
        path.write_text(json.dumps({**fetched, **validators}, indent=1))


def is_unchanged(source: HttpSource, request: FetchRequest, *, stored_as_of: datetime) -> bool:
    """Return whether the server says (304) that nothing changed since the last full fetch.

    `stored_as_of` belongs to the newest stored version: a fetch that was not stored does not count.
    Sources with pages or without validators, and servers that do not answer, count as changed.
    """
    saved = _load_validators(request.settings)
    fingerprint = source_fingerprint(request.settings)
    if (saved.get("source"), saved.get("as_of")) != (fingerprint, stored_as_of.isoformat()):
        return False
    conditions = {CONDITIONS[name]: saved[name] for name in CONDITIONS if saved.get(name)}
    limits = ("connect_seconds", "timeout_seconds", "total_seconds")
    quick = {name: min(getattr(source, name), POLL_SECONDS) for name in limits}
    try:
        redactor = Redactor()
        http_request = build_request(source, request, redactor)
        with HttpClient(source.model_copy(update=quick), redactor, request.settings.var) as client:
            return client.is_not_modified(http_request, conditions, key=str(saved.get("request")))
    except (ForecastAssetsError, OSError):
        return False  # the run that fetches in full reports it


def _load_validators(settings: Settings) -> Mapping[str, Any]:
    try:
        saved = json.loads(_validators_path(settings).read_text())
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _validators_path(settings: Settings) -> Path:
    return settings.var / "http_validators.json"
