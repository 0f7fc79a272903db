"""Metadata of assets: what the UI shows about a frame beside its description."""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd

from forecast_assets.config.forecast_settings import column_suffix
from forecast_assets.defs.runs import now, run_context_of
from forecast_assets.reporting.number_format import MAX_DECIMALS, MISSING, NumberFormat
from forecast_assets.reporting.render import escape_markdown
from forecast_assets.storage.contract import TableContract
from forecast_assets.storage.store import Store
from forecast_assets.storage.tables import interval_columns
from forecast_assets.storage.versions import newest, valid_versions

# The value of metadata has 500 pixels, and Markdown of more characters waits for a click.
MAX_COLUMNS, MAX_CHARACTERS = 5, 960
# A name has no place where a browser may break it.
MAX_WORD = 22
DIGITS = 4
HEADERS = {
    "unique_id": "series",
    "ds": "week",
    "y_hat": "forecast",
    "skill_vs_naive": "skill",
    "may_be_best_overall": "best?",
}


def column_schema(table: TableContract) -> dg.TableSchema:
    """Return a contract for the UI: columns, types, descriptions, the key, the rules."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                "datetime (UTC)" if column.kind == "timestamp" else column.kind,
                column.description,
                dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=table.key == (column.name,),
                    other=["key"] if column.name in table.key else [],
                ),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints(other=[text for text, _ in table.rules]),
    )


def asset_result(
    table: TableContract,
    frame: pd.DataFrame,
    metadata: Mapping[str, Any] | None = None,
    *,
    check: dg.AssetCheckResult | None = None,
) -> dg.MaterializeResult[pd.DataFrame]:
    """Return an asset's frame, its columns in the contract's order, with its data version."""
    arranged = table.arrange(frame)
    return dg.MaterializeResult(
        value=arranged,
        data_version=dg.DataVersion(table.data_version(arranged)),
        metadata=metadata or {},
        check_results=[check] if check else None,
    )


def past_week_note(
    asset: str, run: dg.DagsterRun, instance: dg.DagsterInstance, store: Store
) -> dict[str, dg.MetadataValue]:
    """Return the metadata that say that a version is of a past week; empty for the newest one.

    The UI shows the version that was written last as the newest.
    """
    as_of = run_context_of(run, instance).as_of
    last = newest(valid_versions(store, asset, as_of=now()))
    if last is None or last.as_of <= as_of:
        return {}
    text = (
        f"As of {as_of:%Y-%m-%d %H:%M} UTC. The newest version is {last.version}, as of"
        f" {last.as_of:%Y-%m-%d %H:%M} UTC."
    )
    return {"a_past_week": dg.MetadataValue.text(text)}


def first_rows(frame: pd.DataFrame, columns: Sequence[str] = ()) -> dg.MetadataValue:
    """Return the first rows as a Markdown table of the first of the columns, `columns` in front.

    It is as large as the UI shows without a click, and without cutting it on 1440 pixels.
    """
    others = frame.columns[frame.notna().any()].difference(list(columns), sort=False)
    names = [str(name) for name in [*columns, *others]][:MAX_COLUMNS]
    head = [HEADERS.get(name, name.replace("_", " ")) for name in names]
    lines = [_line(map(escape_markdown, head)), _line(["---"] * len(names))]
    n_shown, n_characters = 0, sum(map(len, lines))
    for row in frame[names].itertuples(index=False):
        line = _line(map(_cell, row))
        n_characters += len(line) + 1
        if n_shown and n_characters > MAX_CHARACTERS:
            break
        lines.append(line)
        n_shown += 1
    if len(frame) > n_shown:
        lines.append(f"\n{len(frame) - n_shown:,} more rows")
    return dg.MetadataValue.md("\n".join(lines))


def with_intervals(frame: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """Return a forecast with each interval in one column, such as `80 %`."""
    columns: dict[str, Any] = {
        f"{column_suffix(level)} %": [
            f"{_number(low)} to {_number(high)}" if math.isfinite(high) else None
            for low, high in frame[list(interval_columns([level]))].to_numpy(dtype=float)
        ]
        for level in levels
    }
    return frame.assign(**columns)


def svg_metadata(svg: str, *, alt: str) -> dg.MetadataValue:
    """Return a picture as a data URL in Markdown, which needs no server of its own."""
    data = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/svg+xml;base64,{data})")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: object) -> str:
    if isinstance(value, pd.Timestamp):
        is_day = value.tz is None and value == value.normalize()
        return str(value.date()) if is_day else value.isoformat(sep=" ", timespec="seconds")
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    words = (_shortened(word) for word in str(value).split())
    return escape_markdown(" ".join(words))


def _shortened(word: str) -> str:
    """Leave out the middle of a long word, as the UI does."""
    return word if len(word) <= MAX_WORD else f"{word[: MAX_WORD - 9]}…{word[-8:]}"


def _number(value: float) -> str:
    """Write a number with four significant digits, and all of its whole part."""
    magnitude = math.floor(math.log10(abs(value))) if value else 0
    return NumberFormat(min(max(DIGITS - 1 - magnitude, 0), MAX_DECIMALS)).text(value)
