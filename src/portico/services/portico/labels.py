"""Ground truth: which predictions a label belongs to, and how it reaches us.

A label names its prediction by request id (ours, which the answer carries as x-request-id, or what the caller sent as
X-Request-Id) and the instance's place in the request; or by a key (instance columns and their values), with a time: the
newest prediction of that key made at or before it; or by a key alone: every prediction of that key. By request id wins
over by key and time, which wins over by key alone. A label may come before its prediction: it waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339
from portico.errors import InvalidArgument
from portico.prediction.prediction_log import batch_stream_of, stream_of
from portico.services.call import Call, implements
from portico.services.portico.joining import key_name
from portico.services.portico.key_index import Indexes
from portico.services.portico.label_tally import Tally
from portico.services.portico.truths import ANY, Truths, truths_of
from portico.services.standard.serving import ENDPOINTS
from portico.store import domain_clock, labels
from portico.store.labels import Label
from portico.store.segments import Segments, listed

_MOST = 10_000  # labels of one request
_SAMPLE = 5  # labels that can't be read and are shown


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
        truths = truths_of(connection, ENDPOINTS.require(connection, endpoint))
    read = [read_label(body, f"labels[{position}]", now, truths) for position, body in enumerate(given)]
    with call.rooms.database.write() as connection:
        ENDPOINTS.require(connection, endpoint)
        found = labels.add(connection, endpoint, read)
    return {"new": found.new, "repeated": found.repeated, "contradicted": found.contradicted}


@implements("portico", "projects.locations.endpoints.labelStats")
def stats(call: Call) -> dict[str, Any]:
    """Counts what the log holds, online and of batch jobs, each joined by itself: as whoever watches one reads it."""
    endpoint = str(call.params["endpoint"])
    with call.rooms.database.read() as connection:
        truths = truths_of(connection, ENDPOINTS.require(connection, endpoint))
        found = labels.counts(connection, endpoint)
        names = set(labels.names_of(connection, endpoint))
        count, sample = _unreadable(connection, endpoint, truths)
    segments = Segments(call.rooms.home, call.rooms.database, call.rooms.clock, call.rooms.ids)
    indexes, tallies = Indexes(call.rooms), []
    for stream in (stream_of(endpoint), batch_stream_of(endpoint)):
        with call.rooms.database.read() as connection:
            held = listed(connection, stream)
        tallies.append(Tally(names, indexes))
        if names:
            tallies[-1].add(held)
        else:  # nothing to join: it is enough to count
            tallies[-1].predictions = sum(segments.cells(one, "request_payload") for one in held)
    online, batch = tallies
    return {
        "labels": found.new,
        "repeated": found.repeated,
        "contradicted": found.contradicted,
        "waiting": len(names - online.used() - batch.used()),
        "predictions": online.predictions + batch.predictions,
        "batchPredictions": batch.predictions,
        "labelledPredictions": online.labelled() + batch.labelled(),
        "unreadable": count,
        "unreadableSample": sample,
    }


def _unreadable(connection: Connection, endpoint: str, truths: Truths) -> tuple[int, list[str]]:
    """How many labels can't be read as what the deployed models predict, and a few of them."""
    count, sample = 0, list[str]()
    for name, truth in labels.truths_of(connection, endpoint) if truths.every else ():
        if not truths.readable(truth):
            count += 1
            if len(sample) < _SAMPLE:
                sample.append(f"{name}: {truth!r}"[:200])
    return count, sample


def read_label(body: Mapping[str, Any], field: str, now: float, truths: Truths = ANY) -> Label:
    """A label from its JSON, which `field` names in messages; it arrives `now`, in domain time.

    Raises:
        InvalidArgument: it names no prediction, or has no truth, or none that `truths` take.
    """
    if body.get("truth") is None:
        raise InvalidArgument(f"{field}.truth is missing.", field=f"{field}.truth")
    if refused := truths.refused(body["truth"]):
        raise InvalidArgument(f"{field}.truth {refused}.", field=f"{field}.truth")
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
    # What is observed in the future would lock out every correction until then.
    observed = min(parse_rfc3339(body["observedTime"]), now) if body.get("observedTime") else now
    return Label(name, body["truth"], observed, now, bool(body.get("influenced")))
