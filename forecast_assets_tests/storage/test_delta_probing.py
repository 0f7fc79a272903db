"""Trying whether a place can be written to leaves nothing there."""

from pathlib import Path

import pytest

from forecast_assets.errors import StoreError
from forecast_assets.storage.delta import try_writing
from forecast_assets_tests.object_store import keys


def test_a_folder_is_left_as_it_was(tmp_path: Path):
    try_writing(str(tmp_path))
    try_writing(str(tmp_path / "not" / "there" / "yet"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            StoreError, match=r"Could not write \(as a trial\) in the store /.*file"
        ):
            try_writing(str(place))


def test_an_object_store_is_left_as_it_was(object_store_address: str):
    try_writing("s3://bucket/store")
    assert keys(object_store_address) == []


def test_an_object_store_that_does_not_answer_is_refused():
    with pytest.raises(StoreError, match=r"Could not write \(as a trial\) in the store nope://b"):
        try_writing("nope://b/store")
