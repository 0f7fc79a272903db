"""Ask a server whether anything changed since the last fetch, by a conditional request.

No body is kept: only ETag and Last-Modified of the last full fetch, in one small file.
"""

import json
from contextlib import closing
from datetime import datetime

from forecast_assets.config.redaction import Redactor
from forecast_assets.config.source_settings import HttpSource
from forecast_assets.data.sources.http.client import HttpBody, HttpClient
from forecast_assets.data.sources.http.request import build_request
from forecast_assets.data.sources.request import FetchRequest, source_fingerprint
from forecast_assets.errors import ForecastAssetsError

# What a conditional request sends back of the last response (RFC 9110, 13.1).
CONDITIONS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
VALIDATORS = "http_validators.json"
# Dagster stops a sensor after a minute.
POLL_SECONDS = 20


def save_validators(
    source: HttpSource, request: FetchRequest, body: HttpBody | None, redactor: Redactor
) -> None:
    """Remember ETag and Last-Modified of a GET without pages, for `is_unchanged`."""
    path = request.settings.var / VALIDATORS
    path.unlink(missing_ok=True)
    if body is None or source.paging or source.method != "GET":
        return
    validators = {name: body.headers[name] for name in CONDITIONS if name in body.headers}
    # Both come from the server, which may repeat a secret.
    if validators and all(redactor.redact(text) == text for text in validators.values()):
        fetched = {
            "source": source_fingerprint(request.settings),
            "as_of": request.as_of.isoformat(),
            "request": body.request.key,
        }
        path.write_text(json.dumps({**fetched, **validators}, indent=1))


def is_unchanged(request: FetchRequest, *, stored_as_of: datetime) -> bool:
    """Return whether the server says (304) that nothing changed since the last full fetch.

    `stored_as_of` belongs to the newest stored version: a fetch that was not stored does not count.
    Other sources, sources with pages or without validators, and servers that do not answer count as
    changed.
    """
    source = request.settings.source
    if source.kind != "http":
        return False
    try:
        saved = json.loads((request.settings.var / VALIDATORS).read_text())
        fetched, key = (saved["source"], saved["as_of"]), saved["request"]
    except (OSError, ValueError, TypeError, KeyError):
        return False
    if fetched != (source_fingerprint(request.settings), stored_as_of.isoformat()):
        return False
    conditions = {CONDITIONS[name]: saved[name] for name in CONDITIONS if saved.get(name)}
    limits = ("connect_seconds", "timeout_seconds", "total_seconds")
    quick = {name: min(getattr(source, name), POLL_SECONDS) for name in limits}
    try:
        redactor = Redactor()
        http_request = build_request(source, request, redactor)
        client = HttpClient(source.model_copy(update=quick), redactor, request.settings.var)
        with closing(client):
            return client.is_not_modified(http_request, conditions, key=key)
    except (ForecastAssetsError, OSError):
        return False  # the run that fetches in full reports it
