"""The prediction log in pages and in counts, beside what a plain join of the whole log says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from portico.clock import SystemClock, parse_rfc3339, rfc3339
from portico.errors import InvalidArgument, NotFound
from portico.ids import RandomIds
from portico.prediction.prediction_log import batch_stream_of, schema, stream_of
from portico.services.call import Call, Caller
from portico.services.portico import labels as label_methods
from portico.services.portico import prediction_search
from portico.services.portico.joining import Joined
from portico.services.portico.labels import read_label
from portico.store import labels, resources
from portico.store.database import Database
from portico.store.segments import Segments

pytestmark = pytest.mark.usefixtures("either_store")

ENDPOINT = "projects/p/locations/l/endpoints/1"
START = 1_600_000_000


class Log:
    """An endpoint's log and labels on a home without a server."""

    def __init__(self, home: Path) -> None:
        self.database = Database(home)
        self.database.create_tables()
        self.rooms: Any = SimpleNamespace(
            home=home, database=self.database, clock=SystemClock(), ids=RandomIds()
        )
        self.segments = Segments(home, self.database, SystemClock(), RandomIds())
        with self.database.write() as connection:
            resources.insert(
                connection, name=ENDPOINT, kind="aiplatform:endpoints", parent="", body={}, now=0.0
            )

    def add(self, source: str, rows: list[dict[str, Any]]) -> None:
        stream = {"online": stream_of, "batch": batch_stream_of}[source](ENDPOINT)
        file = self.segments.write(pa.Table.from_pylist(rows, schema=schema()))
        times = [row["logging_time"].timestamp() for row in rows]
        with self.database.write() as connection:
            self.segments.add(connection, stream, file, len(rows), min(times), max(times))

    def label(self, *given: dict[str, Any]) -> None:
        with self.database.write() as connection:
            labels.add(connection, ENDPOINT, [read_label(one, "label", 0.0) for one in given])

    def call(self, **params: Any) -> Call:
        return Call("portico", "v1", "", {"endpoint": ENDPOINT, **params}, {}, Caller(), self.rooms)

    def pages(self, **params: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            page = prediction_search.search(self.call(**params, pageToken=token))
            found += page.get("predictions", [])
            if not (token := page.get("nextPageToken", "")):
                return found

    def joined(self, source: str) -> Joined:
        stream = {"online": stream_of, "batch": batch_stream_of}[source](ENDPOINT)
        joined = Joined()
        for table in self.segments.scan(stream):
            joined.add_predictions(table)
        with self.database.read() as connection:
            joined.add_labels(labels.since(connection, ENDPOINT, -1)[0])
        return joined


def row(number: int, at: float, *instances: Any, source: str = "online", caller: str = "") -> dict[str, Any]:
    return {
        "endpoint": ENDPOINT, "deployed_model_id": "7", "logging_time": datetime.fromtimestamp(at, UTC),
        "request_id": Decimal(number), "request_payload": [json.dumps(instance) for instance in instances],
        "response_payload": [json.dumps({"value": number}) for _ in instances], "model": "m", "model_version": "3",
        "api_method": "predict", "caller_request_id": caller, "latency_seconds": 0.5, "log_source": source,
    }  # fmt: skip


def filled(home: Path, seed: int) -> tuple[Log, list[dict[str, Any]]]:
    """A log of both kinds in segments that overlap, and labels of every kind."""
    dice, log = random.Random(seed), Log(home)
    rows = [
        row(
            10**17 + number, START + dice.randrange(40) / 4,
            *({"a": dice.randrange(4), "b": "x"} for _ in range(dice.randrange(1, 4))),
            caller=f"c{number}" if dice.random() < 0.3 else "",
        )
        for number in range(60)
    ]  # fmt: skip
    batch = [row(10**28 + n, START + 5, {"a": dice.randrange(4)}, source="batch") for n in range(30)]
    dice.shuffle(rows)
    for start in range(0, 60, 12):
        log.add("online", rows[start : start + 12])
    for start in range(0, 30, 20):
        log.add("batch", batch[start : start + 20])
    given: list[dict[str, Any]] = []
    for number in range(25):
        one = dice.choice([*rows, *batch])
        given += [
            {"requestId": str(one["request_id"]), "index": dice.randrange(3), "truth": number},
            {"requestId": f"c{dice.randrange(80)}", "truth": f"c{number}"},
            {
                "key": {"a": dice.randrange(5)},
                "time": rfc3339(START + dice.randrange(60) / 4),
                "truth": -number,
            },
        ]
    given += [{"key": {"a": 1, "b": "x"}, "truth": "key"}, {"key": {"a": 9}, "truth": "nobody"}]
    log.label(*dice.sample(given, 30))
    return log, [*rows, *batch]


@pytest.mark.parametrize("seed", range(12))
def test_pages_hold_the_whole_log_the_newest_first_with_its_truth(tmp_path: Path, seed: int) -> None:
    log, rows = filled(tmp_path, seed)
    found = log.pages(pageSize=seed + 3)
    ordered = sorted(rows, key=lambda one: (one["logging_time"], one["request_id"]), reverse=True)
    assert [one["requestId"] for one in found] == [str(one["request_id"]) for one in ordered]
    truths = {
        (str(o.request_id), o.index): o.label.truth
        for source in ("online", "batch")
        for o in log.joined(source).labelled()
        if o.label
    }
    assert truths
    for one in found:
        expected = [truths.get((one["requestId"], index)) for index in range(len(one["requestPayload"]))]
        assert one.get("truths", [None] * len(expected)) == expected
    start, end = START + 2.5, START + 5.25
    part = log.pages(startTime=rfc3339(start), endTime=rfc3339(end), pageSize=7)
    assert part == [one for one in found if start <= parse_rfc3339(one["loggingTime"]) < end] != found


@pytest.mark.parametrize("seed", range(12))
def test_counts_are_those_of_a_join(tmp_path: Path, seed: int) -> None:
    log, _ = filled(tmp_path, seed)
    online, batch = log.joined("online"), log.joined("batch")
    waiting = [
        {name for name in joined._labels if name not in used(joined)} for joined in (online, batch)
    ]  # fmt: skip
    counted = label_methods.stats(log.call())
    assert {name: counted[name] for name in ("predictions", "batchPredictions", "labelledPredictions", "waiting")} == {
        "predictions": online.predictions + batch.predictions,
        "batchPredictions": 30,
        "labelledPredictions": len(online.labelled()) + len(batch.labelled()),
        "waiting": len(waiting[0] & waiting[1]),
    }  # fmt: skip


def used(joined: Joined) -> set[str]:
    rows = joined.rows()
    names = {row.label.name for row in rows if row.label} | set(joined._by_id)
    return names | {name for row in rows for name in (*row._keys, *(n for _, n in row._timed))}


def test_what_is_shown_and_what_is_refused(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert log.pages() == []
    log.add("online", [row(5, START + 0.25, {"a": 1}, {"a": 2}, caller="mine")])
    log.label({"requestId": "mine", "index": 1, "truth": "yes"})
    assert log.pages() == [{
        "endpoint": ENDPOINT, "deployedModelId": "7", "loggingTime": "2020-09-13T12:26:40.250000Z", "requestId": "5",
        "requestPayload": ['{"a": 1}', '{"a": 2}'], "responsePayload": ['{"value": 5}', '{"value": 5}'], "model": "m",
        "modelVersion": "3", "apiMethod": "predict", "callerRequestId": "mine", "latencySeconds": 0.5,
        "logSource": "online", "truths": [None, "yes"],
    }]  # fmt: skip
    with pytest.raises(InvalidArgument, match="pageToken"):
        prediction_search.search(log.call(pageToken="x"))
    with pytest.raises(InvalidArgument, match="pageSize"):
        prediction_search.search(log.call(pageSize=-1))
    with pytest.raises(NotFound):
        prediction_search.search(log.call(endpoint=f"{ENDPOINT}0"))


def test_large_requests_make_short_pages(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.add("online", [row(number, START + number, {"a": "x" * 3_000_000}) for number in range(5)])
    page = prediction_search.search(log.call())
    assert [one["requestId"] for one in page["predictions"]] == ["4", "3"] and page["nextPageToken"]
    assert [one["requestId"] for one in log.pages()] == ["4", "3", "2", "1", "0"]


def test_what_is_labelled_by_key_is_found_without_reading_the_log_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each segment's requests are read once, by whoever first asks for keys; a page reads the rows that it shows."""
    log = Log(tmp_path)
    for start in range(0, 400, 20):
        log.add("online", [row(n, START + n, {"a": n % 50, "b": n}) for n in range(start, start + 20)])
    log.label(*({"key": {"a": n}, "time": rfc3339(START + 390), "truth": n} for n in range(60)))
    log.label(
        {"key": {"b": 399}, "truth": "b"}, {"key": {"b": 7}, "time": rfc3339(START + 500), "truth": "late"}
    )
    read = []
    whole, some = Segments.read, Segments.take
    monkeypatch.setattr(Segments, "read", lambda self, segment, columns=None: (
        read.append(segment.rows * ("request_payload" in (columns or ["request_payload"]))),
        whole(self, segment, columns),
    )[1])  # fmt: skip
    monkeypatch.setattr(Segments, "take", lambda self, segment, rows, columns=None: (
        read.append(len(rows)), some(self, segment, rows, columns),
    )[1])  # fmt: skip

    def rows_read(work: Callable[[], Any]) -> tuple[Any, int]:
        read.clear()
        return work(), sum(read)

    stats, first = rows_read(lambda: label_methods.stats(log.call()))
    assert first == 800, "once for each of the two kinds of keys"
    assert (stats["labelledPredictions"], stats["waiting"], stats["predictions"]) == (52, 10, 400)
    assert rows_read(lambda: label_methods.stats(log.call())) == (stats, 0)
    page, shown = rows_read(lambda: prediction_search.search(log.call(pageSize=15)))
    assert shown == 15
    assert [one.get("truths") for one in page["predictions"]][:2] == [["b"], None]
    token = page["nextPageToken"]
    page, shown = rows_read(lambda: prediction_search.search(log.call(pageSize=15, pageToken=token)))
    assert shown == 15 and page["predictions"][0].get("truths") == [(384 % 50)]
    oldest = log.call(pageSize=5, endTime=rfc3339(START + 9))
    page, shown = rows_read(lambda: prediction_search.search(oldest))
    assert shown == 5 and [one.get("truths") for one in page["predictions"]] == [
        None,
        ["late"],
        None,
        None,
        None,
    ]
    log.add("online", [row(400, START + 400, {"a": 1, "b": 400})])
    stats, again = rows_read(lambda: label_methods.stats(log.call()))
    assert again == 1 and stats["predictions"] == 401, "no label by a is after it"
    for file in (tmp_path / "warehouse" / "keys").iterdir():
        file.write_bytes(b"torn")
    assert label_methods.stats(log.call()) == stats, "what is damaged is made again"
