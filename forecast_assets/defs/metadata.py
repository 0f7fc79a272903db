"""Metadata of assets: what the UI shows about a frame beside its description."""

import base64
import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from forecast_assets.storage.contract import Kind, TableContract

N_ROWS_SHOWN = 25
DAGSTER_TYPES: Mapping[Kind, str] = {
    "string": "string",
    "float": "float",
    "int": "int",
    "bool": "bool",
    "date": "date",
    "datetime": "datetime",
    "timestamp": "datetime (UTC)",
}


def column_schema(table: TableContract) -> dg.TableSchema:
    """Return a contract for the UI: columns, types, descriptions, the key, the rules."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                DAGSTER_TYPES[column.kind],
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


def first_rows(frame: pd.DataFrame) -> dg.MetadataValue:
    """Return the first rows as a table that the UI can open."""
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


def columns_first(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Move columns to the front: the UI shows three or four without scrolling."""
    return frame[[*names, *frame.columns.difference(names, sort=False)]]


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
