"""Predictions and their truth, joined as either comes: in any order, late, and corrected.

By request id wins over by key and time, which wins over by key alone (see `labels`). What comes out does not depend
on the order in which predictions and labels came in.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

import msgspec
import orjson

from portico.errors import InvalidArgument
from portico.ml import values
from portico.store.labels import Label

COLUMNS = ("deployed_model_id", "model", "model_version", "logging_time", "request_id", "caller_request_id",
           "request_payload", "response_payload", "latency_seconds", "holdout")  # fmt: skip

_Timed = tuple[float, str]


class Outcome(msgspec.Struct, eq=False):
    """A prediction, and its label once there is one.

    `time` is when it was made, in domain seconds; `index` its place in the request; `request` and `response` are the
    instance and the prediction as JSON texts; `seconds` is how long the whole request took; `holdout` whether the
    answer said that it must not be acted upon.
    """

    time: float
    request_id: int
    index: int
    caller_id: str
    deployed_model_id: str
    model: str
    model_version: str
    request: str
    response: str
    seconds: float
    holdout: bool = False
    label: Label | None = None
    _keys: tuple[str, ...] = ()
    _timed: tuple[_Timed, ...] = ()

    @property
    def instance(self) -> Any:
        return orjson.loads(self.request)

    @property
    def output(self) -> Any:
        return orjson.loads(self.response) if self.response else None

    @property
    def judges(self) -> bool:
        """Whether there is a label, and the prediction has not influenced it."""
        return self.label is not None and not self.label.influenced

    @property
    def place(self) -> tuple[float, int, int]:
        return self.time, self.request_id, self.index


_place = attrgetter("place")


class Joined:
    """`keep` bounds what stays in memory: so many labels' newest predictions, and as many that wait for one.

    Of these a random share is kept where they are more: labels may take longer than so many predictions. None keeps
    all.
    """

    def __init__(self, keep: int | None = None) -> None:
        self._keep = keep
        self._share = 1.0  # of new predictions that are kept
        self._labels: dict[str, Label] = {}
        self._rows: list[Outcome] = []
        self._sorted = True
        self._forget_indexes()

    def _forget_indexes(self) -> None:
        # Predictions are found by what labels were named by so far.
        self._columns: set[tuple[str, ...]] = set()
        self._ids = False
        self._by_id: dict[str, list[Outcome]] = defaultdict(list)
        self._by_key: dict[str, list[Outcome]] = defaultdict(list)
        self._timed: dict[str, list[_Timed]] = defaultdict(list)

    # --- what comes in ---

    def add_predictions(self, table: Any) -> None:
        """Takes rows of a prediction log: an Arrow table with `COLUMNS`."""
        if self._share < 1 and not self._columns:  # hardly a row is looked at whole
            table = table.take(self._chosen(table))
        made = [row for row in _outcomes(table) if self._share == 1 or self._chance(row) < self._share]
        made.sort(key=_place)
        self._sorted = self._sorted and not (self._rows and made and made[0].place < self._rows[-1].place)
        self._rows += made
        for row in made:
            self._index(row)
        if self._keep is not None and len(self._rows) > 3 * self._keep:
            self._prune(self._keep)

    def add_labels(self, labels: Iterable[Label]) -> None:
        """Takes new labels and corrected ones."""
        fresh = []
        for label in labels:
            corrected = label.name in self._labels
            self._labels[label.name] = label
            if not corrected:
                fresh.append(label)
                continue
            for row in self._named(label.name):
                self._relabel(row)
        self._learn(label.name for label in fresh)
        for label in fresh:
            if label.name.startswith("at:"):
                _, text, key = label.name.split(":", 2)
                timed = (float(text), label.name)
                insort(self._timed[key], timed)
                rows = self._by_key.get(key, [])
                place = bisect_right(rows, timed[0], key=attrgetter("time"))
                if place:
                    rows[place - 1]._timed = tuple(sorted((*rows[place - 1]._timed, timed)))
            for row in self._named(label.name):
                self._relabel(row)
        if self._keep is not None and len(self._labels) > 6 * self._keep:
            self._prune(self._keep)

    def _named(self, name: str) -> list[Outcome]:
        if name.startswith("id:"):
            return self._by_id.get(name, [])
        if name.startswith("key:"):
            return self._by_key.get(name, [])
        _, text, key = name.split(":", 2)
        timed = (float(text), name)
        return [row for row in self._by_key.get(key, []) if timed in row._timed]

    def _learn(self, names: Iterable[str]) -> None:
        """A key of other columns than before, or the first request id: every prediction that is here may have it."""
        fresh = set()
        ids = False
        for name in names:
            if name.startswith("id:"):
                ids = True
            else:
                fresh.add(tuple(orjson.loads(name[name.index("key:") + 4 :])[0]))
        fresh -= self._columns
        self._columns |= fresh
        if fresh:
            for row in self._rows:
                self._index_keys(row, fresh)
        if ids and not self._ids:
            self._ids = True
            for row in self._rows:
                self._index_ids(row)

    def _index(self, row: Outcome) -> None:
        if self._ids:
            self._index_ids(row)
        self._index_keys(row, self._columns)
        self._relabel(row)

    def _index_ids(self, row: Outcome) -> None:
        for given in {str(row.request_id), row.caller_id} - {""}:
            self._by_id[f"id:{row.index}:{given}"].append(row)

    def _index_keys(self, row: Outcome, columns: Iterable[tuple[str, ...]]) -> None:
        if not columns:
            return
        for key in keys_of(row.instance, columns):
            row._keys += (key,)
            rows = self._by_key[key]
            place = bisect_left(rows, row.place, key=_place)
            rows.insert(place, row)
            timed = self._timed.get(key)
            if not timed:
                continue
            # Labels from its time until the next prediction's are now this one's.
            until = rows[place + 1].time if place + 1 < len(rows) else float("inf")
            for entry in timed[bisect_left(timed, (row.time, "")) : bisect_left(timed, (until, ""))]:
                before = rows[place - 1] if place else None
                if before is not None and entry in before._timed:
                    before._timed = tuple(one for one in before._timed if one != entry)
                    self._relabel(before)
                row._timed = tuple(sorted((*row._timed, entry)))

    def _relabel(self, row: Outcome) -> None:
        names = (*(name for _, name in row._timed), *row._keys) if row._timed else row._keys
        if self._ids:
            names = (f"id:{row.index}:{row.request_id}", f"id:{row.index}:{row.caller_id}", *names)
        row.label = next((self._labels[name] for name in names if name in self._labels), None)

    def _chance(self, row: Outcome) -> float:
        """As if drawn at random from [0, 1), the same for all predictions of a key: a label by key and time must not
        fall to an older one because the right one was left out."""
        key = next(keys_of(row.instance, sorted(self._columns)[:1]), None)
        return _chance(key or _own(row.request_id, row.index))

    def _chosen(self, table: Any) -> list[int]:
        """The rows of a log of which a prediction is kept, where there are no keys."""
        numbers, payloads = table["request_id"].to_pylist(), table["request_payload"]
        return [
            place
            for place, (number, payload) in enumerate(zip(numbers, payloads, strict=True))
            if any(_chance(_own(int(number), index)) < self._share for index in range(len(payload)))
        ]

    def _prune(self, keep: int) -> None:
        rows = self.rows()
        waiting = [row for row in rows if row.label is None]
        while len(waiting) > keep:
            self._share /= 2
            waiting = [row for row in waiting if self._chance(row) < self._share]
        if len(waiting) < keep / 4:
            self._share = min(1.0, 2 * self._share)
        kept = {id(row) for row in (*waiting, *_newest_of_each_label(rows)[-keep:])}
        gone = {row.label.name for row in rows if row.label and id(row) not in kept}
        self._rows = [row for row in rows if id(row) in kept]
        used = {row.label.name for row in self._rows if row.label}
        gone -= used
        labels = [label for label in self._labels.values() if label.name not in gone]
        rest = [label for label in labels if label.name not in used]
        forgotten = {label.name for label in rest[: -2 * keep]}  # the oldest that have found no prediction
        self._forget_indexes()
        self._labels = {}
        for row in self._rows:
            row._keys, row._timed = (), ()
            self._index(row)
        self.add_labels(label for label in labels if label.name not in forgotten)

    # --- what comes out ---

    @property
    def predictions(self) -> int:
        return len(self._rows)

    def rows(self) -> list[Outcome]:
        """Every prediction, in order of time."""
        if not self._sorted:
            self._rows.sort(key=_place)  # nearly sorted: cheap
            self._sorted = True
        return self._rows

    def labelled(self) -> list[Outcome]:
        """The predictions that have a label, in order of time."""
        return [row for row in self.rows() if row.label is not None]

    def waiting(self) -> int:
        """How many labels have no prediction."""
        used = {row.label.name for row in self._rows if row.label}
        # A label that a more exact one outdoes has its prediction all the same.
        used.update(name for row in self._rows for name in (*row._keys, *(n for _, n in row._timed)))
        used.update(self._by_id)
        return sum(1 for name in self._labels if name not in used)


def _newest_of_each_label(rows: Iterable[Outcome]) -> list[Outcome]:
    """In order of time; of a label, one for each model that it judges: copies must not push other labels out."""
    newest = {(row.deployed_model_id, row.label.name): row for row in rows if row.label}
    return sorted(newest.values(), key=_place)


def _own(request_id: int, index: int) -> str:
    return f"{request_id}:{index}"


def _chance(text: str) -> float:
    return zlib.crc32(text.encode()) / 2**32


def _outcomes(table: Any) -> Iterator[Outcome]:
    """The predictions of a log's rows. Arrow's own lists would take as long as all else that is done with them."""
    import pyarrow as pa

    times = table["logging_time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy() / 1e6
    asked, texts = _lists(table["request_payload"])
    answered, answers = _lists(table["response_payload"])
    callers, deployed, models, versions = (
        table[name].to_numpy().tolist()
        for name in ("caller_request_id", "deployed_model_id", "model", "model_version")
    )
    numbers, seconds = (table[name].to_pylist() for name in ("request_id", "latency_seconds"))
    held = table["holdout"].to_pylist() if "holdout" in table.column_names else [None] * len(numbers)
    first = first_answer = 0
    for row, (time, number) in enumerate(zip(times.tolist(), map(int, numbers), strict=True)):
        for index in range(asked[row]):
            yield Outcome(
                time, number, index, callers[row] or "", deployed[row], models[row], versions[row],
                texts[first + index], answers[first_answer + index] if index < answered[row] else "",
                seconds[row] or 0.0, bool(held[row]),
            )  # fmt: skip
        first += asked[row]
        first_answer += answered[row]


def _lists(column: Any) -> tuple[list[int], list[str]]:
    """How many texts each list of a column has, and the texts of all."""
    import pyarrow.compute as pc

    counts = pc.fill_null(pc.list_value_length(column), 0)
    return counts.to_pylist(), pc.list_flatten(column).to_numpy().tolist()


def keys_of(instance: Any, columns: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Its keys, as `key_name` spells them; each of `columns` in order."""
    if not isinstance(instance, dict):
        return
    for names in columns:
        try:
            yield _spelled(names, [values.category(instance[name]) for name in names])
        except (KeyError, ValueError):
            continue  # a list or an object is no key


def key_name(key: Any, field: str) -> str:
    """The one spelling of a key: `{"day": 1}` and `{"day": "1.0"}` mean the same instance, as to a model.

    Raises:
        InvalidArgument: it is no object of plain values.
    """
    if not isinstance(key, Mapping) or not key:
        raise InvalidArgument(
            f"{field}.key must be an object: instance columns and their values.", field=f"{field}.key"
        )
    names = tuple(sorted(key))
    try:
        return _spelled(names, [values.category(key[name]) for name in names])
    except ValueError as error:
        raise InvalidArgument(f"{field}.key: {error}.", field=f"{field}.key") from None


def _spelled(names: tuple[str, ...], cells: list[str | None]) -> str:
    return "key:" + orjson.dumps((names, cells)).decode()
