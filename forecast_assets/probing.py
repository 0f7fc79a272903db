"""Whether a place can be written to, found out without leaving anything there."""

import tempfile
from pathlib import Path

import deltalake
import pyarrow as pa
from deltalake.fs import DeltaStorageHandler

from forecast_assets.layers import writing

PROBE = "_written_to_see_whether_it_can_be"


def try_writing(place: str) -> None:
    """Write to a folder, or to an object store's address, and leave nothing. Raises StoreError.

    Of a folder that is not there yet, the one that it would be made in is tried.
    """
    with writing("(as a trial)", place):
        if "://" in place:
            rows = pa.table({"written": [True]})
            deltalake.write_deltalake(f"{place}/{PROBE}", rows, mode="append")
            DeltaStorageHandler(place).delete_dir(PROBE)
            return
        path = Path(place)
        there = next(folder for folder in (path, *path.parents) if folder.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
