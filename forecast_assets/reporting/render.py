"""Render a week as text: a self-contained HTML page, the same in Markdown, and a brief message.

Sending and storing them does not belong here.
"""

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.reporting import context, overview
from forecast_assets.reporting.narrative import bidi_isolate
from forecast_assets.reporting.number_format import format_percent
from forecast_assets.reporting.series_pages import to_script_json
from forecast_assets.reporting.summary import WeeklyReport, model_label
from forecast_assets.reporting.svg import STYLE
from forecast_assets.storage.tables import interval_columns

# Entities, because not every Markdown dialect allows a backslash before these.
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "~": "&#126;"})


def render(report: WeeklyReport, *, site: str = "") -> dict[str, str]:
    """Return the files of the report by name: report.html, details.html and report.md.

    `site` leads from their folder to that of the index, with a slash at the end. Without it, the
    pages have no links to the index and the series.
    """
    summary = overview.summarize(report)
    values = {**context.build_context(report, summary), "site": site}
    rows = all_rows_json(summary) if values["is_long"] else ""
    scripts = ["numbers.js", "table.js", "all_rows.js"] if values["is_long"] else []
    return {
        "report.html": render_page("report.html", scripts, **values, all_rows=rows),
        "details.html": render_page("details.html", [], **values),
        "report.md": _environment().get_template("report.md").render(values),
    }


def render_page(name: str, scripts: Sequence[str], *, is_site: bool = False, **values: Any) -> str:
    """Render a page with its style and scripts, and a policy that allows nothing else.

    A page of the site may also load scripts from its own folder.
    """
    style = STYLE + template_source("report.css")
    script = "".join(map(template_source, scripts))
    policy = f"default-src 'none'; style-src {_csp_hash(style)}"
    own = " 'self' file:" if is_site else ""
    policy += f"; script-src {_csp_hash(script)}{own}" if script else ""
    page = {"style": style, "script": script, "policy": policy}
    return str(_environment().get_template(name).render(values, **page))


def template_source(name: str) -> str:
    """Return a template file without rendering it."""
    environment = _environment()
    return str(environment.loader.get_source(environment, name)[0])


def render_brief(report: WeeklyReport) -> str:
    """Return the week as a short Markdown message for mail or chat, with at most 20 series."""
    summary = overview.summarize(report, max_full=overview.MAX_ROWS)
    values = context.build_brief_context(report, summary)
    return str(_environment().get_template("report.brief.md").render(values))


def forecast_rows(forecast: pd.DataFrame, series: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of next_week_forecast with the last known value as `last_y`."""
    last = series.groupby("unique_id")["y"].last().rename("last_y")
    rows = forecast.merge(last, on="unique_id", validate="many_to_one").to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def all_rows_json(summary: overview.Summary) -> str:
    """Return all rows, column by column, as JSON that is safe inside a `script` element."""
    rows = summary.rows
    low, high = interval_columns(summary.levels[:1])
    decimals = [number_format.decimals for number_format in rows["format"]]

    def numbers(name: str, places: Sequence[int] = decimals) -> list[float | None]:
        pairs = zip(rows[name], places, strict=True)
        return [None if np.isnan(value) else round(float(value), n) for value, n in pairs]

    models = [model_label(*pair) for pair in zip(rows["model"], rows["rung"], strict=True)]
    units = [number_format.unit for number_format in rows["format"]]
    model_names, unit_names, looks = (
        sorted(set(some)) for some in (models, units, summary.reasons)
    )
    columns = {
        "models": model_names,
        "units": unit_names,
        "level": column_suffix(summary.levels[0]),
        "name": rows["unique_id"].tolist(),
        "unit": [unit_names.index(unit) for unit in units],
        "decimals": decimals,
        "last": numbers("last_y"),
        "next": numbers("y_hat"),
        "low": numbers(low),
        "high": numbers(high),
        "miss": numbers("miss"),
        "surprise": numbers("surprise", [1] * len(rows)),
        "model": [model_names.index(model) for model in models],
        "looks": looks,
        "look": list(map({text: i for i, text in enumerate(looks)}.__getitem__, summary.reasons)),
    }
    return to_script_json(columns)


def escape_markdown(text: str) -> str:
    """Return text as one line of Markdown that cannot break a table or become HTML."""
    escaped = " ".join(str(text).split()).translate(ENTITIES)
    escaped = re.sub(r"([\\`*\[\]!]|(?<!&)#)", r"\\\1", escaped)
    # An underscore within a word has no meaning.
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", escaped)
    # These would begin a list or a heading.
    escaped = re.sub(r"^(\d+(?=[.)]\s)|(?=[-+=]))", r"\1\\", escaped)
    return bidi_isolate(escaped)


@functools.cache
def _environment() -> Any:
    """Return the environment of the templates, which are compiled once in a process."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("forecast_assets.reporting"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "cell": escape_markdown,
        "percent": format_percent,
        "integer": "{:,}".format,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
    }
    return environment


def _csp_hash(text: str) -> str:
    """Return the source expression of an inline text in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
