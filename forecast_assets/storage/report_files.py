"""Write the pages below `reports` that are derived from the store, and find pages edited by hand.

The pages of a week are recorded in `weekly_report` and never change: `Store.write_report_files`.
The index and the pages of the series are derived: no table records them, and each run, or
`forecast-assets site`, builds them from the store.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from forecast_assets.storage.commit import Commit
from forecast_assets.storage.delta import writing
from forecast_assets.storage.store import Store

REPORTS = "reports"
# The files of this kind that are not written again are deleted.
DERIVED = ("index.html", "series.html", "series/*.js")


def derived_files(var: Path) -> list[Path]:
    """List the derived pages, and what they load."""
    return [path for pattern in DERIVED for path in sorted((var / REPORTS).glob(pattern))]


def write_derived(store: Store, files: Mapping[str, str]) -> None:
    """Replace all derived pages by these files. Raises StoreError, naming the folder.

    `files` are by name below `reports`, in the order in which they are written. Each is written
    completely or not at all.
    """
    before = set(derived_files(store.var))
    store.write_report_files(REPORTS, files)
    with writing(f"the files of {REPORTS}", str(store.var), place="folder"):
        for path in before - {store.var / REPORTS / name for name in files}:
            path.unlink(missing_ok=True)


def edited_files(store: Store, report: Commit, folder: str) -> list[str]:
    """List the files of a version of `weekly_report` that are not as they were written.

    They lie in a folder below `reports`. Only files that were written to after the version was
    recorded are read, as `verify` reads all.
    """
    written_at = report.written_at
    files = [path for path in (store.var / REPORTS / folder).rglob("*") if path.is_file()]
    if written_at is None or all(p.stat().st_mtime <= written_at.timestamp() for p in files):
        return []
    records = store.read([report]).to_dict("records")
    return [
        str(record["file"])
        for record in records
        for path in [store.var / str(record["file"])]
        if path in files and hashlib.sha256(path.read_bytes()).hexdigest() != record["sha256"]
    ]
