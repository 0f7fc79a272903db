"""A finding: one thing that is worth knowing of a fetch, and how it is said.

What is looked for: `verdict`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from forecast_assets.config.settings import FindingPolicy
from forecast_assets.errors import format_list


@dataclass(frozen=True)
class Finding:
    """What was found of a fetch: which kind, how often, of which series, and what to do.

    `kind` is a key of `[data_quality]`, `policy` what is set there. `series` is empty where it is about
    all, or about none that is known by name. `what` is a sentence: how many, and which; `then` says
    what that means, and what to do.
    """

    kind: str
    n: int
    series: tuple[str, ...]
    what: str
    then: str = ""
    policy: FindingPolicy = "publish"

    @property
    def says(self) -> str:
        """All of it, in a paragraph."""
        return f"{self.what} {self.then}".strip()


def make_finding(
    kind: str, n: int, series: Iterable[object], what: str, then: str = ""
) -> list[Finding]:
    """The finding, in a list; none where there is nothing."""
    return [Finding(kind, n, tuple(map(str, series)), what, then)] if n else []


def pluralize(n: int, what: str, plural: str | None = None) -> str:
    """`1 value`, `2 values`: a number and its noun."""
    return f"{n:,} {what if n == 1 else plural or f'{what}s'}"


def named(series: Iterable[object]) -> str:
    """The first few series by name."""
    return format_list(series, limit=5)


def number(value: float) -> str:
    """A value as it is written in a sentence."""
    return f"{value:,.5g}" if abs(value) < 1e5 else f"{value:,.0f}"  # noqa: PLR2004 - as in `report`


def percent(share: float) -> str:
    """A share as it is written in a sentence."""
    return f"{100 * share:.3g} %"
