"""Encode rows as an Excel workbook (.xlsx) with one sheet, without a library.

openpyxl takes ten times as long for 130,000 rows. Every text is typed as a text, so that none is a
formula, and the same rows always give the same bytes.
"""

import io
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

import pandas as pd

from forecast_assets.delivery.columns import by_value
from forecast_assets.delivery.safe_text import without_control_characters
from forecast_assets.errors import DeliveryError
from forecast_assets.storage.contract import Kind

MAX_ROWS = 1_048_576  # of a sheet, with its header
MAX_TEXT = 32_767  # characters of a cell
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
FIRST_DAY = pd.Timestamp("1899-12-30")  # of Excel's calendar
ONE_DAY = pd.Timedelta(days=1)
# An archive has no earlier time.
SAVED_AT = (1980, 1, 1, 0, 0, 0)
FILES = {
    "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default'
    ' Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml"'
    f' ContentType="{TYPE}.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml"'
    f' ContentType="{TYPE}.worksheet+xml"/><Override PartName="/xl/styles.xml"'
    f' ContentType="{TYPE}.styles+xml"/><Override PartName="/docProps/core.xml"'
    ' ContentType="application/vnd.openxmlformats-package.core-properties+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1"'
    f' Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/><Relationship Id="rId2"'
    f' Type="{PACKAGE}/relationships/metadata/core-properties" Target="docProps/core.xml"/>'
    "</Relationships>",
    "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets><sheet'
    ' name="forecast" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship'
    f' Id="rId1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2"'
    f' Type="{OFFICE}/styles" Target="styles.xml"/></Relationships>',
    # The styles of cells: 0 as they are, 1 a day, 2 a time.
    "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><numFmts count="2"><numFmt numFmtId="164"'
    ' formatCode="yyyy\\-mm\\-dd"/><numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/>'
    '</numFmts><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts><fills'
    ' count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill'
    ' patternType="gray125"/></fill></fills><borders count="1"><border><left/><right/><top/>'
    '<bottom/><diagonal/></border></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs'
    ' count="3"><xf/><xf numFmtId="164" applyNumberFormat="1"/><xf numFmtId="165"'
    ' applyNumberFormat="1"/></cellXfs><cellStyles count="1"><cellStyle name="Normal" xfId="0"'
    ' builtinId="0"/></cellStyles></styleSheet>',
}
CORE = (
    f'<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>{producer}</dc:creator>'
    "<dc:identifier>{as_of}</dc:identifier></cp:coreProperties>"
)
SHEET = (
    f'<worksheet xmlns="{MAIN}"><sheetViews><sheetView workbookViewId="0"><pane ySplit="1"'
    ' topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews><sheetData>'
)
PROPERTY = re.compile(r"<dc:(creator|identifier)>([^<]*)<")


def encode_excel(kinds: Mapping[str, Kind], rows: pd.DataFrame) -> bytes:
    """Return a workbook; times are in UTC. Raises DeliveryError if a sheet cannot hold the rows."""
    if len(rows) >= MAX_ROWS:
        raise DeliveryError(
            f"A sheet of Excel holds {MAX_ROWS:,} rows with its header, and there are"
            f" {len(rows):,}. Nothing was written. Deliver CSV or Parquet."
        )
    header = "".join(map(_text, kinds))
    cells = [by_value(rows[name], CELLS[kind], missing="<c/>") for name, kind in kinds.items()]
    lines = ["".join(line) for line in zip(*cells, strict=True)]
    sheet = "</row><row>".join([header, *lines])
    mark = dict.fromkeys(("producer", "as_of"), "")
    if len(rows):
        first = rows.iloc[0]
        mark = {name: escape(str(first[name])) for name in mark if name in rows}
    files = {
        **FILES,
        "docProps/core.xml": CORE.format(**{"producer": "", "as_of": "", **mark}),
        "xl/worksheets/sheet1.xml": f"{SHEET}<row>{sheet}</row></sheetData></worksheet>",
    }
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, SAVED_AT)
            archive.writestr(info, HEADER + text, zipfile.ZIP_DEFLATED, compresslevel=1)
    return body.getvalue()


def read_properties(body: bytes) -> tuple[str, str]:
    """Return the producer and the time as of which a workbook's rows are. Raises ValueError."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            found = dict(PROPERTY.findall(archive.read("docProps/core.xml").decode()))
        return found["creator"], found["identifier"]
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError("it is no workbook of a delivery") from error


def _text(value: Any) -> str:
    text = escape(without_control_characters(str(value))[:MAX_TEXT])
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def _number(value: Any) -> str:
    return f"<c><v>{value!r}</v></c>" if math.isfinite(value) else _text(value)


def _day(value: pd.Timestamp) -> str:
    return f'<c s="1"><v>{(value - FIRST_DAY).days}</v></c>'


def _time(value: pd.Timestamp) -> str:
    plain = value.tz_convert("UTC").tz_localize(None) if value.tzinfo else value
    return f'<c s="2"><v>{(plain - FIRST_DAY) / ONE_DAY!r}</v></c>'


def _flag(value: Any) -> str:
    return f'<c t="b"><v>{int(value)}</v></c>'


CELLS: Mapping[Kind, Callable[[Any], str]] = {
    "string": _text,
    "float": _number,
    "int": _number,
    "bool": _flag,
    "date": _day,
    "datetime": _time,
    "timestamp": _time,
}
