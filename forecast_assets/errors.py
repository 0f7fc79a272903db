"""Define every error that this package raises on purpose.

ForecastAssetsError
├── SettingsError            forecast.toml, or something that it names, cannot be used
│   └── RunRefusedError          what was given for one run cannot be used, so it did nothing
├── SourceError              the source cannot be read; another try would fail too
│   └── SourceUnavailable        the source did not answer; another try may succeed
├── DataError                rows break a table's contract or the rules of a weekly series
├── ModelError               a model is unknown or cannot be created
├── ComputeError             the workers cannot be reached or cannot run a task
├── DeliveryError            a destination refuses rows; another try would fail too
│   └── DeliveryUnavailable      the destination did not take them; another try may succeed
└── StoreError               the store cannot be read or written
    ├── VersionNotFoundError     no stored version matches the request
    ├── VersionPrunedError       the rows of a version were deleted by `prune`
    ├── VersionWithdrawnError    a version was withdrawn, so nothing is made from it
    └── MixedVintagesError       inputs descend from different versions of one table

Every message states what happened and to what, the consequence, and the remedy.
"""

from collections.abc import Iterable


class ForecastAssetsError(Exception):
    """Base of every error that this package raises on purpose."""


class SettingsError(ForecastAssetsError):
    """forecast.toml, or something that it names, cannot be used."""


class RunRefusedError(SettingsError):
    """What was given for one run, such as its `as_of`, cannot be used, so the run did nothing."""


class SourceError(ForecastAssetsError):
    """The source cannot be read; another try would fail too."""


class SourceUnavailable(SourceError):
    """The source did not answer; another try may succeed.

    `after_seconds` is the shortest wait that the server asked for, 0 if it asked for none.
    """

    def __init__(self, message: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class DataError(ForecastAssetsError):
    """Rows break a table's contract or the rules of a weekly series."""


class ModelError(ForecastAssetsError):
    """A model is unknown or cannot be created from its settings."""


class ComputeError(ForecastAssetsError):
    """The workers cannot be reached or cannot run a task."""


class DeliveryError(ForecastAssetsError):
    """A destination refuses rows; another try would fail too."""


class DeliveryUnavailable(DeliveryError):
    """The destination did not take the rows; another try may succeed."""


class StoreError(ForecastAssetsError):
    """The store cannot be read or written."""


class VersionNotFoundError(StoreError):
    """No stored version matches the requested asset, partition, version, time or run."""


class VersionPrunedError(StoreError):
    """The rows of a version were deleted by `prune`."""


class VersionWithdrawnError(StoreError):
    """A version was withdrawn, so nothing is made from it."""


class MixedVintagesError(StoreError):
    """Inputs descend from different versions of one table."""


# The names of version 0.1, kept for one more release.
UnknownVersion = VersionNotFoundError
PrunedVersion = VersionPrunedError
MixedVintages = MixedVintagesError


def format_list(items: Iterable[object], *, limit: int = 5, total: int | None = None) -> str:
    """Join the first `limit` items for a message and count the rest, of `total` if it is given."""
    texts = [str(item) for item in items]
    n_more = (len(texts) if total is None else total) - limit
    return ", ".join(texts[:limit]) + (f" and {n_more} more" if n_more > 0 else "")
