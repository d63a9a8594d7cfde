"""Ground truth: which predictions a label belongs to, and how it reaches us.

A label names its prediction by request id (ours, which the answer carries as x-request-id, or what the caller sent as
X-Request-Id) and the instance's place in the request; or by a key (instance columns and their values), with a time: the
newest prediction of that key made at or before it; or by a key alone: every prediction of that key. By request id wins
over by key and time, which wins over by key alone. A label may come before its prediction: it waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from portico.clock import parse_rfc3339
from portico.errors import InvalidArgument
from portico.ml import values
from portico.prediction.prediction_log import stream_of
from portico.services.aiplatform.endpoints import ENDPOINTS
from portico.services.call import Call, implements
from portico.store import domain_clock, labels
from portico.store.labels import Label
from portico.store.segments import Segments

_MOST = 10_000  # labels of one request
_COLUMNS = ("deployed_model_id", "model_version", "logging_time", "request_id", "caller_request_id", "request_payload",
            "response_payload")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """A labelled prediction. `time` is when it was made, in domain seconds; `index` its place in the request."""

    time: float
    request_id: int
    index: int
    deployed_model_id: str
    model_version: str
    instance: Any
    output: Any
    truth: Any
    observed: float


@implements("portico", "projects.locations.endpoints.addLabels")
def add(call: Call) -> dict[str, Any]:
    endpoint = str(call.params["endpoint"])
    given = call.body.get("labels") or []
    if not given or len(given) > _MOST:
        raise InvalidArgument(
            f"Give 1 to {_MOST:,} labels in a request; there are {len(given):,}.", field="labels"
        )
    with call.rooms.database.read() as connection:
        now = domain_clock.now(connection, call.rooms.clock)
    read = [_label(body, position, now) for position, body in enumerate(given)]
    with call.rooms.database.write() as connection:
        ENDPOINTS.require(connection, endpoint)
        found = labels.add(connection, endpoint, read)
    return {"new": found.new, "repeated": found.repeated, "contradicted": found.contradicted}


@implements("portico", "projects.locations.endpoints.labelStats")
def stats(call: Call) -> dict[str, Any]:
    endpoint = str(call.params["endpoint"])
    with call.rooms.database.read() as connection:
        ENDPOINTS.require(connection, endpoint)
        found = labels.counts(connection, endpoint)
        every = list(labels.listed(connection, endpoint))
    segments = Segments(call.rooms.home, call.rooms.database, call.rooms.clock, call.rooms.ids)
    rows = (
        row for table in segments.scan(stream_of(endpoint), columns=_COLUMNS) for row in table.to_pylist()
    )
    matcher = Matcher(every)
    labelled = sum(1 for _ in matcher.outcomes(rows))
    return {
        "labels": found.new,
        "repeated": found.repeated,
        "contradicted": found.contradicted,
        "waiting": found.new - len(matcher.used),
        "predictions": matcher.seen,
        "labelledPredictions": labelled,
    }


def _label(body: Mapping[str, Any], position: int, now: float) -> Label:
    """
    Raises:
        InvalidArgument: it names no prediction, or has no truth.
    """
    field = f"labels[{position}]"
    if body.get("truth") is None:
        raise InvalidArgument(f"{field}.truth is missing.", field=f"{field}.truth")
    if bool(body.get("requestId")) == bool(body.get("key")):
        raise InvalidArgument(f"{field} must have a requestId or a key, and not both.", field=field)
    if body.get("requestId"):
        if body.get("index", 0) < 0:
            raise InvalidArgument(f"{field}.index is negative.", field=f"{field}.index")
        name = f"id:{body.get('index', 0)}:{body['requestId']}"
    else:
        name = key_name(body["key"], field)
        if body.get("time"):
            name = f"at:{parse_rfc3339(body['time'])!r}:{name}"
    observed = parse_rfc3339(body["observedTime"]) if body.get("observedTime") else now
    return Label(name, body["truth"], observed, now)


def key_name(key: Any, field: str) -> str:
    """The one spelling of a key: `{"day": 1}` and `{"day": "1.0"}` mean the same instance, as to a model.

    Raises:
        InvalidArgument: it is no object of plain values.
    """
    if not isinstance(key, Mapping) or not key:
        raise InvalidArgument(
            f"{field}.key must be an object: instance columns and their values.", field=f"{field}.key"
        )
    return "key:" + orjson.dumps([sorted(key), _cells(key, sorted(key), field)]).decode()


def _cells(row: Mapping[str, Any], columns: Iterable[str], field: str) -> list[str | None]:
    try:
        return [values.category(row.get(column)) for column in columns]
    except ValueError as error:
        raise InvalidArgument(f"{field}.key: {error}.", field=f"{field}.key") from None


class Matcher:
    """Finds the predictions of labels. `seen` counts predictions, `used` holds the names of labels that found one."""

    def __init__(self, every: Iterable[Label]) -> None:
        self.seen = 0
        self.used: set[str] = set()
        self._by_name = {label.name: label for label in every}
        self._columns = {tuple(orjson.loads(n[4:])[0]) for n in self._by_name if n.startswith("key:")}
        # Labels at a time, by key: each waiting for the newest prediction before it.
        self._timed: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for name in self._by_name:
            if name.startswith("at:"):
                _, time, key = name.split(":", 2)
                self._timed[key].append((float(time), name))
                self._columns.add(tuple(orjson.loads(key[4:])[0]))

    def outcomes(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Outcome]:
        """The labelled ones among the rows of a prediction log."""
        candidates: dict[str, tuple[float, Mapping[str, Any], int]] = {}
        later: list[tuple[str, Mapping[str, Any], int]] = []
        for row in rows:
            for index, text in enumerate(row["request_payload"]):
                self.seen += 1
                name = self._by_id(row, index)
                if name:
                    yield self._outcome(name, row, index)
                    continue
                instance = orjson.loads(text)
                for key in self._keys(instance):
                    time = row["logging_time"].timestamp()
                    for until, timed in self._timed.get(key, ()):
                        if time <= until and time >= candidates.get(timed, (float("-inf"),))[0]:
                            candidates[timed] = (time, row, index)
                    if key in self._by_name:
                        later.append((key, row, index))
                        break
        taken = set()
        for timed, (_, row, index) in candidates.items():
            if (place := (row["request_id"], index)) not in taken:
                taken.add(place)
                yield self._outcome(timed, row, index)
        for key, row, index in later:
            if (row["request_id"], index) not in taken:
                yield self._outcome(key, row, index)

    def _by_id(self, row: Mapping[str, Any], index: int) -> str:
        for given in (str(row["request_id"]), row["caller_request_id"]):
            if given and (name := f"id:{index}:{given}") in self._by_name:
                return name
        return ""

    def _keys(self, instance: Any) -> Iterator[str]:
        if not isinstance(instance, dict):
            return
        for columns in self._columns:
            try:
                if all(column in instance for column in columns):
                    yield key_name({column: instance[column] for column in columns}, "instance")
            except InvalidArgument:
                continue  # a list or an object is no key

    def _outcome(self, name: str, row: Mapping[str, Any], index: int) -> Outcome:
        label = self._by_name[name]
        self.used.add(name)
        answers = row["response_payload"]
        return Outcome(
            row["logging_time"].timestamp(), int(row["request_id"]), index, row["deployed_model_id"],
            row["model_version"], orjson.loads(row["request_payload"][index]),
            orjson.loads(answers[index]) if index < len(answers) else None, label.truth, label.observed,
        )  # fmt: skip
