"""Read an HTTP API: a URL that answers with JSON, CSV or Parquet, whole or in pages, to one frame.

`request` builds requests, `client` sends them, `pagination` finds the next page.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import pandas as pd
from pandas.api.types import infer_dtype, union_categoricals

from forecast_assets.config.redaction import Redactor
from forecast_assets.config.source_settings import Format, HttpSource
from forecast_assets.data.sources.files import FORMATS
from forecast_assets.data.sources.http.client import ByteBudgets, HttpBody, HttpClient
from forecast_assets.data.sources.http.pagination import PageInfo, Paginator
from forecast_assets.data.sources.http.polling import save_validators
from forecast_assets.data.sources.http.request import HttpRequest, build_request
from forecast_assets.data.sources.parsing import (
    PARSERS,
    UNREADABLE,
    CountingReader,
    get_path,
    load_json,
    records_frame,
)
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.sources.retry import with_retries
from forecast_assets.errors import SourceError, SourceUnavailable

T = TypeVar("T")
CONTENT_TYPES: Mapping[str, Format] = {
    "text/csv": "csv",
    "application/csv": "csv",
    "application/json": "json",
    "text/json": "json",
    "application/jsonl": "jsonl",
    "application/jsonlines": "jsonl",
    "application/x-jsonlines": "jsonl",
    "application/ndjson": "jsonl",
    "application/x-ndjson": "jsonl",
    "application/parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/vnd.apache.parquet": "parquet",
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


def _read_pages(source: HttpSource, request: FetchRequest, redactor: Redactor) -> pd.DataFrame:
    pages = Paginator(source.paging, build_request(source, request, redactor))
    budgets = ByteBudgets.of(source.max_bytes)
    frames: list[pd.DataFrame] = []
    with HttpClient(source, redactor, request.settings.var) as client:
        page_request: HttpRequest | None = pages.first
        while page_request:
            page = _PageReader(source, client, page_request, budgets, is_first=not frames)
            attempt = partial(_redact_errors, page.read, redactor)
            frame, info, body, budgets = with_retries(attempt, source, request)
            if not all(list(frame.columns).count(column) == 1 for column in page.columns):
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
    save_validators(source, request, body, redactor)
    return rows


def _redact_errors(call: Callable[[], T], redactor: Redactor) -> T:
    """Call, and raise its errors without secrets and without their causes."""
    redacted: SourceError
    try:
        return call()
    except SourceUnavailable as error:
        text = redactor.redact(str(error))
        redacted = SourceUnavailable(text, after_seconds=error.after_seconds)
    except SourceError as error:
        redacted = SourceError(redactor.redact(str(error)))
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
    budgets: ByteBudgets
    is_first: bool

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns that are read."""
        return self.source.unique_id, self.source.ds, self.source.y

    def read(self) -> tuple[pd.DataFrame, PageInfo, HttpBody | None, ByteBudgets]:
        """Return the rows, what pagination needs, the body's headers, and the budgets left."""
        budgets = self.budgets.copy()
        with self.client.fetch(self.request, budgets) as body:
            if body is None:
                return self._empty(), PageInfo(url=self.request.url), None, budgets
            file_format = self._format(body)
            frame, value = self._rows(file_format, body.file, budgets)
            page = PageInfo(
                url=body.request.url,
                is_json=file_format == "json",
                json=value if self.source.paging else None,
                link=body.headers.get("Link", ""),
                sha256=body.sha256,
                n_rows=len(frame),
            )
            return frame, page, body, budgets

    def _empty(self) -> pd.DataFrame:
        if self.is_first:
            raise SourceUnavailable(f"{self.request.label} answered 204 No Content.")
        return pd.DataFrame(columns=list(dict.fromkeys(self.columns)))

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
        if media_type in CONTENT_TYPES or media_type.endswith("+json"):
            return CONTENT_TYPES.get(media_type, "json")
        ending = PurePosixPath(urlsplit(body.request.url).path).suffix.lower()
        if ending in FORMATS:
            return FORMATS[ending]
        raise SourceError(
            f"The format of {self.request.label} is unknown: its Content-Type is"
            f" `{media_type or 'missing'}`, and its URL has no known ending. Nothing was published."
            f' Set `source.format` to "csv", "json", "jsonl" or "parquet".'
        )

    def _rows(
        self, file_format: Format, file: IO[bytes], budgets: ByteBudgets
    ) -> tuple[pd.DataFrame, Any]:
        """Return the rows of a body and, if it is JSON, its value."""
        label = self.request.label
        try:
            if file_format == "json":
                value = load_json(file.read())
                return compact(self._records(value)), value
            is_parquet = file_format == "parquet"
            source: Any = file if is_parquet else CountingReader(file, budgets.parsed, label)
            parser = PARSERS[file_format]
            return compact(parser(source, self.columns, budgets.parsed, label, None)), None
        except UNREADABLE as error:
            raise SourceUnavailable(
                f"{label} gave a body that is not valid {file_format}, or is cut off: {error}."
                f" Nothing of it was used."
            ) from error

    def _records(self, value: Any) -> pd.DataFrame:
        try:
            return records_frame(get_path(value, self.source.records), self.columns)
        except (ValueError, TypeError) as error:
            raise SourceError(
                f"The JSON of {self.request.label} has no list of rows: {error}. Nothing was"
                f" published; earlier versions are unchanged. Set `source.records` to the path of"
                f' that list, such as "data.rows".'
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
    with_rows = [frame for frame in frames if len(frame)] or list(frames[:1])
    return pd.DataFrame(
        {name: _concat_columns([frame[name] for frame in with_rows]) for name in frames[0]}
    )


def _concat_columns(parts: "Sequence[pd.Series[Any]]") -> "pd.Series[Any]":
    categories = {part.cat.categories.dtype for part in parts if part.dtype == "category"}
    if len(categories) == 1 and all(part.dtype == "category" for part in parts):
        return pd.Series(union_categoricals(list(parts)))
    if len({part.dtype for part in parts}) > 1:  # else an id of 7 would become 7.0
        parts = [part.astype(object) for part in parts]
    column: pd.Series[Any] = pd.concat(parts, ignore_index=True)
    return column
