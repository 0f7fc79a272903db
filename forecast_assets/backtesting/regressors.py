"""What each fold sees of the regressors: a row for each week up to the horizon after its cutoff.

`data.calendar` and `data.regressors` know the values; models use them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from forecast_assets.errors import format_list
from forecast_assets.models.base import NotForThisSeries, Positions, Values


@dataclass(frozen=True, eq=False)
class CommonColumns:
    """Columns that all series share; row 0 is the week that ends on `first`."""

    values: Values  # [W, C]
    first: np.datetime64  # day
    names: Sequence[str] = ()  # [C]
    _digests: dict[tuple[int, int], bytes] = field(default_factory=dict, repr=False)

    def digest(self, start: int, stop: int) -> bytes:
        """Return a digest of the rows start to stop - 1; each is computed once."""
        if (start, stop) not in self._digests:
            self._digests[start, stop] = _digests(self.values[start:stop], self.names)[-1]
        return self._digests[start, stop]


@dataclass(frozen=True, eq=False)
class FoldRegressors:
    """The regressors of one series: the columns that all series share, then its own.

    Row i is week i of the series; the rows go on to the horizon after its last week. `patches` are
    what folds see otherwise of `own`, by end, at positions of the flat array. NaN: not known.
    """

    names: Sequence[str]  # of all columns
    common: CommonColumns
    offset: int  # the row of `common` that is the series' first week
    own: Values  # [n + H, O]
    patches: Mapping[int, "tuple[Positions, Values]"] = field(default_factory=dict)

    def seen(self, end: int, start: int, stop: int) -> Values:
        """Return rows start to stop - 1 as the fold with this end sees them: [rows, columns]."""
        own = self.own[start:stop]
        if end in self.patches:
            positions, values = self.patches[end]
            width = self.own.shape[1]
            is_inside = (positions >= start * width) & (positions < stop * width)
            own = own.copy()
            own.reshape(-1)[positions[is_inside] - start * width] = values[is_inside]
        return np.hstack([self.common.values[self.offset + start : self.offset + stop], own])

    def digest(self, end: int, stop: int) -> bytes:
        """Return a digest of the first `stop` rows as the fold with this end sees them.

        Columns that are zero in all of these rows, such as later events, do not change it.
        """
        digest = hashlib.blake2b(self.common.digest(self.offset, self.offset + stop))
        if end in self.patches:
            width = self.common.values.shape[1]
            own = self.seen(end, 0, stop)[:, width:]
            digest.update(_digests(own, self._own_names)[-1])
        else:
            digest.update(self._own_digests[stop])
        return digest.digest()[:16]

    @cached_property
    def names_digest(self) -> bytes:
        """A digest of the names of all columns (16 bytes)."""
        return hashlib.blake2b("\n".join(self.names).encode(), digest_size=16).digest()

    def differs_before(self, end: int, anchor: int) -> bytes:
        """Return bytes that identify what the fold with this end sees otherwise up to an anchor."""
        if end not in self.patches:
            return b""
        positions, values = self.patches[end]
        n = np.searchsorted(positions, anchor * self.own.shape[1])
        return positions[:n].tobytes() + values[:n].tobytes()

    @property
    def content_digest(self) -> bytes:
        """A digest of all names, values and patches (16 bytes)."""
        n = len(self.own)
        digest = hashlib.blake2b(self.names_digest + self.digest(-1, n), digest_size=16)
        for end in self.patches:
            patch = self.differs_before(end, n)
            digest.update(b"%d %d " % (end, len(patch)) + patch)
        return digest.digest()

    @cached_property
    def _own_digests(self) -> Sequence[bytes]:
        """Digests of the first rows, by how many."""
        return _digests(self.own, self._own_names)

    @property
    def _own_names(self) -> Sequence[str]:
        return self.names[self.common.values.shape[1] :]


def _digests(values: Values, names: Sequence[str]) -> Sequence[bytes]:
    """Digest the first n rows, for n from 0 on: the row, name and value of each cell not zero."""
    rows, columns = np.nonzero(values)  # NaN is not zero
    hashes = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    label = np.array([int.from_bytes(each, signed=True) for each in hashes], dtype=np.int64)
    cells = np.stack([rows, label[columns], values[rows, columns].view(np.int64)], axis=1)
    stops = np.searchsorted(rows, np.arange(len(values)), side="right")
    digest = hashlib.blake2b(digest_size=16)
    digests, start = [digest.digest()], 0
    for stop in stops.tolist():
        digest.update(cells[start:stop].tobytes())
        digests.append(digest.digest())
        start = stop
    return digests


class TooFewKnown(NotForThisSeries):
    """The regressors are known for too few weeks so far, as if the series were short."""


def unknown_ahead(x: FoldRegressors, end: int, n_ahead: int) -> NotForThisSeries | None:
    """Return why the fold with this end has no forecast: what is unknown of the weeks ahead."""
    is_unknown = np.isnan(x.seen(end, end, end + n_ahead)).any(axis=0)
    if not is_unknown.any():
        return None
    has_begun = ~np.isnan(x.seen(end, 0, end)[:, is_unknown]).all(axis=0)
    missing = format_list([x.names[i] for i in np.flatnonzero(is_unknown).tolist()])
    error = NotForThisSeries if has_begun.all() else TooFewKnown
    return error(f"the regressor {missing} is not known for the weeks ahead")


def first_known_row(x: Values) -> int:
    """Return from which row on all regressors are known: [n, K]."""
    rows = np.flatnonzero(np.isnan(x).any(axis=1))
    return int(rows[-1]) + 1 if len(rows) else 0
