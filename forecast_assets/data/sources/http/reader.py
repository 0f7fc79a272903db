"""Read an HTTP API: a URL that answers with JSON, CSV, Excel or Parquet, whole or in pages.

`is_unchanged` asks it whether a new fetch is worth a run: only ETag and Last-Modified of the last
fetch are kept for that.

`request` builds requests, `client` sends them, `pagination` finds the next page.
"""

import json
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import pandas as pd
from pandas.api.types import infer_dtype

from forecast_assets.config.redaction import Redactor
from forecast_assets.config.source_settings import Format, HttpSource
from forecast_assets.data.sources import parsing
from forecast_assets.data.sources.files import FORMATS
from forecast_assets.data.sources.http.client import HttpBody, HttpClient
from forecast_assets.data.sources.http.pagination import PageInfo, Paginator
from forecast_assets.data.sources.http.request import HttpRequest, build_request
from forecast_assets.data.sources.request import (
    ByteBudget,
    FetchRequest,
    ParseOptions,
    has_each_once,
    source_fingerprint,
)
from forecast_assets.data.sources.retry import with_retries
from forecast_assets.errors import ForecastAssetsError, SourceError, SourceUnavailable

T = TypeVar("T")
# What a conditional request sends back of the last response (RFC 9110, 13.1).
CONDITIONS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
VALIDATORS = "http_validators.json"
# Dagster stops a sensor after a minute.
POLL_SECONDS = 20
# Ends of media types that are no suffix of a file.
MEDIA_TYPES = {
    ".tab-separated-values": ".tsv",
    ".vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}
HTML = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)\b", re.IGNORECASE)


def read_http(source: HttpSource, request: FetchRequest) -> pd.DataFrame:
    """Read every page of the source, each with retries.

    Secrets of the environment are in no error, log or file that comes of it.

    Raises SettingsError if the environment lacks a secret, and SourceError if the source cannot be
    read, gives no rows, or does not answer in any attempt.
    """
    redactor = Redactor()
    return _redact_errors(lambda: _read_pages(source, request, redactor), redactor)


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
            return client.is_not_modified(http_request, conditions, key)
    except (ForecastAssetsError, OSError):
        return False  # the run that fetches in full reports it


def _read_pages(source: HttpSource, request: FetchRequest, redactor: Redactor) -> pd.DataFrame:
    options = ParseOptions.of(source, request)
    pages = Paginator(source.paging, build_request(source, request, redactor), request.note)
    budgets = ByteBudget(source.max_bytes), ByteBudget(source.max_bytes)
    frames: list[pd.DataFrame] = []
    with closing(HttpClient(source, redactor, request.settings.var)) as client:
        page_request: HttpRequest | None = pages.first
        while page_request:
            page = _PageReader(source, client, page_request, budgets, options, is_first=not frames)
            attempt = partial(_redact_errors, page.read, redactor)
            frame, info, body, budgets = with_retries(attempt, source, request)
            if not has_each_once(list(frame.columns), options.columns):
                # The mapping of columns reports it. A server may name columns by what it was sent.
                return frame.rename(columns=lambda name: redactor.redact(str(name)))
            frames.append(frame)
            page_request = pages.next(info)
    rows = concat(frames)
    if rows.empty:
        raise SourceError(
            f"{pages.first.label} gave no rows. A week without data cannot be forecast, so nothing"
            f" was published. Check what fills it, and `source.params`."
        )
    _save_validators(source, request, body, redactor)
    return rows


def _save_validators(
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


def _redact_errors(call: Callable[[], T], redactor: Redactor) -> T:
    """Call, and raise its errors without secrets and without their causes."""
    try:
        return call()
    except SourceError as error:
        redacted = copy(error)  # without the errors that it was raised from
        redacted.args = (redactor.redact(str(error)),)
    except OSError as error:
        redacted = SourceError(
            f"Fetched data cannot be kept in FORECAST_VAR: {redactor.redact(str(error))}."
            f" Nothing was published; earlier versions are unchanged."
            f" Free disk space, or let this user write there."
        )
    raise redacted  # outside of the block, where an error would keep the one that it replaces


@dataclass(frozen=True)
class _PageReader:
    """Reads one page, in one attempt or several."""

    source: HttpSource
    client: HttpClient
    request: HttpRequest
    budgets: tuple[ByteBudget, ByteBudget]  # of bodies, and of what they are parsed to
    options: ParseOptions
    is_first: bool

    def read(self) -> tuple[pd.DataFrame, PageInfo, HttpBody | None, tuple[ByteBudget, ByteBudget]]:
        """Return the rows, what pagination needs, the body's headers, and the budgets left."""
        budgets = copy(self.budgets[0]), copy(self.budgets[1])  # failed attempts do not count
        with self.client.fetch(self.request, budgets[0]) as body:
            if body is None and self.is_first:
                raise SourceUnavailable(f"{self.request.label} answered 204 No Content.")
            if body is None:
                empty = pd.DataFrame(columns=self.options.columns)
                return empty, PageInfo(url=self.request.url), None, budgets
            file_format = self._format(body)
            frame, value = self._rows(file_format, body.file, budgets[1])
            page = PageInfo(
                url=body.request.url,
                json=value if self.source.paging else None,
                link=body.headers.get("Link", ""),
                sha256=body.sha256,
                n_rows=len(frame),
            )
            return frame, page, body, budgets

    def _format(self, body: HttpBody) -> Format:
        """Return the format by the settings, the Content-Type or the ending of the URL."""
        start = body.file.read(512)
        body.file.seek(0)
        media_type = body.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if HTML.match(start) or (media_type == "text/html" and not self.source.format):
            raise SourceUnavailable(
                f"{self.request.label} gave an HTML page instead of data, such as a login or error"
                f" page. Nothing of it was used."
            )
        if self.source.format:
            return self.source.format
        subtype = re.sub(r".*/(x-|vnd\.apache\.|.*\+)?", ".", media_type).replace("lines", "l")
        subtype = MEDIA_TYPES.get(subtype, subtype)
        path = urlsplit(body.request.url).path.lower().removesuffix(".gz")
        for ending in (subtype, PurePosixPath(path).suffix):
            if ending in FORMATS:
                return FORMATS[ending]
        raise SourceError(
            f"The format of {self.request.label} is unknown: its Content-Type is"
            f" `{media_type or 'missing'}`, and its URL has no known ending. Nothing was published."
            f' Set `source.format` to "csv", "json", "jsonl", "parquet" or "xlsx".'
        )

    def _rows(
        self, file_format: Format, file: IO[bytes], budget: ByteBudget
    ) -> tuple[pd.DataFrame, Any]:
        """Return the rows of a body and, if it is JSON, its value."""
        name, options = self.request.label, self.options
        try:
            if file_format != "json":
                frame = parsing.parse(file_format, file, name=name, options=options, budget=budget)
                return compact(frame), None
            value = parsing.load_json(file.read())
        except parsing.UNREADABLE as error:
            raise SourceUnavailable(
                f"{name} gave a body that is not valid {file_format}, or is cut off: {error}."
                f" Nothing of it was used."
            ) from error
        try:
            rows = parsing.get_path(value, self.source.records)
            return compact(parsing.records_frame(rows, options)), value
        except (ValueError, TypeError) as error:
            raise SourceError(
                f"The JSON of {name} has no list of rows: {error}. Nothing was published; earlier"
                f" versions are unchanged. Set `source.records` to the path of that list, such as"
                f' "data.rows".'
            ) from error


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """Store columns of text as categories and columns of numbers as numbers."""
    if frame.empty:
        return frame
    return pd.DataFrame({name: _compact_column(frame[name]) for name in frame})


def _compact_column(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if values.dtype != object:
        return values
    if infer_dtype(values, skipna=True) == "string":
        return values.astype("category")
    is_numeric = infer_dtype(values, skipna=False) in ("integer", "floating")
    return values.infer_objects() if is_numeric else values


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate the rows of frames with the same columns; no value changes its type."""
    frames = [frame for frame in frames if len(frame)] or list(frames[:1])
    # Else an id of 7 would become 7.0.
    mixed = [name for name in frames[0] if len({frame[name].dtype for frame in frames}) > 1]
    parts = [frame.astype(dict.fromkeys(mixed, object)) for frame in frames]
    return pd.concat(parts, ignore_index=True)
