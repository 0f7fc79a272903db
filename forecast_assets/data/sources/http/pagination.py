"""Which page comes next: by a link, a number or a cursor, until there is none.

What is on a page does not belong here.
"""

import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from forecast_assets.config.source_settings import CursorPaging, LinkPaging, PagePaging
from forecast_assets.data.sources.http.request import Request, resolve_url
from forecast_assets.data.sources.http.url_policy import UrlPolicy
from forecast_assets.errors import SourceError

MOST_PAGES = 10_000
# RFC 8288: an address in brackets, and what it is for.
LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w!#$&+.^`|~*-]+(?:\s*=\s*(?:"[^"]*"|[^\s;,"]*))?)*)')
RELATION = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]*))', re.IGNORECASE)


@dataclass(frozen=True)
class PageInfo:
    """What paging looks at. `value` is the JSON of a page that is JSON."""

    url: str
    is_json: bool = False
    value: Any = None
    link: str = ""  # the header
    sha256: str = ""
    n_rows: int = 0


class Paginator:
    """The pages of one fetch, in order."""

    def __init__(
        self,
        paging: LinkPaging | PagePaging | CursorPaging | None,
        request: Request,
        hops: UrlPolicy,
    ) -> None:
        self._paging, self._hops = paging, hops
        self._number = paging.first if isinstance(paging, PagePaging) else 0
        self._n_pages = 0
        self._seen = {request.url}
        self._last_body: str | None = None
        self._request = (
            _with_parameter(request, paging.parameter, self._number)
            if isinstance(paging, PagePaging)
            else request
        )

    def first(self) -> Request:
        """The first page."""
        return self._request

    def after(self, page: PageInfo) -> Request | None:
        """The page after this one; None where there is none.

        Raises SourceError where pages go round in a circle or are too many, where the next may not
        be asked, and where a page does not hold what its successor is named in.
        """
        following = self._following(page) if page.sha256 else None  # it has no content at all
        self._n_pages += 1
        if following is None:
            return None
        if self._n_pages >= MOST_PAGES:
            raise SourceError(
                f"{self._request.shown} has more than {MOST_PAGES:,} pages. Reading stopped there,"
                f" and nothing was published. Ask for more rows a page, or correct `source.paging`."
            )
        return replace(following, shown=f"{following.shown} (page {self._n_pages + 1})")

    def _following(self, page: PageInfo) -> Request | None:
        if isinstance(self._paging, LinkPaging):
            return self._linked(page, self._paging)
        if isinstance(self._paging, CursorPaging):
            return self._pointed_at(page, self._paging)
        return self._numbered(page, self._paging) if self._paging else None

    def _linked(self, page: PageInfo, paging: LinkPaging) -> Request | None:
        named = self._at(page, paging.path) if paging.path else next_of(page.link)
        if named in (None, "", False):
            return None
        if not isinstance(named, str):
            raise self._odd(paging.path, named)
        url = resolve_url(page.url, named)
        self._refuse_again(url, "address")
        bounds = self._hops.after(url, came_from=page.url, what="next page")
        return self._request.to(url, bounds)

    def _pointed_at(self, page: PageInfo, paging: CursorPaging) -> Request | None:
        cursor = self._at(page, paging.path)
        if cursor in (None, "") or cursor is False:
            return None
        if not isinstance(cursor, str | int | float) or cursor is True:
            raise self._odd(paging.path, cursor)
        self._refuse_again(str(cursor), "cursor")
        return _with_parameter(self._request, paging.parameter, cursor)

    def _numbered(self, page: PageInfo, paging: PagePaging) -> Request | None:
        if not page.n_rows:
            return None
        if page.sha256 == self._last_body:
            raise SourceError(
                f"{self._request.shown} answers `{paging.parameter}` = {self._number} with the very"
                f" body of the page before, so it does not heed the number. Nothing was published."
                f" Correct `source.paging.parameter`."
            )
        self._last_body = page.sha256
        self._number += 1
        return _with_parameter(self._request, paging.parameter, self._number)

    def _at(self, page: PageInfo, path: str) -> Any:
        """What is at the path in a page's JSON; None where nothing is."""
        if not page.is_json or not isinstance(page.value, dict):
            what = "a list" if page.is_json else "not JSON"
            raise SourceError(
                f"{self._request.shown} answers with a page that is {what}, so nothing can be at"
                f" `source.paging.path` = {path}: that needs a JSON object. Nothing was published."
                f" Correct `source.paging`; a `link` without a path reads the `Link` header."
            )
        value: Any = page.value
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _refuse_again(self, named: str, what: str) -> None:
        if named in self._seen:
            raise SourceError(
                f"{self._request.shown} names the same {what} of a next page twice, so its pages"
                f" have no end. Nothing was published. Correct `source.paging`, or ask who runs the"
                f" server."
            )
        self._seen.add(named)

    def _odd(self, path: str | None, named: object) -> SourceError:
        return SourceError(
            f"{self._request.shown} holds a {type(named).__name__} at `source.paging.path` ="
            f" {path}, which names no page. Nothing was published. Correct the path."
        )


def next_of(header: str) -> str | None:
    """The address that a `Link` header gives the relation `next`; None where there is none."""
    for url, parameters in LINK.findall(header):
        relations = [quoted or plain for quoted, plain in RELATION.findall(parameters)]
        if relations and "next" in relations[0].lower().split():
            return str(url)
    return None


def _with_parameter(request: Request, name: str, value: float | str) -> Request:
    """The request with a parameter: in its body, where it has one and the address has it not."""
    import httpx

    in_address = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    if request.body is not None and name not in in_address:
        return replace(request, body={**request.body, name: value})
    return replace(request, url=str(httpx.URL(request.url).copy_set_param(name, value)))
