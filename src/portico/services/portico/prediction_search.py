"""endpoints.searchPredictions: the prediction log in pages, the newest first, with the truth where it is known."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from portico.clock import interval_of, rfc3339
from portico.prediction.prediction_log import batch_stream_of, id_words, stream_of
from portico.services.call import Call, Rooms, implements
from portico.services.portico.joining import Joined, keys_of
from portico.services.portico.key_index import (
    Columns,
    Indexes,
    Place,
    columns_of,
    columns_of_labels,
    read_instance,
)
from portico.services.portico.label_tally import owners, time_of
from portico.services.standard import pages
from portico.services.standard.serving import ENDPOINTS
from portico.store import labels
from portico.store.segments import Segment, Segments, listed

_BYTES = 8 << 20  # of payloads, after which a page ends


class _Place(NamedTuple):
    """Where a request is in the log: its time in microseconds, and its id."""

    time: int
    request_id: int


@dataclass(frozen=True, slots=True)
class _Span:
    """What is asked for: requests in [start, end), those before the last one of the page before."""

    start: float | None
    end: float | None
    before: _Place | None


@implements("portico", "projects.locations.endpoints.searchPredictions")
def search(call: Call) -> dict[str, Any]:
    endpoint, params = str(call.params["endpoint"]), call.params
    size = pages.page_size(params.get("pageSize"), default=100, maximum=1000)
    query = (endpoint, str(params.get("startTime", "")), str(params.get("endTime", "")))
    token = pages.read_token(params.get("pageToken", ""), "predictions", *query)
    start, end = interval_of(params)
    with call.rooms.database.read() as connection:
        ENDPOINTS.require(connection, endpoint)
    log = _Log(call.rooms, endpoint)
    chosen = log.newest(_Span(start, end, _Place(int(token[0]), int(token[1])) if token else None), size + 1)
    rows = log.rows(chosen[:size])
    shown = [_shown(row, truths) for row, truths in zip(rows, log.truths(rows), strict=True)]
    answer: dict[str, Any] = {"predictions": shown} if shown else {}
    if len(chosen) > len(shown):
        last = chosen[len(shown) - 1][0]
        answer["nextPageToken"] = pages.write_token([str(number) for number in last], "predictions", *query)
    return answer


class _Log:
    """The log of an endpoint for one request."""

    def __init__(self, rooms: Rooms, endpoint: str) -> None:
        self._endpoint = endpoint
        self._database = rooms.database
        self._segments = Segments(rooms.home, rooms.database, rooms.clock, rooms.ids)
        self._indexes = Indexes(rooms)
        self._streams = {"online": stream_of(endpoint), "batch": batch_stream_of(endpoint)}

    def newest(self, span: _Span, count: int) -> list[tuple[_Place, Segment, int]]:
        """The places of the newest requests of the span, with the segment and the row in it; the newest first."""
        with self._database.read() as connection:
            held = [s for stream in self._streams.values()
                    for s in listed(connection, stream, start=span.start, end=span.end)]  # fmt: skip
        found: list[tuple[_Place, Segment, int]] = []
        for segment in sorted(held, key=lambda segment: segment.last, reverse=True):
            if span.before and _microseconds(segment.first) > span.before.time:
                continue
            if len(found) == count and _microseconds(segment.last) < found[-1][0].time:
                break
            table = self._segments.read(segment, ("logging_time", "request_id"))
            found += [(place, segment, row) for place, row in _newest_of(table, span, count)]
            found.sort(key=lambda entry: entry[0], reverse=True)
            del found[count:]
        return found

    def rows(self, chosen: list[tuple[_Place, Segment, int]]) -> list[dict[str, Any]]:
        """The chosen rows with all columns, in their order; fewer where they are large, but one at least."""
        by_segment: dict[Segment, list[int]] = defaultdict(list)
        for _, segment, row in chosen:
            by_segment[segment].append(row)
        read = {
            (segment, row): cells
            for segment, numbers in by_segment.items()
            for row, cells in zip(numbers, self._segments.take(segment, numbers).to_pylist(), strict=True)
        }
        rows: list[dict[str, Any]] = []
        size = 0
        for _, segment, number in chosen:
            row = read[segment, number]
            size += sum(len(text) for text in (*row["request_payload"], *row["response_payload"]))
            if rows and size > _BYTES:
                break
            rows.append(row)
        return rows

    def truths(self, rows: list[dict[str, Any]]) -> list[list[Any]]:
        """For each row the truth of each of its instances; None where there is none."""
        found: dict[tuple[int, int], Any] = {}
        for source in self._streams:
            found |= self._truths(source, [row for row in rows if row["log_source"] == source])
        return [
            [found.get((int(row["request_id"]), index)) for index in range(len(row["request_payload"]))]
            for row in rows
        ]

    def _truths(self, source: str, rows: list[dict[str, Any]]) -> dict[tuple[int, int], Any]:
        names, places = set(), defaultdict[str, list[Place]](list)
        with self._database.read() as connection:
            columns = columns_of_labels(connection, self._endpoint) if rows else set()
            for row in rows:
                at, number = round(row["logging_time"].timestamp() * 1e6), int(row["request_id"])
                for index, text in enumerate(row["request_payload"]):
                    names |= {f"id:{index}:{number}", f"id:{index}:{row['caller_request_id']}"}
                    for key in keys_of(read_instance(text), columns) if columns else ():
                        places[key].append(Place(at, number, index))
            keyed = labels.of_keys(connection, self._endpoint, set(places))
        names |= {name for name in keyed if name.startswith("key:")}
        names |= self._meant(source, [name for name in keyed if name.startswith("at:")], places)
        with self._database.read() as connection:
            known = labels.named(connection, self._endpoint, names)
        if not known:
            return {}
        import pyarrow as pa

        joined = Joined()
        joined.add_labels(known)
        joined.add_predictions(pa.Table.from_pylist(rows))
        return {(row.request_id, row.index): row.label.truth for row in joined.labelled() if row.label}

    def _meant(self, source: str, timed: list[str], places: Mapping[str, list[Place]]) -> set[str]:
        """Of labels with a time the first at or after each of these predictions, by key, unless a newer prediction,
        which is not among them, is what it means: a later label is no nearer."""
        by_key: dict[str, list[str]] = defaultdict(list)
        for name in sorted(timed, key=time_of):
            by_key[labels.key_of(name)].append(name)
        asked: dict[Columns, set[str]] = defaultdict(set)
        for key, names in by_key.items():
            for place in places[key]:
                at = bisect_left(names, place.time / 1e6, key=time_of)
                asked[columns_of(key)].update(names[at : at + 1])
        if not any(asked.values()):
            return set()
        start = min(place.time for key in by_key for place in places[key]) / 1e6
        found = set()
        for columns, chosen in asked.items():
            names = sorted(chosen)
            end = max(map(time_of, names), default=start) + 1e-6
            with self._database.read() as connection:
                held = listed(connection, self._streams[source], start=start - 1e-6, end=end)
            owned = owners(self._indexes, held, columns, names)
            found |= {name for name, one in owned.items() if one.place in places[labels.key_of(name)]}
        return found


def _newest_of(table: Any, span: _Span, count: int) -> list[tuple[_Place, int]]:
    """The newest requests of a segment that are in the span, and their rows."""
    import numpy as np
    import pyarrow as pa

    times = table["logging_time"].combine_chunks().cast(pa.int64()).to_numpy()
    low, high = id_words(table["request_id"])
    kept = np.ones(len(times), bool)
    if span.start is not None:
        kept &= times >= _microseconds(span.start)
    if span.end is not None:
        kept &= times < _microseconds(span.end)
    if span.before is not None:
        last_low, last_high = (
            np.uint64(span.before.request_id % 2**64),
            np.uint64(span.before.request_id >> 64),
        )
        smaller = (high < last_high) | ((high == last_high) & (low < last_low))
        kept &= (times < span.before.time) | ((times == span.before.time) & smaller)
    rows = np.flatnonzero(kept)
    order = rows[np.lexsort((low[rows], high[rows], times[rows]))[::-1][:count]]
    return [(_Place(int(times[row]), (int(high[row]) << 64) + int(low[row])), int(row)) for row in order]


def _shown(row: Mapping[str, Any], truths: list[Any]) -> dict[str, Any]:
    shown = {
        "endpoint": row["endpoint"],
        "deployedModelId": row["deployed_model_id"],
        "loggingTime": rfc3339(row["logging_time"].timestamp()),
        "requestId": str(int(row["request_id"])),
        "requestPayload": row["request_payload"],
        "responsePayload": row["response_payload"],
        "model": row["model"],
        "modelVersion": row["model_version"],
        "apiMethod": row["api_method"],
        "callerRequestId": row["caller_request_id"],
        "latencySeconds": row["latency_seconds"],
        "logSource": row["log_source"],
        "holdout": row.get("holdout") or None,
        "truths": truths if any(truth is not None for truth in truths) else None,
    }
    return {name: value for name, value in shown.items() if value not in (None, "")}


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
