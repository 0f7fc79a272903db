"""Metadata of assets: what the UI shows about a frame beside its description."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.storage.contract import TableContract

N_ROWS_SHOWN = 25


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


def first_rows(frame: pd.DataFrame, *, first: Sequence[str] = ()) -> dg.MetadataValue:
    """Return the first rows as a table that the UI can open, with some columns in front.

    The UI shows three or four columns without scrolling.
    """
    frame = frame[[*first, *frame.columns.difference(list(first), sort=False)]]
    records = [
        dg.TableRecord({str(name): _cell(value) for name, value in row.items()})
        for row in frame.head(N_ROWS_SHOWN).to_dict("records")
    ]
    types = {"f": "float", "i": "int", "b": "bool"}
    columns = [
        dg.TableColumn(str(name), types.get(dtype.kind, "string"))
        for name, dtype in frame.dtypes.items()
    ]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def svg_metadata(svg: str, *, alt: str) -> dg.MetadataValue:
    """Return a picture as a data URL in Markdown, which needs no server of its own."""
    data = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/svg+xml;base64,{data})")


def _cell(value: object) -> str | int | float | bool | None:
    if isinstance(value, pd.Timestamp):
        is_day = value.tz is None and value == value.normalize()
        return str(value.date()) if is_day else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
