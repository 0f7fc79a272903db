"""The errors that this package raises on purpose, and nothing else.

ForecastAssetsError
├── SettingsError        forecast.toml, or what it names, cannot be used
├── SourceError          the source cannot be read as it stands
│   └── SourceUnavailable    it may answer later: worth a retry
├── DataError            rows break a table's contract or the rules of a weekly series
├── ModelError           a model is unknown, or cannot be made
├── ComputeError         the workers cannot be reached, or cannot run what they are sent
└── StoreError           the store cannot be read or written
    ├── VersionNotFoundError       nothing stored answers to what was asked for
    ├── VersionPrunedError        its rows were deleted, as they can be made again
    └── MixedVintagesError        inputs that do not belong together

Every message is a paragraph: what and which, the consequence, and what mends it.
"""

from collections.abc import Iterable


class ForecastAssetsError(Exception):
    """Base of every error that this package raises on purpose."""


class SettingsError(ForecastAssetsError):
    """forecast.toml, or what it names, cannot be used."""


class SourceError(ForecastAssetsError):
    """The source cannot be read as it stands; trying again will not help."""


class SourceUnavailable(SourceError):
    """The source did not answer; it may, later: not before `after_seconds`, where it said so."""

    def __init__(self, message: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class DataError(ForecastAssetsError):
    """Rows break a table's contract or the rules of a weekly series."""


class ModelError(ForecastAssetsError):
    """A model is unknown, or cannot be made from its settings."""


class ComputeError(ForecastAssetsError):
    """The workers cannot be reached, or cannot run what they are sent."""


class StoreError(ForecastAssetsError):
    """The store cannot be read or written."""


class VersionNotFoundError(StoreError):
    """Nothing stored answers to the version, time, run or partition asked for."""


class VersionPrunedError(StoreError):
    """The rows of a version were deleted, as they can be made again."""


class MixedVintagesError(StoreError):
    """Inputs descend from different versions of the same table."""


# The names of version 0.1 until the next release.
UnknownVersion = VersionNotFoundError
PrunedVersion = VersionPrunedError
MixedVintages = MixedVintagesError


def format_list(items: Iterable[object], *, most: int = 5, of: int | None = None) -> str:
    """Join the first few items for a message, and count the rest; `of` is how many there are.

    Where that is None, the items are all.
    """
    every = [str(item) for item in items]
    rest = (len(every) if of is None else of) - most
    return ", ".join(every[:most]) + (f" and {rest} more" if rest > 0 else "")
