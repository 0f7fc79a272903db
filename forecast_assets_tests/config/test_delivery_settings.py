"""`[deliver.NAME]`: what is refused, and what is hidden."""

import tomllib
from pathlib import Path

import pytest

from forecast_assets.config.loader import parse
from forecast_assets.config.settings import Settings
from forecast_assets.errors import SettingsError

SQL = '[deliver.erp]\nkind = "sql"\ntable = "t"\n'
FILE = '[deliver.{}]\nkind = "file"\npath = "numbers.csv"\n'
HUB = '[deliver.hub]\nkind = "hubverse"\npath = "hub"\nmodel_id = "a-b"\ntarget = "t"\n'


def parsed(text: str) -> Settings:
    """Parse the text of a forecast.toml."""
    return parse(tomllib.loads(text), root=Path("/root"), var=Path("/var"), origin="forecast.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SQL, r"`deliver\.erp\.url` field required"),
        (
            f'{SQL}url = ["x://a:s3cr3t@h/d"]',
            r"`deliver\.erp\.url`: input should be a valid string",
        ),
        (
            f'{SQL}url = "env:X"\ntabel = "t"',
            r"`deliver\.erp\.tabel` is unknown \(did you mean `tab",
        ),
        (
            SQL.replace("sql", "mail"),
            r"`deliver\.erp\.kind` is 'mail', which is none of: sql, file",
        ),
        (
            FILE.format("a").replace("csv", "txt"),
            r"the path ends with one of \.csv, \.parquet, \.xls",
        ),
        (
            FILE.format("a").replace("numbers.csv", "s3://key:s3cr3t@bucket/a.csv?sig=s3cr3t"),
            r"`deliver\.a\.path` is 's3://\*\*\*@bucket/a\.csv\?\*\*\*': the path ends",
        ),
        (
            FILE.format("a") + FILE.format("b"),
            r"`deliver\.a` and `deliver\.b` write to the same pla",
        ),
        (FILE.format('"a b"'), r"`deliver\.a b` is 'a b': string should match pattern"),
        (
            f"{HUB}quantiles = [0.5, 0.9]",
            r"`deliver\.hub` needs 2 quantiles that are not published",
        ),
        (
            f"[forecast]\nquantiles = [0.25, 0.5]\n{HUB}quantiles = [0.5, 0.9]",
            r"not published: 0\.9; set in \[forecast\]: quantiles = \[0\.25, 0\.5, 0\.9\]\.",
        ),
        (
            f"[forecast]\nquantiles = [0.5]\n{HUB}quantiles = [0.5]\n"
            + HUB.replace("deliver.hub", "deliver.again"),
            "the same place",
        ),
        (SQL + 'url = "env:X"\n' + SQL.replace("erp", "too") + 'url = "env:X"', "the same place"),
    ],
)
def test_what_cannot_work_is_refused_by_name(text: str, message: str):
    with pytest.raises(SettingsError, match=message) as raised:
        parsed(text)
    assert "s3cr3t" not in str(raised.value)


def test_secrets_are_masked():
    settings = parsed(f'{SQL}url = "postgresql://ann:s3cr3t@host/erp"')
    shown = settings.deliver["erp"].model_dump(mode="json")
    assert shown["url"] == "postgresql://host/erp"
    assert "s3cr3t" not in settings.model_dump_json()
