"""Points written into time series: a request is in the database, all of it, when it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from portico.errors import InvalidArgument, NotFound
from portico.services.aiplatform.tensorboard import points
from portico.services.aiplatform.tensorboard.experiments import EXPERIMENTS, RUNS
from portico.services.call import Call, implements
from portico.services.standard.collection import Collection
from portico.store import tensorboard
from portico.store.tensorboard import Point

_MOST = 5000  # points of a request


@implements("aiplatform", RUNS.method("write"))
def write_run(call: Call) -> dict[str, Any]:
    run = str(call.params["tensorboardRun"])
    return _write(call, RUNS, run, [(run, "timeSeriesData", call.body["timeSeriesData"])])


@implements("aiplatform", EXPERIMENTS.method("write"))
def write_experiment(call: Call) -> dict[str, Any]:
    experiment = str(call.params["tensorboardExperiment"])
    written = []
    for number, request in enumerate(call.body["writeRunDataRequests"]):
        field, run = f"writeRunDataRequests[{number}]", str(request.get("tensorboardRun", ""))
        if not run.startswith(f"{experiment}/runs/"):
            raise InvalidArgument(
                f"{field}.tensorboardRun is {run!r}, which is no run of {experiment}.",
                field=f"{field}.tensorboardRun",
            )
        written.append((run, f"{field}.timeSeriesData", request.get("timeSeriesData") or []))
    return _write(call, EXPERIMENTS, experiment, written)


def _write(
    call: Call,
    collection: Collection,
    target: str,
    written: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]],
) -> dict[str, Any]:
    """`written` has by run where in the request its TimeSeriesData stand, and these."""
    every = [
        (f"{run}/timeSeries/{data.get('tensorboardTimeSeriesId', '')}", f"{field}[{number}]", data)
        for run, field, several in written
        for number, data in enumerate(several)
    ]
    total = sum(len(data.get("values") or []) for _, _, data in every)
    if total > _MOST:
        raise InvalidArgument(
            f"The request writes {total:,} points; at most {_MOST:,} are written at once. Send it in parts."
        )
    now = call.rooms.clock.now()
    with call.rooms.database.read() as connection:  # before a lock is held: types never change
        collection.require(connection, target)
        known = tensorboard.find(connection, (name for name, _, _ in every))
    parsed: dict[str, list[Point]] = {}
    for name, field, data in every:
        series = known.get(name)
        if series is None:
            raise NotFound(f"The TensorboardTimeSeries {name!r} does not exist.")
        said = data.get("valueType", "VALUE_TYPE_UNSPECIFIED")
        if said not in (series.value_type, "VALUE_TYPE_UNSPECIFIED"):
            raise InvalidArgument(
                f"{field}.valueType is {said}; the time series {name} is one of {series.value_type}.",
                field=f"{field}.valueType",
            )
        parsed.setdefault(name, []).extend(
            points.parse(point, series.value_type, now, f"{field}.values[{number}]")
            for number, point in enumerate(data.get("values") or [])
        )
    blobs = {
        name: max((len(points.blob_ids(point.value)) for point in several), default=0)
        for name, several in parsed.items()
        if known[name].value_type == "BLOB_SEQUENCE"
    }
    with call.rooms.database.write() as connection:
        current = tensorboard.find(connection, parsed)
        for name in parsed:
            if name not in current or current[name].number != known[name].number:
                raise NotFound(f"The TensorboardTimeSeries {name!r} was deleted meanwhile.")
        tensorboard.put(
            connection,
            {name: (current[name], several, blobs.get(name, 0)) for name, several in parsed.items()},
        )
    return {}
