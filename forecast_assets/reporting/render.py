"""The week on one page: the tables to a self-contained HTML file, and the same in Markdown.

Sending it and keeping it does not belong here: these functions return text.
"""

import base64
import hashlib
import re
from typing import Any

import pandas as pd

from forecast_assets.reporting.context import build_brief_context, build_context
from forecast_assets.reporting.narrative import bidi_isolate
from forecast_assets.reporting.number_format import _ratio, format_share
from forecast_assets.reporting.summary import WeeklyReport
from forecast_assets.reporting.svg import STYLE

__all__ = ["escape_markdown", "forecast_rows", "render", "render_brief"]

# As entities, for not every Markdown knows a backslash before these.
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "~": "&#126;"})


def render(week: WeeklyReport) -> dict[str, str]:
    """The report's files by name: report.html and report.md."""
    told = build_context(week)
    environment = _environment()
    style, script = (_source(environment, f"report.{kind}") for kind in ("css", "js"))
    style = STYLE + style
    allowed = f"default-src 'none'; style-src {_hashed(style)}"
    if told["is_long"]:
        allowed += f"; script-src {_hashed(script)}"
    page = {"style": style, "script": script, "policy": allowed}
    return {
        "report.html": environment.get_template("report.html").render(told, **page),
        "report.md": environment.get_template("report.md").render(told),
    }


def render_brief(week: WeeklyReport) -> str:
    """The week in a few lines of Markdown, for a mail or a chat: no more than 20 series."""
    text: str = _environment().get_template("report.brief.md").render(build_brief_context(week))
    return text


def forecast_rows(forecast: pd.DataFrame, series: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a forecast: next_week_forecast's columns, and the last known value as `last_y`."""
    last = series.groupby("unique_id")["y"].last().rename("last_y")
    rows = forecast.merge(last, on="unique_id", validate="many_to_one").to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def escape_markdown(text: str) -> str:
    """Text as Markdown: on one line, out of which it can break no table, and no HTML."""
    marked = " ".join(str(text).split()).translate(ENTITIES)
    marked = re.sub(r"([\\`*\[\]!]|(?<!&)#)", r"\\\1", marked)
    marked = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", marked)  # within a word it means nothing
    marked = re.sub(r"^([-+=])|^(\d+)([.)])(?=\s)", _escaped_start, marked)
    return bidi_isolate(marked)


def _escaped_start(found: "re.Match[str]") -> str:
    return f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}"


def _environment() -> Any:
    from jinja2 import (  # noqa: PLC0415 - only the report needs it
        Environment,
        PackageLoader,
        StrictUndefined,
        select_autoescape,
    )

    environment = Environment(
        loader=PackageLoader("forecast_assets.reporting"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": escape_markdown, "share": format_share, "ratio": _ratio}
    return environment


def _source(environment: Any, name: str) -> str:
    """A file beside the templates as it stands."""
    text: str = environment.loader.get_source(environment, name)[0]
    return text


def _hashed(text: str) -> str:
    """A text as a content security policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
