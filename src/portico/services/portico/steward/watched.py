"""An endpoint's log in memory, as its steward sees it: the newest predictions, and their labels as these come."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, islice, takewhile

import numpy as np

from portico.prediction.prediction_log import stream_of
from portico.services.call import Rooms
from portico.services.portico.joining import COLUMNS, Joined, Outcome
from portico.services.portico.steward.evidence import Rows
from portico.store import labels, segments
from portico.store.segments import Segment, Segments

_KEEP = 20_000  # labelled predictions, and as many that wait for their label


class Watched:
    """Belongs to the watcher's process; `refresh` before it is read."""

    def __init__(self, rooms: Rooms, log_segments: Segments, endpoint: str) -> None:
        self.joined = Joined(_KEEP)
        self._rooms, self._segments, self.endpoint = rooms, log_segments, endpoint
        self._stream = stream_of(endpoint)
        self._last = 0  # the newest segment
        with rooms.database.read() as connection:
            listed = segments.listed(connection, self._stream)
            self.change = labels.newest(connection, endpoint) - 4 * _KEEP  # of the newest label that was read
        rows = list(accumulate(segment.rows for segment in reversed(listed)))
        needed = next((n + 1 for n, held in enumerate(rows) if held >= 2 * _KEEP), len(listed))
        for segment in listed[len(listed) - needed :]:
            self.take(segment)

    def take(self, segment: Segment) -> None:
        """Reads a new segment of the log, where it is one of this endpoint's; call it before it is merged."""
        if segment.stream == self._stream and segment.id > self._last:
            self.joined.add_predictions(self._segments.read(segment, COLUMNS))
            self._last = segment.id

    def refresh(self) -> None:
        """Takes what labels have come since."""
        with self._rooms.database.read() as connection:
            fresh, self.change = labels.since(connection, self.endpoint, self.change)
        self.joined.add_labels(fresh)

    def of(self, deployed_id: str, most: int | None = None) -> list[Outcome]:
        """The labelled predictions that judge a deployed model, in order of time: all, or the newest so many."""
        found = (r for r in self._newest_first(deployed_id) if r.judges)
        return list(islice(found, most))[::-1]

    def labelled(self, deployed_id: str, most: int) -> list[Outcome]:
        """The same, with those that influenced their own label."""
        return list(islice((r for r in self._newest_first(deployed_id) if r.label), most))[::-1]

    def newest(self, deployed_id: str, most: int) -> list[Outcome]:
        """The newest predictions of a deployed model, labelled or not, in order of time."""
        return list(islice(self._newest_first(deployed_id), most))[::-1]

    def after(self, deployed_id: str, place: tuple[float, int, int]) -> list[Outcome]:
        """The predictions of a deployed model that come after a place, in order of time."""
        return list(takewhile(lambda row: row.place > place, self._newest_first(deployed_id)))[::-1]

    def _newest_first(self, deployed_id: str) -> Iterator[Outcome]:
        return (row for row in reversed(self.joined.rows()) if row.deployed_model_id == deployed_id)

    def seconds(self, deployed_id: str, count: int) -> Rows:
        """The newest requests of a deployed model, with their latency in the place of the truth."""
        found = list(islice((r for r in self._newest_first(deployed_id) if r.index == 0), count))[::-1]
        return Rows(np.array([r.time for r in found]), np.array([r.seconds for r in found]))
