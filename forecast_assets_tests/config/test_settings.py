"""forecast.toml: the defaults, and the messages that refuse what cannot be used."""

import re
import tomllib
import traceback
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from forecast_assets.config.loader import load, parse
from forecast_assets.config.redaction import resolve_env
from forecast_assets.config.series_settings import matches_any
from forecast_assets.config.settings import (
    ROOT,
    ModelSettings,
    Settings,
    parse_duration,
)
from forecast_assets.errors import SettingsError

FILE = '[source]\nkind = "file"\npath = "a.csv"\n'
HIDDEN = "hunter2"


def parsed(text: str) -> Settings:
    """Parse the text of a forecast.toml."""
    given = tomllib.loads(text)
    return parse(given, root=Path("/root"), var=Path("/var"), origin="forecast.toml")


def test_the_file_of_the_checkout_holds_the_defaults_and_the_units_of_the_demo():
    here, default = load({}).model_dump(), parsed("").model_dump()
    assert here["series"].pop("units")["us_*"] == "thousand barrels a day"
    assert default["series"].pop("units") == {}
    assert here == default


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        ('[notify]\nurls = ["env:OPS"]', "urls", ["env:OPS"]),
        ('[notify]\nurls = ["mailto://me:secret@host"]', "urls", ["mailto://***"]),
        ('[notify]\nurls = ["a secret alone"]', "urls", ["***"]),
        ('[source]\nkind = "file"\npath = "data/x.csv"', "path", "data/x.csv"),
        ('[source]\nkind = "file"\npath = "s3://key:secret@b/x.csv"', "path", "s3://b/x.csv"),
        ('[source]\nkind = "file"\npath = "https://me:se@h/x?sig=se"', "path", "https://h/x"),
        ('[source]\nkind = "file"\npath = "filecache::https://me:se@h/x"', "path", "***"),
    ],
)
def test_secrets_are_masked(text: str, key: str, shown: object):
    settings = parsed(text)
    table = settings.notify if key == "urls" else settings.source
    assert table.model_dump(mode="json")[key] == shown


@pytest.mark.parametrize("table", ["[notify]", "[[notify.rules]]", "[notfy]", "[models.mine]"])
@pytest.mark.parametrize("given", ['urls = "{}"', 'url = ["{}"]', 'urls = [["{}"]]'])
def test_no_traceback_shows_a_secret(table: str, given: str):
    text = f"{table}\n{given.format(f'mailto://me:{HIDDEN}@host')}"
    with pytest.raises(SettingsError, match=r"cannot be used: .*(unknown|should)") as refused:
        parsed(text)
    assert HIDDEN not in "".join(traceback.format_exception(refused.value))


def test_a_name_matches_an_equal_or_a_matching_pattern():
    for name, pattern in (("us_a", "us_*"), ("a\nb", "*"), ("a[1]", "a[1]"), ("a1", "a[1]")):
        assert matches_any(name, ["nothing", pattern])
    for name, pattern in (("us_a", "US_*"), ("us_a", "us_"), ("a[1]", "a[1]*")):
        assert not matches_any(name, ["nothing", pattern])
    assert not matches_any("a", [])


def test_a_secret_comes_from_the_environment():
    assert resolve_env("env:OPS", {"OPS": "json://host"}) == "json://host"
    assert resolve_env("json://host", {}) == "json://host"
    with pytest.raises(SettingsError, match=r"the environment has no OPS, so .* Set OPS where"):
        resolve_env("env:OPS", {"OPS": ""})


def test_a_duration_is_a_number_and_its_unit():
    hours = [parse_duration(text) / timedelta(hours=1) for text in ("30m", "6h", "2d")]
    assert hours == [0.5, 6, 48]


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        parsed("").series.season_length = 4  # type: ignore[misc]


def test_a_table_with_a_factory_is_a_model_and_one_without_changes_a_model():
    text = '[models.mine]\nfactory = "team.models:Mine"\nparams = { depth = 3 }\n[models.theta]'
    models = {"mine": ModelSettings(factory="team.models:Mine", params={"depth": 3})}
    assert parsed(text).models.by_name == {**models, "theta": ModelSettings()}


@pytest.mark.parametrize(
    ("text", "table", "key", "value"),
    [
        ("[source]", "source", "kind", "demo"),
        ('[compute]\ndask_address = "tls://s:8786"', "compute", "dask_address", "tls://s:8786"),
        ('[compute]\ncluster.slurm.q = "a"', "compute", "cluster", {"slurm": {"q": "a"}}),
        ("[compute]\ncluster.local = {}", "compute", "cluster", {"local": {}}),
        ("[models.theta]\nrefit_every = 520", "models", "theta", ModelSettings(refit_every=520)),
        ("[series]\nranges.a = [0, inf]", "series", "ranges", {"a": (0, float("inf"))}),
        (f'{FILE}unique_id = ["a", "b"]', "source", "columns", ("a", "b", "ds", "y")),
        (f'{FILE}unique_id = "a"\nds = "a"', "source", "columns", ("a", "y")),
    ],
)
def test_a_setting_has_its_value(text: str, table: str, key: str, value: object):
    assert getattr(getattr(parsed(text), table), key) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # misspelt: the nearest that exists is named
        ("[serie]", "`serie` is unknown (did you mean `series`?)"),
        ("[series]\nfreqency = 1", "`series.freqency` is unknown (did you mean `frequency`?)"),
        ("[source]\nkindd = 1", "`source.kindd` is unknown (did you mean `kind`?)"),
        ('[source]\nkind = "file"\npaht = 1', "`source.paht` is unknown (did you mean `path`?)"),
        ("[models]\nenable = []", "`models.enable` is unknown (did you mean `enabled`?)"),
        ("[models.m]\nrefit_evry = 2", "`models.m.refit_evry` is unknown (did you mean `refit_e"),
        ("[compute]\ndask = 1", "`compute.dask` is unknown (did you mean `dask_address`?)"),
        ('root = "x"', "`root` is unknown"),
        # a wrong type
        ("series = 1", "`series` is 1: input should be a valid table"),
        ('[series]\nseason_length = "52"', "`series.season_length` is '52': input should be a val"),
        ("[backtest]\nstep = true", "`backtest.step` is True: input should be a valid integer"),
        ('[source]\nkind = "file"\npath = 3', "`source.path` is 3: input should be a valid string"),
        ('[forecast]\nlevels = ["80"]', "`forecast.levels.0` is '80': input should be a valid"),
        (f"{FILE}unique_id = 3", "`source.unique_id` is 3: give the name of a column, or a list"),
        (f"{FILE}unique_id = []", "`source.unique_id` is []: give the name of a column, or a li"),
        (f'{FILE}unique_id = ["a", "a"]', "is ['a', 'a']: give the names of different columns"),
        (f"{FILE}skip_rows = -1", "`source.skip_rows` is -1: input should be greater than or eq"),
        (f'{FILE}separator = ";;"', "`source.separator` is ';;': string should match pattern"),
        (f'{FILE}separator = "a"', "`source.separator` is 'a': string should match pattern"),
        (f'{FILE}encoding = "utf-9"', "`source.encoding` is 'utf-9': no such text encoding; com"),
        (f'{FILE}encoding = "hex"', "`source.encoding` is 'hex': no such text encoding; common"),
        (f'{FILE}decimal = ";"', "`source.decimal` is ';': input should be '.' or ','"),
        (f'{FILE}decimal = ","\nthousands = ","', "`decimal` and `thousands` have to differ"),
        (f'{FILE}overlap = "last"', "`source.overlap` is 'last': input should be 'report', 'once"),
        ('[source]\nkind = "sql"\nurl = "a"\ntable = "b"\nskip_rows = 1', '= "file" or "http"`'),
        # a wrong type of what may be a secret
        ('[source]\nkind = "http"\nurl = ["a"]', "`source.url`: input should be a valid string"),
        ('[source]\nkind = "http"\nheaders = "a"', "`source.headers`: input should be a valid tab"),
        # out of range
        ("[forecast]\nminimum = nan", "`forecast.minimum` is nan: input should be a finite number"),
        ('[source]\nkind = "http"\ntotal_seconds = 1e9', "`source.total_seconds` is 1000000000."),
        ('[source]\nkind = "http"\npaging.kind = "x"', "`source.paging.kind` is 'x', which is n"),
        ("[series]\nseason_length = 0", "`series.season_length` is 0: input should be greater"),
        ('[series]\nfrequency = "D"', "`series.frequency` is 'D': input should be 'W-MON', 'W-TUE"),
        ("[forecast]\nlevels = [nan]", "`forecast.levels.0` is nan: input should be"),
        ("[forecast]\nlevels = []", "`forecast.levels` is []: list should have at least 1 item"),
        ("[forecast]\nlevels = [95, 80]", "is [95, 80]: levels must ascend, each given once"),
        ("[forecast]\nquantiles = [0.3333333]", "quantiles have at most 6 decimals"),
        ('[models]\nenabled = ["a", "b", "a"]', "is ['a', 'b', 'a']: given more than once: a"),
        ('[models]\nenabled = ["a-b"]', "`models.enabled.0` is 'a-b': string should match pattern"),
        ('[models]\nenabled = ["combination_mean"]', "combinations always compete; remove combi"),
        ('[source]\nkind = "ftp"', "`source.kind` is 'ftp', which is none of: demo, file, http, s"),
        ('[source]\nkind = "file"\npath = ""', "`source.path` is '': string should have at least "),
        ('[source]\nkind = "file"', "`source.path` field required"),
        ('[source]\npath = "x"', '`source.path` needs `source.kind = "file"`'),
        ('[models.mine]\nfactory = "x"', "`models.mine.factory` is 'x': string should match"),
        ('[models.mine]\nparams = "x"', "`models.mine.params` is 'x': input should be a valid tab"),
        ("[models]\nmine = 3", "`models.mine` is unknown. Nothing ran"),
        ("[compute]\nfold_seconds = 0", "`compute.fold_seconds` is 0: input should be greater"),
        ('[compute]\ndask_address = "localhost:8786"', "is 'localhost:8786': string should matc"),
        ("[compute]\ncluster.slurm = {}\ncluster.local = {}", "table should have at most 1 i"),
        ('[compute]\ndask_address = "a://b"\ncluster.c = {}', "`cluster` exclude each other: give"),
        ('[schedule]\ntimezone = "Europe/Berln"', "no such time zone; nearest: Europe/Berlin,"),
        ('[schedule]\ncron = "weekly"', "`schedule.cron` is 'weekly': a cron expression has five "),
        ('[schedule]\ndeadline = "6 hours"', "`schedule.deadline` is '6 hours': string should"),
        ("[data_quality]\nrevisd = 1", "`data_quality.revisd` is unknown (did you mean `revised`"),
        ("[series]\nranges.a = [2, 1]", "`series.ranges.a` is [2, 1]: the first number must be"),
        (
            '[selection.pinned]\na = "loess"',
            "`selection.pinned` names models that do not compete: l",
        ),
        ("[verdict]\n[data_quality]", "`[verdict]` is the old name of `[data_quality]`, and both"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_name(text: str, message: str):
    with pytest.raises(SettingsError, match=re.escape(message)):
        parsed(text)


def test_all_problems_are_reported_at_once():
    with pytest.raises(
        SettingsError,
        match=r"^2 settings in forecast\.toml cannot be used: `backtest\.horizon` is 0: .*;"
        r" `backtest\.steps` is unknown \(did you mean `step`\?\)\. Nothing ran\. Correct"
        r" the file; docs/settings\.md lists every setting and its default\.$",
    ):
        parsed("[backtest]\nhorizon = 0\nsteps = 2")


def test_the_environment_names_the_file_and_the_folder_of_the_output(tmp_path: Path):
    """An empty variable counts as unset."""
    path, root = tmp_path / "my.toml", tmp_path.resolve()
    path.write_text("[backtest]\nhorizon = 3", encoding="utf-8-sig")
    settings = load({"FORECAST_CONFIG": str(path), "FORECAST_VAR": ""})
    assert (settings.backtest.horizon, settings.root, settings.var) == (3, root, root / "var")
    settings = load({"FORECAST_CONFIG": "", "FORECAST_VAR": str(tmp_path / "elsewhere")})
    assert (settings.root, settings.store_uri) == (ROOT, str(root / "elsewhere" / "store"))


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path):
    with pytest.raises(
        SettingsError,
        match=r"There is no settings file .*no\.toml\. Nothing ran\. Set FORECAST_CONFIG to the"
        r" path of your forecast\.toml or restore that file; an empty file uses every default\.",
    ):
        load({"FORECAST_CONFIG": str(tmp_path / "no.toml")})


@pytest.mark.parametrize("content", [b"[series", b"series: weekly", b"\xff\xfe[series]", None])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes | None):
    path = tmp_path / "forecast.toml"
    path.write_bytes(content) if content else path.mkdir()
    message = r"The settings file .*forecast\.toml cannot be read: .+\. Nothing ran\. Correct"
    with pytest.raises(SettingsError, match=message):
        load({"FORECAST_CONFIG": str(path)})


@pytest.mark.parametrize(
    ("uri", "where"),
    [
        ("var/store", "/var/store"),
        ("./var/store", "/var/store"),
        ("var", "/var"),
        ("data/store", "/root/data/store"),
        (".", "/root"),
        ("/absolute", "/absolute"),
        ("s3://bucket/store", "s3://bucket/store"),
    ],
)
def test_relative_paths_start_at_the_root_or_at_var(uri: str, where: str):
    assert parsed(f'[store]\nuri = "{uri}"').store_uri == where
