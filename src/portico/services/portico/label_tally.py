"""How many predictions have a label: what `Joined` finds, by the indexes of the log's segments alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from portico.services.portico import key_index
from portico.services.portico.key_index import IDS, Columns, Indexes, Place, columns_of
from portico.store.labels import key_of
from portico.store.segments import Segment


class _Owner(NamedTuple):
    """The prediction that a label with a time means: its place, its segment, and its number there."""

    place: Place
    segment: int
    row: int


class Tally:
    """`names` are those of all labels."""

    def __init__(self, names: Iterable[str], indexes: Indexes) -> None:
        self.predictions = 0
        self._labelled = 0
        self._indexes = indexes
        self._plain: dict[Columns, list[str]] = defaultdict(list)
        self._timed: dict[Columns, list[str]] = defaultdict(list)
        for name in names:
            kind = IDS if name.startswith("id:") else columns_of(key_of(name))
            (self._timed if name.startswith("at:") else self._plain)[kind].append(name)
        self._used: set[str] = set()

    def add(self, stream: Iterable[Segment]) -> None:
        """Counts the segments of a stream, all of them at once."""
        stream = list(stream)
        owned: dict[int, set[int]] = defaultdict(set)
        for kind, names in self._timed.items():
            found = owners(self._indexes, stream, kind, names)
            self._used |= found.keys()
            for one in found.values():
                owned[one.segment].add(one.row)
        hashed = {kind: key_index.hashes(names) for kind, names in self._plain.items()}
        for segment in stream:
            self._count(segment, hashed, owned[segment.id])

    def _count(self, segment: Segment, hashed: dict[Columns, Any], owned: set[int]) -> None:
        import numpy as np

        rows = [np.array(sorted(owned), np.uint64)]
        for kind, hashes in hashed.items():
            index = self._indexes.of(segment, kind)
            begins, ends = index.spans(hashes)
            self._used |= {self._plain[kind][at] for at in np.flatnonzero(ends > begins)}
            rows.append(index.rows(begins, ends))
        # One that is read anyway, if there is one.
        kind = min(hashed or self._timed)
        self.predictions += self._indexes.of(segment, kind).instances
        self._labelled += len(np.unique(np.concatenate(rows)))

    def labelled(self) -> int:
        """How many predictions have a label."""
        return self._labelled

    def used(self) -> set[str]:
        """The labels that have a prediction."""
        return self._used


def owners(
    indexes: Indexes, stream: Iterable[Segment], columns: Columns, names: list[str]
) -> dict[str, _Owner]:
    """For labels with a time ("at:…"), all by keys of these columns, the newest prediction of their key at or before
    it; not those that have none in these segments."""
    import numpy as np

    hashes = key_index.hashes(map(key_of, names))
    times = key_index.microseconds([time_of(name) for name in names])
    newest = np.full(len(names), np.iinfo(np.int64).min)
    found: dict[str, _Owner] = {}
    for segment in sorted(stream, key=lambda one: one.last, reverse=True):
        first, last = segment.first * 1e6 - 1, segment.last * 1e6 + 1
        open_ = np.flatnonzero((newest <= last) & (times >= first))
        if not len(open_):
            continue
        for at, place, row in indexes.of(segment, columns).newest(hashes[open_], times[open_]):
            name = names[open_[at]]
            if name not in found or found[name].place < place:
                found[name] = _Owner(place, segment.id, row)
                newest[open_[at]] = place.time
    return found


def time_of(timed: str) -> float:
    """The time in a label's name, "at:TIME:key:…"."""
    return float(timed.split(":", 2)[1])
