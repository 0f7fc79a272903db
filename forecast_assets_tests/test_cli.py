"""The command line as a whole: how it helps, refuses, and behaves in a terminal and a pipe."""

from pathlib import Path

import pytest

from forecast_assets_tests.commands import call, configure, said
from forecast_assets_tests.stored import BAKE_OFF, make_store, write_predictions, write_series


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small forecast.toml that is in force; runs write below it."""
    return configure(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["history", "nope"], "Error: There is no asset 'nope', so no version of it. The assets"),
        (["show", "nope"], "Error: There is no asset 'nope'"),
        (["diff", "nope", "0", "1"], "Error: There is no asset 'nope'"),
        (["verify", "nope"], "Error: There is no asset 'nope'"),
        (["history", BAKE_OFF, "--partition", "x"], "has no version of a partition 'x'"),
        (["show", BAKE_OFF, "--partition", "x"], "nothing that answers to partition x"),
        (["show", "series", "--version", "9"], "answers to version 9: it has versions 0 to 0"),
        (["show", "series", "--run", "zz"], "nothing that answers to run zz"),
        (["show", "series", "--as-of", "2020-01-01"], "known on 2020-01-01T00:00:00+00:00"),
        (["show", "series", "--as-of", "Monday"], "'Monday' is no ISO 8601 time, such as 2026"),
        (["show", "metrics"], "it has no version at all"),
        (["diff", "series", "0", "9"], "answers to version 9"),
        (["run", "--as-of", "Monday"], "Error: `as_of` is 'Monday', which is no ISO 8601 time"),
        (["show", "series", "--version", "x"], "'x' is not a valid integer"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_2(folder: Path, args: list[str], says: str):
    store = make_store(folder)
    write_series(store, 1)
    write_predictions(store, "naive", 1)
    output = said(*args, exit_code=2)
    assert says in output
    assert "Traceback" not in output


def test_missing_settings_are_refused_with_2(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORECAST_CONFIG", str(folder / "other.toml"))
    for command in (["history", "series"], ["verify"], ["config"], ["run"]):
        assert "Error: There is no settings file" in said(*command, exit_code=2)


def test_an_unreadable_store_is_refused_with_2(folder: Path):
    (folder / "store").write_text("a file where the store must be")
    assert "Error: Could not read the history of series" in said("history", "series", exit_code=2)


def test_errors_go_to_stderr_and_answers_to_stdout(folder: Path):
    write_series(make_store(folder), 1)
    result = call("show", "nope", "--json")
    assert (result.stdout, result.stderr[:6]) == ("", "Error:")
    assert call("show", "series", "--json").stderr == ""
