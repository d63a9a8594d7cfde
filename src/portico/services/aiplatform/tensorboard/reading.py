"""Points read from time series: some or all of them, several series together, in pages; and the bytes of blobs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound, ResourceExhausted
from portico.services.aiplatform.tensorboard import points
from portico.services.aiplatform.tensorboard.tensorboards import TENSORBOARDS, VIEWS, blob_uri
from portico.services.aiplatform.tensorboard.time_series import TIME_SERIES
from portico.services.call import Call, implements
from portico.services.standard import order, pages
from portico.services.standard.apis import declared
from portico.services.standard.fields import FieldTypes
from portico.services.standard.filters import compile_filter
from portico.services.standard.sources import gcs_of
from portico.store import tensorboard
from portico.store.tensorboard import Series

_USUAL = 1000  # points that are read where nobody says how many
_USUAL_OF_LARGE = 100  # of tensors and blobs, where several series are read together
_MOST = 10_000
_ALL = 100_000  # points that one answer holds
_BLOBS = 64 << 20  # bytes that one answer holds
Keep = Callable[[Mapping[str, Any]], bool]


@implements("aiplatform", TIME_SERIES.method("read"))
def read(call: Call) -> dict[str, Any]:
    """At most so many points, evenly spread over the steps, with the first and the last."""
    name = str(call.params["tensorboardTimeSeries"])
    asked = int(call.params.get("maxDataPoints") or _USUAL)
    if asked < -1 or asked > _MOST:
        raise InvalidArgument(
            f"maxDataPoints is {asked}; it must be from 1 to {_MOST:,}, or -1 for all.", field="maxDataPoints"
        )
    keep = _filter(call, str(call.params.get("filter", "")))
    with call.rooms.database.read() as connection:
        series = _require(connection, name)
        if keep is None and asked != -1:
            shown = [
                points.render(p, series.value_type)
                for p in tensorboard.spread(connection, series.number, asked)
            ]
        else:
            shown = _some(connection, series, keep, None if asked == -1 else asked)
    _note(call, name)
    return {"timeSeriesData": _data(series, shown)}


def _some(
    connection: Connection, series: Series, keep: Keep | None, most: int | None
) -> list[dict[str, Any]]:
    found = []
    for point in tensorboard.walk(connection, series.number):
        shown = points.render(point, series.value_type)
        if keep is None or keep(shown):
            found.append(shown)
            if len(found) > _ALL:
                raise ResourceExhausted(
                    f"More than {_ALL:,} points are too many for one answer; read them in pages by "
                    "exportTensorboardTimeSeries."
                )
    if most is None or len(found) <= most:
        return found
    if most == 1:
        return found[-1:]
    return [found[place * (len(found) - 1) // (most - 1)] for place in range(most)]


@implements("aiplatform", TENSORBOARDS.method("batchRead"))
def batch_read(call: Call) -> dict[str, Any]:
    name, asked = str(call.params["tensorboard"]), list(call.params.get("timeSeries") or [])
    for one in asked:  # none, where a client reads all of a run that has none
        if not one.startswith(f"{name}/"):
            raise InvalidArgument(f"{one!r} is no time series of {name}.", field="timeSeries")
    found = []
    with call.rooms.database.read() as connection:
        TENSORBOARDS.require(connection, name)
        for one in asked:
            series = _require(connection, one)
            most = _USUAL if series.value_type == "SCALAR" else _USUAL_OF_LARGE
            several = tensorboard.spread(connection, series.number, most)
            found.append(_data(series, [points.render(p, series.value_type) for p in several]))
    _note(call, name)
    return {"timeSeriesData": found}


@implements("aiplatform", TIME_SERIES.method("exportTensorboardTimeSeries"))
def export(call: Call) -> dict[str, Any]:
    """A page of all points, by step where nothing else is asked."""
    name, body = str(call.params["tensorboardTimeSeries"]), call.body
    size = pages.page_size(body.get("pageSize"), default=_USUAL, maximum=_MOST)
    text, ordered = str(body.get("filter", "")), str(body.get("orderBy", ""))
    terms = order.parse_order(ordered, _fields(call), sortable=("step", "wallTime"))
    if len(terms) > 1:
        raise InvalidArgument("orderBy takes one of step and wall_time.", field="orderBy")
    by_time = bool(terms) and terms[0].path == ("wallTime",)
    query = (name, text, ordered)
    after = pages.read_token(str(body.get("pageToken", "")), "tensorboardPoints", *query)
    keep = _filter(call, text)
    found: list[dict[str, Any]] = []
    answer: dict[str, Any] = {"timeSeriesDataPoints": found}
    place: list[int] = []
    with call.rooms.database.read() as connection:
        series = _require(connection, name)
        descending = bool(terms) and terms[0].descending
        for point in tensorboard.walk(
            connection, series.number, by_time=by_time, descending=descending, after=after
        ):
            shown = points.render(point, series.value_type)
            if keep is not None and not keep(shown):
                continue
            if len(found) == size:
                answer["nextPageToken"] = pages.write_token(place, "tensorboardPoints", *query)
                break
            found.append(shown)
            place = [point.wall_time, point.step] if by_time else [point.step]
    _note(call, name)
    return answer


@implements("aiplatform", TIME_SERIES.method("readBlobData"))
def read_blob_data(call: Call) -> list[dict[str, Any]]:
    """A message a blob: the method streams, which in JSON is a list."""
    name, asked = str(call.params["timeSeries"]), list(call.params.get("blobIds") or [])
    if not asked:
        raise InvalidArgument("blobIds is missing: the ids of the blobs to read.", field="blobIds")
    with call.rooms.database.read() as connection:
        TIME_SERIES.require(connection, name)
        prefix = TENSORBOARDS.require(connection, "/".join(name.split("/")[:6])).body["blobStoragePathPrefix"]
    gcs, rows = gcs_of(call.rooms), []
    for blob_id in asked:
        uri = blob_uri(prefix, name, blob_id)
        try:
            rows.append((blob_id, gcs.find(uri)))
        except NotFound:
            raise NotFound(f"The time series has no blob {blob_id!r}: there is no object {uri}.") from None
    if sum(row.size for _, row in rows) > _BLOBS:
        raise ResourceExhausted(
            f"These blobs have more than {_BLOBS >> 20} MiB together. Ask for fewer at once, or read them from "
            f"gs://{prefix} itself."
        )
    _note(call, name)
    read = []
    for blob_id, row in rows:
        with gcs.open(row) as file:
            data = base64.b64encode(file.read()).decode()
        read.append({"blobs": [{"id": blob_id, "data": data}]})
    return read


def _require(connection: Connection, name: str) -> Series:
    """
    Raises:
        NotFound: there is no such time series.
    """
    series = tensorboard.find(connection, [name]).get(name)
    if series is None:
        raise NotFound(f"The TensorboardTimeSeries {name!r} does not exist.")
    return series


def _data(series: Series, shown: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tensorboardTimeSeriesId": series.name.rpartition("/")[2],
        "valueType": series.value_type,
        "values": shown,
    }


def _fields(call: Call) -> FieldTypes:
    message = declared()[call.api].message_name(call.version, "TimeSeriesDataPoint")
    return call.rooms.fields(call.api, call.version, message)


def _filter(call: Call, text: str) -> Keep | None:
    return compile_filter(text, _fields(call)) if text.strip() else None


def _note(call: Call, name: str) -> None:
    VIEWS.note(call, "/".join(name.split("/")[:6]))
