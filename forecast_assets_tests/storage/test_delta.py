"""Storage errors become messages with a remedy, and the test write leaves nothing behind."""

from pathlib import Path

import pytest
from deltalake.exceptions import DeltaError

from forecast_assets.errors import StoreError
from forecast_assets.storage.delta import error_text, reading, try_writing, writing
from forecast_assets_tests.s3_server import keys


@pytest.mark.parametrize("error", [OSError("it failed"), DeltaError("it failed")])
def test_a_failed_write_or_read_becomes_a_store_error(error: Exception):
    message = r"Could not write series in the store s3://b: it failed\. Earlier versions are unch"
    with pytest.raises(StoreError, match=message), writing("series", "s3://b"):
        raise error
    message = r"Could not read series in the store s3://b: it failed\. Nothing that needs it"
    with pytest.raises(StoreError, match=message), reading("series", "s3://b"):
        raise error


@pytest.mark.parametrize("error", [KeyError("damage"), ValueError("damage")])
def test_damage_that_is_read_becomes_a_store_error(error: Exception):
    with pytest.raises(StoreError, match="damage"), reading("series", "s3://b"):
        raise error


def test_a_programming_error_is_not_translated():
    with pytest.raises(ZeroDivisionError), reading("series", "s3://b"), writing("series", "s3://b"):
        raise ZeroDivisionError


def test_an_error_text_is_one_plain_line():
    error = OSError("\x1b[31mno\x1b[0m such\n  file.\n  0: at x\n  1: at y")
    assert error_text(error) == "no such file"
    assert error_text(OSError()) == "OSError"


def test_a_test_write_leaves_a_folder_unchanged(tmp_path: Path):
    try_writing(str(tmp_path))
    try_writing(str(tmp_path / "not" / "there" / "yet"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("object_store")
def test_a_test_write_leaves_an_object_store_unchanged():
    try_writing("s3://bucket/store")
    assert keys() == []


def test_a_location_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for location in (str(tmp_path / "file"), str(tmp_path / "file" / "below"), "nope://b/store"):
        with pytest.raises(
            StoreError, match=rf"Could not write a test file in the store {location}"
        ):
            try_writing(location)
