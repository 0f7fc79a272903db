"""The command `replay`: its options, its output and its exit codes."""

from pathlib import Path

from forecast_assets_tests.cli_runner import invoke, records

TIMES = ("--from", "2024-09-20", "--to", "2024-09-30")
NEAREST = (*TIMES, "--missing-vintage", "nearest")


def test_the_weeks_are_replayed_below_the_folder(folder: Path):
    result = invoke("replay", *NEAREST)
    assert result.exit_code == 0, result.output
    *lines, last = result.output.splitlines()
    assert [line.split(" UTC;")[0] for line in lines] == [
        "1 of 2: the week as of 2024-09-23 00:00",
        "2 of 2: the week as of 2024-09-30 00:00",
    ]
    assert last == f"2 weeks are in the store {folder}/replay/store"
    assert not (folder / "store").exists()
    weeks = records("replay", *NEAREST)
    assert [week["as_of"][:10] for week in weeks] == ["2024-09-23", "2024-09-30"]
    compared = records("compare-rules", "--store", f"{folder}/replay/store")
    assert {row["n_weeks"] for row in compared} == {6}  # five of the newest backtest, and one
    other = invoke("replay", *NEAREST, "--no-vintages")
    assert other.exit_code == 2
    assert "holds 2 weeks that were replayed with other settings" in other.output


def test_a_replay_without_vintages_or_with_a_wrong_interval_is_refused(folder: Path):
    result = invoke("replay", *TIMES)
    assert result.exit_code == 2
    assert "2 of 2 ticks have no vintage" in result.output
    assert "use the nearest vintage of each with `--missing-vintage nearest`" in result.output
    result = invoke("replay", *NEAREST, "--every", "10d")
    assert result.exit_code == 2
    assert "`every` is '10d', which is not a number of weeks" in result.output
    assert not (folder / "replay").exists()
