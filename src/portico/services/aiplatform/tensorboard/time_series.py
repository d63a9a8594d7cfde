"""The time series of a run: what they are called, what their points are, and how far they go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.services.aiplatform.tensorboard import points
from portico.services.aiplatform.tensorboard.experiments import (
    EXPERIMENTS,
    TENSORBOARD_ID,
    check_display_name,
    created,
)
from portico.services.call import Call, implements
from portico.services.standard.collection import After, Collection, register
from portico.store import tensorboard
from portico.store.resources import Resource

_PLUGIN_DATA = 65 << 10  # bytes
_UNKNOWN = "VALUE_TYPE_UNSPECIFIED"


class TimeSeries(Collection):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if body.get("valueType", _UNKNOWN) == _UNKNOWN:
            raise InvalidArgument("valueType must be SCALAR, TENSOR or BLOB_SEQUENCE.", field="valueType")
        if len(body.get("pluginData", "")) * 3 // 4 > _PLUGIN_DATA:
            raise InvalidArgument(
                f"pluginData has more than {_PLUGIN_DATA >> 10} KiB, the most that a time series takes.",
                field="pluginData",
            )
        check_display_name(self, connection, resource, before)

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        if before is None:
            number = int(call.rooms.ids.number())
            tensorboard.add_series(connection, resource.name, number, resource.body["valueType"])

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        tensorboard.delete(connection, resource.name)
        return None

    def complete(self, connection: Connection, shown: Sequence[dict[str, Any]]) -> None:
        found = tensorboard.find(connection, (one["name"] for one in shown))
        for one in shown:
            series = found[one["name"]]
            if series.max_step is None or series.max_wall_time is None:
                continue
            one["metadata"] = {
                "maxStep": str(series.max_step),
                "maxWallTime": points.time_of(series.max_wall_time),
            }
            if series.value_type == "BLOB_SEQUENCE":
                one["metadata"]["maxBlobSequenceLength"] = str(series.max_blobs)


TIME_SERIES = TimeSeries(
    "projects.locations.tensorboards.experiments.runs.timeSeries",
    "TensorboardTimeSeries",
    ids=TENSORBOARD_ID,
    output_only=frozenset({"metadata"}),
    immutable=frozenset({"valueType", "pluginName"}),
)
register(TIME_SERIES, "create", "get", "list", "patch", "delete")


@implements("aiplatform", EXPERIMENTS.method("batchCreate"))
def batch_create(call: Call) -> dict[str, Any]:
    made = created(call, TIME_SERIES, "tensorboardTimeSeries")
    return {"tensorboardTimeSeries": made} if made else {}
