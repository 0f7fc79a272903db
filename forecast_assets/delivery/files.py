"""Deliver rows to a CSV, Parquet or Excel file, which is replaced as a whole."""

from datetime import datetime
from pathlib import PurePosixPath

from forecast_assets.config.delivery_settings import SUFFIXES, FileDelivery
from forecast_assets.config.redaction import resolve_env
from forecast_assets.data.sources.request import expand_as_of
from forecast_assets.delivery.batch import Batch, Written
from forecast_assets.delivery.formats import ENCODERS, Mark, read_mark
from forecast_assets.delivery.place import Place
from forecast_assets.delivery.safe_text import safe_cell
from forecast_assets.errors import DeliveryError, format_list


def write_file(delivery: FileDelivery, batch: Batch) -> Written:
    """Replace the file by the rows, and delete files with rows of withdrawn versions.

    Raises DeliveryError if the file exists and is not of this delivery, and if it cannot be
    written. It is then as it was.
    """
    n_taken_back = sum(_take_back(delivery, batch, time) for time in batch.withdrawn_times)
    if batch.rows is None or batch.as_of is None:
        return Written(delivery_path(delivery, batch, None), n_taken_back=n_taken_back)
    place = _place(delivery, batch, batch.as_of)
    content = ENCODERS[_suffix(place.address)](batch.kinds, batch.rows)
    before = place.read()
    if before is not None:
        _check_mark(before, place, delivery, batch)
    is_changed = before != content
    if is_changed:
        place.replace(content)
    n_rows = len(batch.rows)
    return Written(str(place), n_rows, n_rows * is_changed, n_taken_back)


def check_file(delivery: FileDelivery, batch: Batch, *, as_of: datetime) -> str:
    """Read the file that a delivery would replace, change nothing; return what was found."""
    place = _place(delivery, batch, as_of)
    before = place.read()
    if before is None:
        return f"{place} does not exist yet: the delivery creates it"
    _check_mark(before, place, delivery, batch)
    return f"{place} exists, and is replaced"


def delivery_path(delivery: FileDelivery, batch: Batch, as_of: datetime | None) -> str:
    """Return the path for messages; without a time with its `{as_of}`."""
    path = batch.settings.resolve_path(resolve_env(delivery.path))
    return str(Place(path if as_of is None else _expand(path, batch, as_of), prefix=""))


def _place(delivery: FileDelivery, batch: Batch, as_of: datetime) -> Place:
    path = _expand(batch.settings.resolve_path(resolve_env(delivery.path)), batch, as_of)
    return Place(path, prefix=batch.prefix)


def _expand(path: str, batch: Batch, as_of: datetime) -> str:
    return expand_as_of(path, as_of.astimezone(batch.settings.schedule.zone))


def _suffix(path: str) -> str:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise DeliveryError(
            f"The path of a delivery ends with {suffix or 'no suffix'}, so its format is unknown."
            f" Nothing was written. Let it end with one of {format_list(SUFFIXES)}."
        )
    return suffix


def _check_mark(content: bytes, place: Place, delivery: FileDelivery, batch: Batch) -> None:
    """Raise DeliveryError for a file that another program or another producer wrote."""
    mark = read_mark(_suffix(place.address), content)
    if mark is None or not _is_ours(mark, delivery):
        by = f"by {mark.producer}" if mark else "by another program"
        raise DeliveryError(
            f"{batch.prefix} was refused: {place} exists and was written {by}. It was not changed."
            f" Move the file away, or set another path in [deliver.{batch.name}]."
        )


def _is_ours(mark: Mark, delivery: FileDelivery) -> bool:
    """Return whether a file's first row is ours; a file without rows may be anybody's."""
    return mark.producer in (None, "", delivery.producer, safe_cell(delivery.producer))


def _take_back(delivery: FileDelivery, batch: Batch, time: datetime) -> int:
    """Delete the file if its rows are as of a withdrawn time; return the number of files."""
    place = _place(delivery, batch, time)
    content = place.read()
    mark = read_mark(_suffix(place.address), content) if content is not None else None
    if mark is None or not _is_ours(mark, delivery) or mark.as_of != time:
        return 0
    place.delete()
    return 1
