"""A label is one piece of evidence, however many predictions it was joined to; and no step is stuck for want of any."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from tests.services.portico.test_state_machine import ENDPOINT, STEWARD, House

from portico.services.portico.joining import key_name
from portico.services.portico.steward import run, states
from portico.services.portico.stewards import EPISODES, STEWARDS, StewardPrivate
from portico.store import labels, resources
from portico.store.labels import Label


@pytest.fixture
def house() -> Iterator[House]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_REST", 0)
        made = House(Path(folder), patch)
        yield made
        made.rooms.database.close()


def ask(house: House, instances: list[Any], *given: Label) -> None:
    """One request for each instance, answered with 100 by the champion, and what is known of them."""
    house.now += 1
    made = []
    for instance in instances:
        house.number += 1
        made.append({
            "deployed_model_id": "1", "model": "m", "model_version": "1", "caller_request_id": "",
            "logging_time": datetime.fromtimestamp(house.now + house.number * 1e-3, UTC),
            "request_id": house.number, "request_payload": [orjson.dumps(instance).decode()],
            "response_payload": ['{"value": 100}'], "latency_seconds": 0.001,
        })  # fmt: skip
    file = house.segments.write(pa.Table.from_pylist(made))
    with house.rooms.database.write() as connection:
        house.segments.add(connection, f"log/{ENDPOINT}", file, len(made), house.now, house.now + 86400)
        labels.add(connection, ENDPOINT, given)
    house.go(86400.0)
    house.stewards.turn(STEWARD)


def one(house: House, kind: str = EPISODES.kind) -> dict[str, Any]:
    with house.rooms.database.read() as connection:
        found = list(resources.listed(connection, kind))
    return found[-1].body if found else {}


def by_key(house: House, number: int, truth: Any) -> Label:
    return Label(key_name({"n": number}, "key"), truth, house.now, house.now)


def test_a_probe_is_one_label(house: House) -> None:
    ask(house, [{"n": 0}] * 3000, by_key(house, 0, 100_000))
    assert one(house) == {}, "one wrong label breaches nothing"
    assert "1 of 25 distinct labels" in one(house, STEWARDS.kind)["status"]["message"]
    ask(house, [{"n": n} for n in range(1, 30)], *(by_key(house, n, 90 + n / 10) for n in range(1, 30)))
    shown = one(house, STEWARDS.kind)["status"]["acceptable"][0]
    assert shown["holds"] and (shown["rows"], shown["labels"], shown["instances"]) == (25, 25, 25)


def test_copies_of_a_label_push_no_other_out_of_memory() -> None:
    from tests.services.test_labels import label, row

    from portico.services.portico.joining import Joined

    joined = Joined(keep=100)
    joined.add_labels([label(1, key={"day": 0}), *(label(n, requestId=str(n)) for n in range(50))])
    joined.add_predictions(pa.Table.from_pylist([row(n, n, {"day": 7}) for n in range(50)]))
    joined.add_predictions(pa.Table.from_pylist([row(n, n, {"day": 0}) for n in range(100, 900)]))
    found = joined.labelled()
    assert {o.request_id for o in found} == {*range(50), 899}
    assert sum(o.label is not None and o.label.truth == 1 and o.request_id > 99 for o in found) == 1


def bring(house: House, *events: str) -> None:
    for event in events:
        house.happen(event, 0.02)


def test_the_gates_rest_on_labels_that_training_has_not_seen(house: House) -> None:
    """A label that training could use is none of the gates', though its key is asked again afterwards."""
    bring(house, "good")
    ask(house, [{"n": 5}], by_key(house, 5, 300))
    bring(house, "bad")
    assert house.states()[-1] == "RETRAINING"
    payload = house.open_job().payload
    assert key_name({"n": 5}, "key") not in payload["withheld"] and len(payload["withheld"]) == 20
    with house.rooms.database.read() as connection:
        assert payload["change"] == labels.newest(connection, ENDPOINT)
    ask(house, [{"n": 5}, {"n": 6}], by_key(house, 6, 300))
    bring(house, "work")
    gates = next(d for d in one(house)["decisions"] if d["question"] == "gates")
    assert gates["labels"] == gates["rows"] == 21, (
        "those withheld, and the one that came since; not that of n=5"
    )


def test_gates_never_decide_on_fewer_labels_than_they_ask_for(house: House) -> None:
    bring(house, "good", "bad", "bad")
    assert house.states()[-1] == "RETRAINING"
    with house.rooms.database.write() as connection:
        every, _ = labels.since(connection, ENDPOINT, -1)
        labels.add(connection, ENDPOINT, [
            Label(o.name, o.truth, o.observed + 1, house.now, True) for o in every])  # fmt: skip
    bring(house, "work", "pause")
    assert house.states()[-1] == "GATING"
    assert "0 of the 20 distinct labels that the gates ask for" in one(house)["waitsFor"]
    assert "it waits for more until" in one(house)["waitsFor"]
    bring(house, "bad")
    assert house.states()[-1] == "AWAITING_APPROVAL"
    (gates,) = (d for d in one(house)["decisions"] if d["question"] == "gates")
    assert gates["labels"] >= 20 and gates["answer"] == "passed"


def test_gates_that_get_no_labels_give_up(house: House) -> None:
    bring(house, "good", "bad", "bad")
    with house.rooms.database.write() as connection:
        every, _ = labels.since(connection, ENDPOINT, -1)
        labels.add(connection, ENDPOINT, [
            Label(o.name, o.truth, o.observed + 1, house.now, True) for o in every])  # fmt: skip
    bring(house, "work")
    house.happen("later", 1.0)
    assert one(house)["state"] == "ABANDONED" and "0 of the 20 distinct labels" in one(house)["reason"]


def test_a_step_that_fails_again_and_again_ends_the_episode(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(house, "good", "bad", "bad")

    def broken(*_: Any) -> Any:
        raise ValueError("no such thing")

    monkeypatch.setattr(states, "decide", broken)
    bring(house, "work")
    assert house.states()[-1] == "GATING" and "failed 1 times: ValueError" in one(house)["waitsFor"]
    assert "no such thing" in one(house, STEWARDS.kind)["status"]["message"]
    for _ in range(4):
        house.stewards.turn(STEWARD)
    assert one(house)["state"] == "ABANDONED" and "no such thing" in one(house)["reason"]
    with house.rooms.database.read() as connection:
        steward = resources.get(connection, STEWARD)
    assert steward is not None and StewardPrivate.of(steward).episode is None
    house.check()


def test_labels_that_cannot_be_read_are_told(house: House) -> None:
    bring(house, "good")
    ask(house, [{"n": 1}], by_key(house, 1, "150.00 EUR"))
    status = one(house, STEWARDS.kind)["status"]
    assert status["unreadableLabels"] == 1 and "150.00 EUR" in status["message"]
    assert status["acceptable"][0]["labels"] == 25, "it takes none of the others' places"
