"""Define `[source]` of forecast.toml: a table for each kind of source, with masked secrets.

The readers in `data.sources` use them.
"""

import difflib
import re
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    model_validator,
)

from forecast_assets.config.redaction import mask, mask_nested, redact_url
from forecast_assets.errors import format_list


class FrozenModel(BaseModel):
    """A table of forecast.toml; it is frozen and refuses unknown keys."""

    # Inputs are hidden because pydantic prints them in tracebacks, and they may hold a password.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def _check_zone(zone: str) -> str:
    """Return the name of a time zone. Raises ValueError if it does not exist."""
    if zone not in available_timezones():
        nearest = difflib.get_close_matches(zone, available_timezones(), n=3)
        raise ValueError(f"no such time zone; nearest: {format_list(nearest) or 'none'}")
    return zone


def _check_ids(given: Any) -> str | tuple[str, ...]:
    """Return a column's name, or several different ones. Raises ValueError."""
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names:
        raise ValueError("give the name of a column, or a list of names")
    if not all(isinstance(name, str) and name for name in names) or len({*names}) < len(names):
        raise ValueError("give the names of different columns")
    return given if isinstance(given, str) else tuple(names)


def _check_encoding(name: str) -> str:
    """Return the name of a text encoding. Raises ValueError if Python has none of that name."""
    try:
        "".encode(name)
    except LookupError:
        raise ValueError("no such text encoding; common ones: utf-8, cp1252, latin-1") from None
    return name


Secret = Annotated[str, Field(min_length=1), PlainSerializer(mask)]
Url = Annotated[str, Field(min_length=1), PlainSerializer(redact_url)]
Body = Annotated[dict[str, Any], PlainSerializer(mask_nested)]
Name = Annotated[str, Field(min_length=1)]
Path = Annotated[
    str,
    Field(min_length=1),
    PlainSerializer(lambda path: redact_url(path) if "://" in path else path, return_type=str),
]
Zone = Annotated[str, AfterValidator(_check_zone)]
Ids = Annotated[
    str | tuple[str, ...],
    PlainValidator(_check_ids),
    PlainSerializer(lambda ids: ids if isinstance(ids, str) else list(ids)),
]
Encoding = Annotated[str, AfterValidator(_check_encoding)]
Separator = Annotated[str, Field(pattern=r"^[\t !#-/:-@\[-`{-~]$")]  # ASCII, neither letter nor "
Decimal = Literal[".", ","]
Thousands = Literal[".", ",", " ", "'"]
# Added since 0.1: part of a source's fingerprint only where they differ from the default.
ADDED = (
    *("allow_hosts", "decimal", "thousands", "separator", "encoding", "skip_rows", "overlap"),
    "published",
)
Seconds = Annotated[float, Field(gt=0, le=1e6, strict=False)]


class DemoSource(FrozenModel):
    """The six weekly series of the package."""

    kind: Literal["demo"] = "demo"
    ids: ClassVar[tuple[str, ...]] = ("unique_id",)
    columns: ClassVar[tuple[str, ...]] = ("unique_id", "ds", "y")
    ds: ClassVar[str] = "ds"
    y: ClassVar[str] = "y"
    published: ClassVar[None] = None
    decimal: ClassVar[None] = None
    thousands: ClassVar[None] = None
    zone: ClassVar[ZoneInfo | None] = None
    on_bad_rows: ClassVar[str] = "fail"
    is_incremental: ClassVar[bool] = False


class _Source(FrozenModel):
    """The settings of every kind but the demo: columns, bad rows, limits and retries."""

    unique_id: Ids = "unique_id"  # several columns are joined to one id
    ds: Name = "ds"
    y: Name = "y"
    published: Name | None = None  # when a row was published; a later one of its time replaces it
    # How numbers are written in texts; None: detected where only one way is possible.
    decimal: Decimal | None = None
    thousands: Thousands | None = None
    timezone: Zone | None = None  # in which days and weeks are counted
    on_bad_rows: Literal["fail", "quarantine"] = "fail"
    max_bytes: int = Field(2_000_000_000, ge=1)  # of all bodies, and of what they decompress to
    max_retries: int = Field(42, ge=0, le=10_000)
    retry_base_seconds: Seconds = 1
    retry_cap_seconds: Seconds = 300

    @model_validator(mode="after")
    def _check_separators(self) -> Self:
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError("`decimal` and `thousands` have to differ")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the columns that name a series."""
        return (self.unique_id,) if isinstance(self.unique_id, str) else self.unique_id

    @property
    def columns(self) -> tuple[str, ...]:
        """Return every column that is read, once."""
        more = (self.published,) if self.published else ()
        return tuple(dict.fromkeys((*self.ids, self.ds, self.y, *more)))

    @property
    def zone(self) -> ZoneInfo | None:
        """Return the time zone; None if times are used as they are written."""
        return ZoneInfo(self.timezone) if self.timezone else None

    @property
    def is_incremental(self) -> bool:
        """Tell whether the source returns only rows that are new since the last fetch."""
        return False


class _TextSource(_Source):
    """How CSV is written; None: detected where only one way is possible."""

    separator: Separator | None = None
    encoding: Encoding | None = None
    skip_rows: int | None = Field(None, ge=0)  # lines before the header; also of Excel


class FileSource(_TextSource):
    """CSV, Excel, Parquet or JSON files on a disk or on any fsspec file system."""

    kind: Literal["file"]
    path: Path
    # Rows that two files of a pattern have in common.
    overlap: Literal["report", "once", "sum", "latest_file"] = "report"


class LinkPaging(FrozenModel):
    """The next page is at the URL that a JSON path or the `Link` header names."""

    kind: Literal["link"]
    path: Name | None = None


class PagePaging(FrozenModel):
    """Pages are numbered by a parameter, until one is empty."""

    kind: Literal["page"]
    parameter: Name = "page"
    first: int = 1


class CursorPaging(FrozenModel):
    """The next page needs the cursor at a path of the JSON as a parameter."""

    kind: Literal["cursor"]
    parameter: Name = "cursor"
    path: Name


Paging = Annotated[LinkPaging | PagePaging | CursorPaging, Field(discriminator="kind")]
Format = Literal["csv", "json", "jsonl", "parquet", "xlsx"]


class HttpSource(_TextSource):
    """A URL that answers with JSON, CSV, Excel or Parquet, whole or in pages."""

    kind: Literal["http"]
    url: Url
    method: Literal["GET", "POST"] = "GET"
    headers: dict[str, Secret] = Field({})
    params: dict[str, Secret] = Field({})
    body: Body | None = None  # of a POST, sent as JSON
    format: Format | None = None  # None: as the response says
    records: Name | None = None  # the path to the rows in JSON
    paging: Paging | None = None
    connect_seconds: Seconds = 10
    timeout_seconds: Seconds = 60  # without data
    total_seconds: Seconds = 1800  # of one response
    allow_hosts: tuple[Name, ...] | None = Field(None, strict=False)

    @model_validator(mode="after")
    def _check_body(self) -> Self:
        if self.body is not None and self.method == "GET":
            raise ValueError('a `body` needs `method = "POST"`')
        return self


class SqlSource(_Source):
    """A query or a table of a database that SQLAlchemy supports."""

    kind: Literal["sql"]
    url: Url
    query: Name | None = None
    table: Name | None = None
    connect_seconds: Seconds = 10
    total_seconds: Seconds = 1800  # of one attempt, from the connection to the last row

    @model_validator(mode="after")
    def _check_query_or_table(self) -> Self:
        if (self.query is None) == (self.table is None):
            raise ValueError("give one of `query` and `table`")
        return self

    @property
    def is_incremental(self) -> bool:
        """Tell whether the query uses `:last_ds` to return only new rows."""
        return bool(re.search(r"(?<!:):last_ds\b", self.query or ""))


class PythonSource(_Source):
    """A Python function that returns a frame."""

    kind: Literal["python"]
    callable: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")


Source = Annotated[
    DemoSource | FileSource | HttpSource | SqlSource | PythonSource, Field(discriminator="kind")
]
KINDS = tuple(get_args(get_args(Source)[0]))
UserSource = FileSource | HttpSource | SqlSource | PythonSource  # every kind but the demo
