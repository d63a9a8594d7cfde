"""Ground truth: late, early, repeated, contradicting, by id, by key, by key and time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests

from portico.errors import InvalidArgument
from portico.services.portico import joining
from portico.services.portico.joining import Joined, key_name
from portico.services.portico.labels import read_label
from portico.store import labels
from portico.store.database import Database
from portico.store.labels import Added, Label

pytestmark = pytest.mark.usefixtures("either_store")


def row(number: int, at: float, *instances: dict[str, Any], caller: str = "") -> dict[str, Any]:
    return {
        "request_id": number,
        "caller_request_id": caller,
        "logging_time": datetime.fromtimestamp(at, UTC),
        "deployed_model_id": "7",
        "model": "m",
        "latency_seconds": 0.001,
        "model_version": "1",
        "request_payload": [json.dumps(instance) for instance in instances],
        "response_payload": [json.dumps({"value": number}) for _ in instances],
    }


def label(truth: Any, **named: Any) -> Label:
    return read_label({"truth": truth, **named}, "labels[0]", 1000.0)


def matched(rows: list[dict[str, Any]], *every: Label) -> dict[tuple[int, int], Any]:
    """The truth of each prediction, by request id and place: the same in whatever order they come."""
    found = []
    for order in range(4):
        joined = Joined()
        for row in rows if order % 2 else reversed(rows):
            if order > 1:
                joined.add_predictions(pa.Table.from_pylist([row]))
        joined.add_labels(every if order % 2 else reversed(every))
        if order <= 1:
            joined.add_predictions(pa.Table.from_pylist(rows))
        found.append({(o.request_id, o.index): o.label.truth for o in joined.labelled() if o.label})
    assert all(other == found[0] for other in found)
    return found[0]


ROWS = [
    row(1, 10, {"day": 1, "x": 5}, {"day": 2, "x": 6}),
    row(2, 20, {"day": "1.0", "x": 7}, caller="mine"),
    row(3, 30, {"day": 1}),
]


def test_by_request_id() -> None:
    assert matched(ROWS, label(0.5, requestId="1", index=1)) == {(1, 1): 0.5}
    assert matched(ROWS, label("yes", requestId="mine")) == {(2, 0): "yes"}
    assert matched(ROWS, label(1, requestId="99")) == {}


def test_by_key_every_prediction_of_it() -> None:
    assert matched(ROWS, label(4, key={"day": "1"})) == {(1, 0): 4, (2, 0): 4, (3, 0): 4}
    assert matched(ROWS, label(4, key={"x": 6, "day": 2})) == {(1, 1): 4}


def test_by_key_and_time_the_newest_before_it() -> None:
    at = "1970-01-01T00:00:25Z"
    assert matched(ROWS, label(4, key={"day": 1}, time=at)) == {(2, 0): 4}
    assert matched(list(reversed(ROWS)), label(4, key={"day": 1}, time=at)) == {(2, 0): 4}
    assert matched(ROWS, label(4, key={"day": 1}, time="1970-01-01T00:00:05Z")) == {}


def test_the_more_exact_name_wins() -> None:
    exact = label("id", requestId="1")
    timed = label("time", key={"day": 1}, time="1970-01-01T00:00:25Z")
    loose = label("key", key={"day": 1})
    assert matched(ROWS, loose, timed, exact) == {(1, 0): "id", (2, 0): "time", (3, 0): "key"}


def test_a_key_is_spelled_one_way() -> None:
    assert key_name({"b": 1, "a": "x"}, "f") == key_name({"a": "x", "b": "1.0"}, "f")
    for bad in ({}, [1], {"a": [1]}):
        with pytest.raises(InvalidArgument):
            key_name(bad, "f")


def test_repeated_and_contradicting_labels(tmp_path: Path) -> None:
    database = Database(tmp_path)
    database.create_tables()

    def add(truth: Any, observed: float) -> Added:
        with database.write() as connection:
            return labels.add(connection, "e", [Label("id:0:1", truth, observed, 0)])

    def held() -> Any:
        with database.read() as connection:
            ((found,), _) = labels.since(connection, "e", -1)
        return found.truth

    assert add(5, 100) == Added(new=1)
    assert add(5.0, 200) == Added(repeated=1)
    assert add(6, 50) == Added(contradicted=1) and held() == 5  # observed before: it does not hold
    assert add(7, 100) == Added(contradicted=1) and held() == 7  # at the same time: what came later holds
    with database.read() as connection:
        assert labels.counts(connection, "e") == Added(1, 1, 2)


def test_labels_by_the_api(portico: Any, aiplatform: Any) -> None:
    endpoint = aiplatform.Endpoint.create(display_name="labelled")
    url = f"{portico.url}/apis/portico/v1/{endpoint.resource_name}"

    def add(*given: Any) -> requests.Response:
        return requests.post(f"{url}:addLabels", json={"labels": list(given)}, timeout=240)

    assert add(
        {"key": {"ts": "2012-01-01 05:00:00"}, "truth": 12.5}, {"requestId": "7", "truth": "a"}
    ).json() == {
        "new": 2,
        "repeated": 0,
        "contradicted": 0,
    }
    assert add({"requestId": "7", "truth": "a"}).json()["repeated"] == 1
    stats = requests.get(f"{url}:labelStats", timeout=240).json()
    assert (stats["labels"], stats["waiting"], stats["predictions"]) == (2, 2, 0)
    for bad, said in (
        ({"truth": 1}, "requestId"),
        ({"requestId": "1"}, "truth"),
        ({"requestId": "1", "key": {"a": 1}, "truth": 1}, "not both"),
        ({"key": {"a": {"b": 1}}, "truth": 1}, "key"),
        ({"requestId": "1", "index": -1, "truth": 1}, "index"),
        ({"requestId": "1", "truth": 1, "time": "soon"}, "time"),
        ({"requestId": "1", "truth": 1, "weight": 2}, "weight"),
    ):
        answer = add({"requestId": "ok", "truth": 1}, bad)
        assert answer.status_code == 400 and said in answer.text, answer.text
    assert add().status_code == 400
    assert (
        requests.get(f"{url}:labelStats", timeout=240).json()["labels"] == 2
    )  # nothing of a refused request
    missing = requests.get(f"{url}999:labelStats", timeout=240)
    assert missing.status_code == 404
    endpoint.delete()


def test_memory_is_bounded_and_late_labels_still_find_predictions() -> None:
    """A hundred times more predictions than are kept, their labels a batch later: some are found, none wrongly."""
    joined = Joined(keep=100)
    late: list[Label] = []
    for batch in range(20):
        rows = [row(n, n, {"day": n % 700, "x": n}) for n in range(batch * 500, batch * 500 + 500)]
        joined.add_predictions(pa.Table.from_pylist(rows))
        joined.add_labels(late)
        late = [
            label(r["request_id"], key={"day": r["request_id"] % 700}, time=r["logging_time"].isoformat())
            for r in rows
        ]
        assert joined.predictions <= 900 and len(joined._labels) <= 1100
    found = joined.labelled()
    assert len(found) >= 50
    assert all(o.label and o.label.truth == o.request_id for o in found)
    waiting = [o.request_id for o in joined.rows() if o.label is None]
    assert len(waiting) >= 25 and max(waiting) >= 9500, "the newest are among those that wait"


def test_without_keys_the_same_share_of_predictions_is_kept() -> None:
    joined = Joined(keep=100)
    for batch in range(10):
        rows = [row(n, n, *({"x": i} for i in range(n % 4))) for n in range(batch * 200, batch * 200 + 200)]
        joined.add_predictions(pa.Table.from_pylist(rows))
        newest = {(r.request_id, r.index) for r in joined.rows() if r.request_id >= batch * 200}
        kept = {
            (r["request_id"], index)
            for r in rows
            for index in range(len(r["request_payload"]))
            if joining._chance(f"{r['request_id']}:{index}") < joined._share
        }
        assert newest == kept
    assert joined._share < 0.2 and len(newest) >= 10
