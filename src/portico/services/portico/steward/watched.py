"""An endpoint's log in memory, as its steward sees it: the newest predictions, and their labels as these come."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice, takewhile

import numpy as np

from portico.prediction.prediction_log import stream_of
from portico.services.call import Rooms
from portico.services.portico.joining import COLUMNS, Joined, Outcome
from portico.services.portico.steward.evidence import Rows, truth_of
from portico.store import labels, segments
from portico.store.segments import Segment, Segments

_KEEP = 20_000  # labelled predictions, and as many that wait for their label


@dataclass(slots=True)
class Window:
    """Labelled predictions in order of time, one for each label, and those passed over whose label can't be read."""

    rows: list[Outcome]
    unreadable: list[Outcome] = field(default_factory=list)


class Watched:
    """`refresh` before it is read.

    A label is one piece of evidence, however many predictions it was joined to: the newest of them stands for all.
    So is an instance that was asked again of the same moment, where `time_column` says which that is.
    """

    time_column = ""

    def __init__(self, rooms: Rooms, log_segments: Segments, endpoint: str) -> None:
        self.joined = Joined(_KEEP)
        self._rooms, self._segments, self.endpoint = rooms, log_segments, endpoint
        self._stream = stream_of(endpoint)
        self._last, self._newest = 0, -math.inf  # the newest segment, and the newest row
        with rooms.database.read() as connection:
            listed = segments.listed(connection, self._stream)
            self.change = labels.newest(connection, endpoint) - 4 * _KEEP  # of the newest label that was read
        rows = list(accumulate(segment.rows for segment in reversed(listed)))
        needed = next((n + 1 for n, held in enumerate(rows) if held >= 2 * _KEEP), len(listed))
        for segment in listed[len(listed) - needed :]:
            self._take(segment)

    def refresh(self) -> None:
        """Takes what predictions and labels have come since."""
        with self._rooms.database.read() as connection:
            made = segments.listed(connection, self._stream, after=self._last)
            fresh, self.change = labels.since(connection, self.endpoint, self.change)
        for segment in made:
            self._take(segment)
        self.joined.add_labels(fresh)

    def _take(self, segment: Segment) -> None:
        table = self._segments.read(segment, COLUMNS)
        if segment.first <= self._newest:  # it may have been merged with some that were read
            rows = takewhile(lambda row: row.time >= segment.first, reversed(self.joined.rows()))
            known = {row.request_id for row in rows}
            table = table.filter([int(number) not in known for number in table["request_id"].to_pylist()])
        self.joined.add_predictions(table)
        self._last, self._newest = segment.id, max(segment.last, self._newest)

    def of(self, deployed_id: str, classes: Sequence[str], most: int | None = None) -> list[Outcome]:
        """The labelled predictions that judge a deployed model, in order of time: all, or the newest so many.

        One for each label, of labels that can be read: numbers, or one of the `classes`.
        """
        return self.window(deployed_id, classes, most).rows

    def window(self, deployed_id: str, classes: Sequence[str], most: int | None = None) -> Window:
        """As `of`, with what was passed over because its label can't be read."""
        found = Window([])
        for row in self._distinct(r for r in self._newest_first(deployed_id) if r.judges and r.response):
            if len(found.rows) == most:
                break
            (found.rows if _readable(row, classes) else found.unreadable).append(row)
        return Window(found.rows[::-1], found.unreadable[::-1])

    def since(self, deployed_id: str, classes: Sequence[str], time: float) -> list[Outcome]:
        """As `of`, all that were made at `time` or later."""
        newer = takewhile(lambda row: row.time >= time, self._newest_first(deployed_id))
        return [r for r in self._distinct(r for r in newer if r.judges) if _readable(r, classes)][::-1]

    def before(self, time: float, classes: Sequence[str]) -> list[Outcome]:
        """As `of`, what judges any model and was predicted before `time`."""
        older = (r for r in reversed(self.joined.rows()) if r.time < time and r.judges)
        return [r for r in self._distinct(older) if _readable(r, classes)][::-1]

    def first(self, deployed_id: str, classes: Sequence[str], most: int) -> list[Outcome]:
        """As `of`, the oldest so many."""
        mine = (r for r in self.joined.rows() if r.judges and r.deployed_model_id == deployed_id)
        return list(islice((r for r in self._distinct(mine) if _readable(r, classes)), most))

    def labelled(self, deployed_id: str, classes: Sequence[str], most: int) -> list[Outcome]:
        """As `of`, with those that influenced their own label."""
        found = (r for r in self._newest_first(deployed_id) if r.label and _readable(r, classes))
        return list(islice(self._distinct(found), most))[::-1]

    def _distinct(self, rows: Iterator[Outcome]) -> Iterator[Outcome]:
        """Of the rows of a label the first, and of those of an instance at its moment."""
        moment = f'"{self.time_column}":' if self.time_column else ""
        names: set[str] = set()
        asked: set[str] = set()
        for row in rows:
            if row.label is not None:
                if row.label.name in names or row.request in asked:
                    continue
                names.add(row.label.name)
                if moment and moment in row.request:
                    asked.add(row.request)
            yield row

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


def _readable(row: Outcome, classes: Sequence[str]) -> bool:
    return row.label is not None and row.response != "" and math.isfinite(truth_of(row.label.truth, classes))
