"""Find the next page: by a link, a number or a cursor, until there is none."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from forecast_assets.config.source_settings import CursorPaging, LinkPaging, PagePaging
from forecast_assets.data.sources.http.request import HttpRequest
from forecast_assets.errors import SourceError, format_list

MAX_PAGES = 10_000
# RFC 8288: a URL in angle brackets, and its parameters.
LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w!#$&+.^`|~*-]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"]*))?)*)')
# Keys by which APIs name the next page, or that there is one.
NEXT = (
    r"(@odata\.)?next(_?(page|cursor|link|url|href|token|page_?token))?|has_?(more|next)(_?page)?"
    r"|continuation(_?token)?"
)
NEXT_PAGE = re.compile(rf"{NEXT}|(end|page)?_?cursor|page_?token|scroll_?id", re.IGNORECASE)
# Keys that do so beside a path that is absent, or empty: not a cursor, which may be of this page.
BESIDE_ABSENT = re.compile(r"after|token", re.IGNORECASE)
BESIDE_EMPTY = re.compile(rf"{NEXT}|after", re.IGNORECASE)
SIMILAR = 0.8  # share of letters that a misspelt key and the right one have in common
RELATION = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)


@dataclass(frozen=True)
class PageInfo:
    """What pagination needs of a page. `json` is its value if it is JSON."""

    url: str
    json: Any = None
    link: str = ""  # the `Link` header
    sha256: str = ""  # empty: the page has no content
    n_rows: int = 0


class Paginator:
    """The requests of one fetch, page by page."""

    def __init__(
        self,
        paging: LinkPaging | PagePaging | CursorPaging | None,
        request: HttpRequest,
        note: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._paging, self._number, self.first, self._note = paging, 0, request, note
        self._n_pages = 0
        self._seen = {request.url}
        self._last_sha256: str | None = None
        if isinstance(paging, PagePaging):
            self._number = paging.first
            self.first = _with_parameter(request, paging.parameter, paging.first)

    def next(self, page: PageInfo) -> HttpRequest | None:
        """Return the request of the page after `page`, or None if it is the last.

        Raises SourceError if pages repeat or are too many, if the next URL must not be followed,
        and if the page does not contain what the settings name.
        """
        self._n_pages += 1
        request = None
        if page.sha256:  # else it has no content
            match self._paging:
                case LinkPaging() as paging:
                    request = self._by_link(page, paging)
                case CursorPaging() as paging:
                    request = self._by_cursor(page, paging)
                case PagePaging() as paging:
                    request = self._by_number(page, paging)
        if request is None:
            return None
        if self._n_pages >= MAX_PAGES:
            raise SourceError(
                f"{self.first.label} has more than {MAX_PAGES:,} pages. Reading stopped, and"
                f" nothing was published. Request more rows per page, or correct `source.paging`."
            )
        return replace(request, label=f"{request.label} (page {self._n_pages + 1})")

    def _by_link(self, page: PageInfo, paging: LinkPaging) -> HttpRequest | None:
        target = self._value_at(page, paging.path) if paging.path else next_link(page.link)
        if target in (None, "", False):
            return None
        if not isinstance(target, str):
            raise self._wrong_type(paging.path, target)
        request = replace(self.first, url=page.url).follow(target, "next page")
        self._check_new(request.url, "address")
        return request

    def _by_cursor(self, page: PageInfo, paging: CursorPaging) -> HttpRequest | None:
        cursor = self._value_at(page, paging.path)
        if cursor in (None, "") or cursor is False:  # 0 is a cursor
            return None
        if not isinstance(cursor, str | int | float) or cursor is True:
            raise self._wrong_type(paging.path, cursor)
        self._check_new(str(cursor), "cursor")
        return _with_parameter(self.first, paging.parameter, cursor)

    def _by_number(self, page: PageInfo, paging: PagePaging) -> HttpRequest | None:
        if not page.n_rows:
            return None
        if page.sha256 == self._last_sha256:
            raise SourceError(
                f"{self.first.label} gives the same body for `{paging.parameter}` = {self._number}"
                f" as for the page before, so it ignores the number. Nothing was published. Correct"
                f" `source.paging.parameter`."
            )
        self._last_sha256 = page.sha256
        self._number += 1
        return _with_parameter(self.first, paging.parameter, self._number)

    def _value_at(self, page: PageInfo, path: str) -> Any:
        """Return the value at a path in a page's JSON, or None."""
        if not isinstance(page.json, dict):
            raise SourceError(
                f"{self.first.label} gives a page that is not a JSON object, which"
                f" `source.paging.path` = {path} needs. Nothing was published. Correct"
                f" `source.paging`; a `link` without a path reads the `Link` header."
            )
        value: Any = page.json
        is_absent = False
        for key in path.split("."):
            is_absent = is_absent or (value is not None and key not in _as_object(value))
            value = _as_object(value).get(key)
        if self._n_pages == 1 and (value in (None, "") or value is False):
            self._check_only_page(page.json, path, is_absent=is_absent)
        return value

    def _check_only_page(self, first: Mapping[str, Any], path: str, *, is_absent: bool) -> None:
        """Refuse a first page that has no next page at the path, but names one in some other way.

        APIs may leave the path out, or leave it empty, if there is only one page.
        """
        others = [
            other
            for other, value in _paths(first)
            if _names_next_page(other, value, path, is_absent=is_absent)
        ]
        if others:
            how = "without" if is_absent else "with an empty"
            raise SourceError(
                f"{self.first.label} gives a first page {how} `source.paging.path` = {path}, but"
                f" with {format_list(others)}. Its other pages would not be read, so nothing was"
                f" published. Correct the path."
            )
        if is_absent:
            self._note(f"the first page has no {path}, so it is read as the only one")

    def _check_new(self, text: str, noun: str) -> None:
        if text in self._seen:
            raise SourceError(
                f"{self.first.label} names the same {noun} for two next pages, so its pages would"
                f" never end. Nothing was published. Correct `source.paging`, or ask the operator"
                f" of the server."
            )
        self._seen.add(text)

    def _wrong_type(self, path: str | None, value: object) -> SourceError:
        return SourceError(
            f"{self.first.label} has a {type(value).__name__} at `source.paging.path` = {path},"
            f" which cannot name a page. Nothing was published. Correct the path."
        )


def _as_object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _paths(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of everything in nested objects that is no list."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _paths(inner, f"{prefix}{key}.")
        elif not isinstance(inner, list):
            yield f"{prefix}{key}", inner


def _names_next_page(other: str, value: object, path: str, *, is_absent: bool) -> bool:
    """Return whether another path of the first page names a next page that is not at `path`."""
    (place, _, key), (parent, _, last_key) = (each.rpartition(".") for each in (other, path))
    if is_absent and (_is_similar(key, last_key) or (value and NEXT_PAGE.fullmatch(key))):
        return True
    beside = BESIDE_ABSENT if is_absent else BESIDE_EMPTY
    return bool(value and place == parent and beside.fullmatch(key))


def _is_similar(key: str, other: str) -> bool:
    return bool(difflib.get_close_matches(key.lower(), [other.lower()], cutoff=SIMILAR))


def next_link(header: str) -> str | None:
    """Return the URL with the relation `next` in a `Link` header, or None."""
    for url, parameters in LINK.findall(header):
        relations = [quoted or plain for quoted, plain in RELATION.findall(parameters)]
        if relations and "next" in relations[0].lower().split():
            return str(url)
    return None


def _with_parameter(request: HttpRequest, name: str, value: float | str) -> HttpRequest:
    """Set a parameter: in the body if there is one, unless the URL has that parameter already."""
    url = httpx2.URL(request.url)
    if request.body is not None and name not in url.params:
        return replace(request, body={**request.body, name: value})
    return replace(request, url=str(url.copy_set_param(name, value)))
