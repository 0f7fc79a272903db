"""Http as a source: an address that answers with JSON, CSV or Parquet, in one piece or in pages.

What a request is belongs to `asking`, where it may go to `hops`, how it is answered to `answers`,
and which page comes next to `paging`.
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

from forecast_assets.config.redaction import SecretRedactor
from forecast_assets.config.source_settings import Format, HttpSource
from forecast_assets.data.sources.files import FORMATS
from forecast_assets.data.sources.http.body_cache import BodyCache
from forecast_assets.data.sources.http.client import HttpBody, HttpClient
from forecast_assets.data.sources.http.decoding import ByteBudgets
from forecast_assets.data.sources.http.pagination import PageInfo, Paginator
from forecast_assets.data.sources.http.request import Request, first_request
from forecast_assets.data.sources.http.url_policy import UrlPolicy
from forecast_assets.data.sources.parsing import (
    PARSERS,
    UNREADABLE,
    CountingReader,
    gc_paused,
    get_path,
    load_json,
    records_frame,
)
from forecast_assets.data.sources.request import FetchRequest
from forecast_assets.data.sources.retry import with_retries
from forecast_assets.errors import SourceError, SourceUnavailable


def compact(frame: pd.DataFrame) -> pd.DataFrame:
    """The same values, those of a column that is all text as categories, all numbers as numbers."""
    if frame.empty:
        return frame
    return pd.DataFrame({name: _lean_column(frame[name]) for name in frame})


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all frames, in their order; every frame has the same columns, each once."""
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    kept = [frame for frame in frames if len(frame)] or list(frames[:1])
    return pd.DataFrame({name: _stacked([frame[name] for frame in kept]) for name in frames[0]})


def _lean_column(values: "pd.Series[Any]") -> "pd.Series[Any]":
    if values.dtype != object:
        return values
    if infer_dtype(values, skipna=True) == "string":
        return values.astype("category")
    is_even = infer_dtype(values, skipna=False) in ("integer", "floating")
    return values.infer_objects() if is_even else values


def _stacked(columns: "Sequence[pd.Series[Any]]") -> "pd.Series[Any]":
    dtypes = {column.cat.categories.dtype for column in columns if _is_categorical(column)}
    if len(dtypes) == 1 and all(map(_is_categorical, columns)):
        return pd.Series(union_categoricals(list(columns)))
    if len({column.dtype for column in columns}) > 1:  # an id of 7 is not to become one of 7.0
        columns = [column.astype(object) for column in columns]
    whole: pd.Series[Any] = pd.concat(columns, ignore_index=True)
    return whole


def _is_categorical(values: "pd.Series[Any]") -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype)


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


def read_http(source: HttpSource, asked: FetchRequest) -> pd.DataFrame:
    """Read every page of the source, each tried again until it answers.

    What a request needs of the environment is in no message, log or file that comes of it.

    Raises SettingsError where the environment lacks a secret, and SourceError where the source
    cannot be read as it stands, gives no rows, or did not answer in any of the tries.
    """
    hidden = SecretRedactor()
    return _quietly(lambda: _read(source, asked, hidden), hidden)


def _read(source: HttpSource, asked: FetchRequest, hidden: SecretRedactor) -> pd.DataFrame:
    hops = UrlPolicy()
    pages = Paginator(source.paging, first_request(source, asked, hidden, hops), hops)
    kept = BodyCache(asked.settings.var / "fetched")
    budgets = ByteBudgets.of(source.max_bytes)
    frames: list[pd.DataFrame] = []
    with HttpClient(source, hops, hidden, kept) as answers:
        request: Request | None = pages.first()
        while request:
            one = _PageReader(source, answers, request, budgets, is_first=not frames)
            frame, page, budgets = with_retries(partial(_quietly, one.read, hidden), source, asked)
            if not all(list(frame.columns).count(column) == 1 for column in one.columns):
                # It has no rows. What is missing, or there twice, is said where columns are mapped;
                # a server may name a column by whatever it was sent.
                return frame.rename(columns=lambda name: hidden.scrub(str(name)))
            frames.append(frame)
            request = pages.after(page)
    rows = concat(frames)
    if rows.empty:
        raise SourceError(
            f"{pages.first().shown} gave no rows. A week without data cannot be forecast, so"
            f" nothing was published. Look at what fills it, and at `source.params`."
        )
    kept.tidy()
    return rows


def _quietly(call: Callable[[], T], hidden: SecretRedactor) -> T:
    """Call, and raise what it raises without a secret in it, and without what it came of."""
    trouble: SourceError
    try:
        return call()
    except SourceUnavailable as error:
        text = hidden.scrub(str(error))
        trouble = SourceUnavailable(text, after_seconds=error.after_seconds)
    except SourceError as error:
        trouble = SourceError(hidden.scrub(str(error)))
    except OSError as error:
        trouble = SourceError(
            f"What is fetched cannot be written or read again: {hidden.scrub(str(error))}. Nothing"
            f" was published, and earlier versions stand. Make room in FORECAST_VAR's folder"
            f" `fetched`, or give this user the right to write there."
        )
    raise trouble  # out here, for an error remembers the one that it was raised beside


@dataclass(frozen=True)
class _PageReader:
    """One page, to be read in one try, or in another."""

    source: HttpSource
    answers: HttpClient
    request: Request
    budgets: ByteBudgets
    is_first: bool

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns that are read."""
        return self.source.unique_id, self.source.ds, self.source.y

    def read(self) -> tuple[pd.DataFrame, PageInfo, ByteBudgets]:
        """The page's rows, what its successor is named in, and what is left of the budgets."""
        budgets = self.budgets.for_one_try()
        with self.answers.to(self.request, budgets) as answer:
            if answer is None:
                frame = self._without_content()
                return frame, PageInfo(url=self.request.url), budgets
            kind = self._format(answer)
            try:
                frame, value = self._rows(kind, answer.file, budgets)
            except SourceUnavailable:
                if answer.unfinished is None:  # what was kept is read otherwise by now
                    self.answers.drop(self.request)
                raise
            self.answers.keep(self.request, answer)
            page = PageInfo(
                url=answer.url,
                is_json=kind == "json",
                value=value if self.source.paging else None,
                link=answer.note.link,
                sha256=answer.note.sha256,
                n_rows=len(frame),
            )
            return frame, page, budgets

    def _without_content(self) -> pd.DataFrame:
        if self.is_first:
            raise SourceUnavailable(
                f"{self.request.shown} answered 204 No Content. There is nothing to read in it;"
                f" another try may pass."
            )
        return pd.DataFrame(columns=list(dict.fromkeys(self.columns)))

    def _format(self, answer: HttpBody) -> Format:
        """What a body is: as the settings, its Content-Type or its address says."""
        start = answer.file.read(512)
        answer.file.seek(0)
        media = answer.note.content_type.partition(";")[0].strip().lower()
        if HTML.match(start) or (media == "text/html" and not self.source.format):
            raise SourceUnavailable(
                f"{self.request.shown} gave an HTML page where data should be, such as one that"
                f" asks to log in or to wait. Nothing of it was used; another try may pass."
            )
        if self.source.format:
            return self.source.format
        if media in CONTENT_TYPES or media.endswith("+json"):
            return CONTENT_TYPES.get(media, "json")
        ending = PurePosixPath(urlsplit(answer.url).path).suffix.lower()
        if ending in FORMATS:
            return FORMATS[ending]
        raise SourceError(
            f"{self.request.shown} does not tell what it gave: its Content-Type is"
            f" `{media or 'missing'}`, and its address has no ending that is known. No row of it"
            f' was used. Set `source.format` to "csv", "json", "jsonl" or "parquet".'
        )

    def _rows(
        self, kind: Format, file: IO[bytes], budgets: ByteBudgets
    ) -> tuple[pd.DataFrame, Any]:
        """The rows of a body, and, of a JSON one, the whole of it."""
        name = self.request.shown
        try:
            if kind == "json":
                with gc_paused():
                    value = load_json(file.read())
                    return compact(self._records(value)), value
            counted: Any = file if kind == "parquet" else CountingReader(file, budgets.read, name)
            return compact(PARSERS[kind](counted, self.columns, budgets.read, name, None)), None
        except UNREADABLE as error:
            raise SourceUnavailable(
                f"{name} gave a body that is not the {kind} that it should be, or was cut off:"
                f" {error}. No row of it was used; another try may pass."
            ) from error

    def _records(self, value: Any) -> pd.DataFrame:
        try:
            return records_frame(get_path(value, self.source.records), self.columns)
        except (ValueError, TypeError) as error:
            raise SourceError(
                f"The JSON of {self.request.shown} cannot be taken as rows: {error}. No row of it"
                f" was used, and earlier versions stand. Say in `source.records` where the list of"
                f' rows is, such as "data.rows".'
            ) from error
