"""What the layers below the store raise becomes a paragraph; what is a mistake of ours does not."""

import pytest
from deltalake.exceptions import DeltaError

from forecast_assets.errors import StoreError
from forecast_assets.storage.delta import error_text, reading, writing


@pytest.mark.parametrize("error", [OSError("disk full"), DeltaError("disk full")])
def test_what_cannot_be_written_is_said(error: Exception):
    says = r"Could not write series in the store s3://b: disk full\. Nothing was half-written"
    with pytest.raises(StoreError, match=says), writing("series", "s3://b"):
        raise error


@pytest.mark.parametrize("error", [OSError("gone"), KeyError("gone"), ValueError("gone")])
def test_what_cannot_be_read_is_said(error: Exception):
    says = r"Could not read series in the store s3://b: '?gone'?\. Reading changes nothing"
    with pytest.raises(StoreError, match=says), reading("series", "s3://b"):
        raise error


def test_a_mistake_of_ours_stays_one():
    with pytest.raises(ZeroDivisionError), reading("series", "s3://b"), writing("series", "s3://b"):
        raise ZeroDivisionError


def test_what_a_layer_said_is_one_plain_line():
    assert (
        error_text(OSError("\x1b[31mno\x1b[0m such\n  file.\n  0: at x\n  1: at y"))
        == "no such file"
    )
    assert error_text(OSError()) == "OSError"
