"""Frames to Arrow tables and back, by the kinds of a table's contract."""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

from forecast_assets.schema import Kind, Table

ARROW: Mapping[Kind, pa.DataType] = {
    "string": pa.string(),
    "float": pa.float64(),
    "int": pa.int64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "timestamp": pa.timestamp("us", "UTC"),
}
PANDAS: Mapping[Kind, str] = {
    "date": "datetime64[ns]",
    "datetime": "datetime64[ns]",
    "timestamp": "datetime64[ns, UTC]",
}  # where pyarrow would give another unit
KINDS: Mapping[pa.DataType, Kind] = {arrow: kind for kind, arrow in ARROW.items()}


def to_arrow(table: Table, frame: pd.DataFrame) -> pa.Table:
    """An arranged frame in the types that the store keeps."""
    schema = pa.schema(
        [pa.field(column.name, ARROW[column.kind], nullable=True) for column in table.columns]
    )
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)


def from_arrow(arrow: pa.Table) -> pd.DataFrame:
    """Stored rows as a frame, each column in its kind's dtype, under whatever contract written."""
    frame = arrow.to_pandas(date_as_object=False)
    times = {name: PANDAS[kind] for name, kind in kinds_of(arrow).items() if kind in PANDAS}
    typed: pd.DataFrame = frame.astype(times)
    return typed


def kinds_of(arrow: pa.Table) -> dict[str, Kind]:
    """The kind of each stored column. Raises KeyError for a type that no contract has."""
    return {name: KINDS[arrow.field(name).type] for name in arrow.column_names}
