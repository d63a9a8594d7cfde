"""Features as they were at a time: ML.FEATURES_AT_TIME and ML.ENTITY_FEATURES_AT_TIME.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-feature-time
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from portico.ml.bqml.options import Option
from portico.ml.errors import DataError

_ENTITY, _AT, _TIME = "entity_id", "feature_timestamp", "time"
OF_ENTITIES = {"num_rows": Option("int", 1, low=1), "ignore_feature_nulls": Option("bool", False)}
OF_ALL = OF_ENTITIES | {_TIME: Option("any", None)}


def features_at_time(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """The latest rows of each entity at one time, which is now where none is given."""
    time = _moment(settings[_TIME]) if settings[_TIME] is not None else dt.datetime.now(dt.UTC)
    known = _by_entity(tables[0])
    return _chosen(tables[0], ((places, time) for places in known.values()), settings)


def entity_features_at_time(tables: list[pa.Table], settings: Mapping[str, Any]) -> pa.Table:
    """The same at a time of its own for each row of a second table, of `entity_id` and `time`."""
    known, asked = _by_entity(tables[0]), tables[1]
    entities, times = (asked.column(_named(asked, name)).to_pylist() for name in (_ENTITY, _TIME))
    wanted = (
        (known.get(entity, []), _moment(time))
        for entity, time in zip(entities, times, strict=True)
        if time is not None
    )
    return _chosen(tables[0], wanted, settings)


def _named(table: pa.Table, name: str) -> str:
    found = next((one for one in table.column_names if one.lower() == name), None)
    if found is None:
        raise DataError(f"The input needs a column {name}")
    return str(found)


def _moment(value: Any) -> dt.datetime:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            raise DataError(f"time must be a TIMESTAMP, not {value!r}") from None
    if not isinstance(value, dt.datetime):
        raise DataError("time must be a TIMESTAMP")
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)


def _by_entity(table: pa.Table) -> dict[Any, list[int]]:
    """The places of each entity's rows, the earliest first; rows without a time are left out."""
    times = table.column(_named(table, _AT)).to_pylist()
    found: dict[Any, list[int]] = defaultdict(list)
    for place, entity in enumerate(table.column(_named(table, _ENTITY)).to_pylist()):
        if times[place] is not None:
            found[entity].append(place)
    for places in found.values():
        places.sort(key=lambda place: times[place])
    return dict(found)


def _chosen(
    table: pa.Table, wanted: Iterable[tuple[list[int], dt.datetime]], settings: Mapping[str, Any]
) -> pa.Table:
    at = _named(table, _AT)
    times = [None if one is None else _moment(one) for one in table.column(at).to_pylist()]
    fixed = (at, _named(table, _ENTITY))
    features = [name for name in table.column_names if name not in fixed]
    taken: dict[str, list[int]] = {name: [] for name in table.column_names}
    shown: list[dt.datetime] = []
    there = {name: table.column(name).is_valid().to_pylist() for name in features}
    for places, time in wanted:
        before = [place for place in places if (moment := times[place]) is not None and moment <= time]
        for number in range(max(0, len(before) - settings["num_rows"]), len(before)):
            shown.append(time)
            for name in table.column_names:
                place = before[number]
                if settings["ignore_feature_nulls"] and name in features:
                    earlier = (one for one in before[number::-1] if there[name][one])
                    place = next(earlier, place)
                taken[name].append(place)
    columns = {name: table.column(name).take(pa.array(places, pa.int64())) for name, places in taken.items()}
    columns[at] = pa.chunked_array([pa.array(shown, pa.timestamp("us", "UTC"))])
    return pa.table(columns)
