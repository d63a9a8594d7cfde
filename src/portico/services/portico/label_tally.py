"""How many predictions have a label, counted as they stream by: what `Joined` finds, without keeping predictions."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import Any, ClassVar, NamedTuple

import orjson

from portico.services.portico.joining import keys_of


class _Place(NamedTuple):
    time: float
    request_id: int
    instance: int
    labelled: bool  # by a request id or a key, whatever the times are


class Tally:
    """`names` are those of all labels. What stays in memory of the predictions is where those are whose key has labels
    with a time."""

    COLUMNS: ClassVar = ("logging_time", "request_id", "caller_request_id", "request_payload")

    def __init__(self, names: set[str]) -> None:
        self.predictions = 0
        self._names = names
        self._used: set[str] = set()
        self._labelled = 0
        self._timed: dict[str, list[tuple[float, str]]] = defaultdict(list)
        self._places: dict[str, list[_Place]] = defaultdict(list)
        columns = set()
        for name in names:
            if name.startswith("at:"):
                _, time, key = name.split(":", 2)
                self._timed[key].append((float(time), name))
                columns.add(columns_of(key))
            elif name.startswith("key:"):
                columns.add(columns_of(name))
        self._columns = columns

    def add(self, table: Any) -> None:
        """Takes rows of a prediction log: an Arrow table with `COLUMNS`."""
        import pyarrow.compute as pc

        payloads = table["request_payload"]
        numbers = [int(number) for number in table["request_id"].to_pylist()]
        callers = table["caller_request_id"].to_pylist()
        times = table["logging_time"].to_pylist() if self._columns else []
        if not self._columns:
            for number, caller, count in zip(
                numbers, callers, pc.list_value_length(payloads).to_pylist(), strict=True
            ):
                for index in range(count):
                    self._count(self._by_id(number, caller, index))
            return
        for number, caller, time, texts in zip(numbers, callers, times, payloads.to_pylist(), strict=True):
            for index, text in enumerate(texts):
                labelled = self._by_id(number, caller, index)
                keys = list(keys_of(orjson.loads(text), self._columns))
                found = [key for key in keys if key in self._names]
                self._used.update(found)
                self._count(labelled or bool(found))
                for key in keys:
                    if key in self._timed:
                        place = _Place(time.timestamp(), number, index, labelled or bool(found))
                        self._places[key].append(place)

    def _count(self, labelled: bool) -> None:
        self.predictions += 1
        self._labelled += labelled

    def _by_id(self, number: int, caller: str | None, index: int) -> bool:
        found = [n for n in (f"id:{index}:{number}", f"id:{index}:{caller}") if n in self._names]
        self._used.update(found)
        return bool(found)

    def _matched(self) -> dict[str, _Place]:
        """The prediction of each label with a time: the newest of its key at or before it."""
        found = {}
        for key, places in self._places.items():
            places.sort()
            for time, name in self._timed[key]:
                if at := bisect_right(places, time, key=lambda place: place.time):
                    found[name] = places[at - 1]
        return found

    def labelled(self) -> int:
        """How many predictions have a label."""
        return self._labelled + len({place for place in self._matched().values() if not place.labelled})

    def used(self) -> set[str]:
        """The labels that have a prediction."""
        return self._used | self._matched().keys()


def columns_of(key: str) -> tuple[str, ...]:
    """The columns of a key ("key:…")."""
    return tuple(orjson.loads(key[4:])[0])
