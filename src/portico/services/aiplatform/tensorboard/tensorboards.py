"""TensorBoards: the default one, where their blobs lie, how large they are and who reads them."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.services.call import Call, Rooms, implements
from portico.services.standard.collection import POLICIES, After, Collection, register
from portico.services.standard.names import location_of
from portico.services.standard.sources import gcs_of
from portico.store import resources, tensorboard
from portico.store.objects import buckets as objects_buckets
from portico.store.resources import Resource
from portico.store.tables.resources import resources as _rows

_NOTED = 100  # views that are counted in memory; a crash loses the count of so many
RUNS_KIND = "aiplatform:tensorboards.experiments.runs"


class Tensorboards(Collection):
    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        if before is None:
            resource.body["blobStoragePathPrefix"] = blob_bucket(
                connection, resource.name, call.rooms.clock.now()
            )

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        if not resource.body.get("isDefault"):
            return
        for other in list(resources.listed(connection, self.kind, resource.parent)):
            if other.name != resource.name and other.body.pop("isDefault", False):
                resources.update(connection, other, call.rooms.clock.now())

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> After | None:
        tensorboard.forget_views(connection, resource.name)
        return None

    def complete(self, connection: Connection, shown: Sequence[dict[str, Any]]) -> None:
        for one in shown:
            counted = sa.select(sa.func.count()).select_from(_rows).where(_rows.c.kind == RUNS_KIND)
            # "0" comes right behind "/".
            of = counted.where(_rows.c.parent > f"{one['name']}/", _rows.c.parent < f"{one['name']}0")
            one["runCount"] = int(connection.execute(of).scalar() or 0)


TENSORBOARDS = Tensorboards(
    "projects.locations.tensorboards",
    "Tensorboard",
    cascade=True,
    output_only=frozenset({"blobStoragePathPrefix", "runCount", "satisfiesPzi", "satisfiesPzs"}),
    immutable=frozenset({"encryptionSpec"}),
)
register(TENSORBOARDS, "create", "get", "list", "patch", "delete", *POLICIES)


def blob_bucket(connection: Connection, name: str, now: float) -> str:
    """The bucket for blobs of all TensorBoards of a project's location, made with the first of them."""
    project, location = name.split("/")[1], name.split("/")[3]
    bucket = f"cloud-ai-platform-{uuid.uuid5(uuid.NAMESPACE_URL, location_of(name))}"
    settings = {"location": location.upper(), "storageClass": "STANDARD"}
    objects_buckets.ensure(connection, bucket, project, settings, now)
    return bucket


def blob_uri(prefix: str, series: str, blob_id: str) -> str:
    """Where clients put a blob of the time series of that name, which the TensorBoard with that prefix has."""
    parts = series.split("/")
    return f"gs://{prefix}/tensorboard-{parts[5]}/{parts[7]}/{parts[9]}/{parts[11]}/{blob_id}"


@implements("aiplatform", TENSORBOARDS.method("readSize"))
def read_size(call: Call) -> dict[str, Any]:
    """The bytes of its points and of its blobs."""
    name = str(call.params["tensorboard"])
    with call.rooms.database.read() as connection:
        body = TENSORBOARDS.require(connection, name).body
        points = tensorboard.size(connection, name)
    folder = f"gs://{body['blobStoragePathPrefix']}/tensorboard-{name.rpartition('/')[2]}"
    return {"storageSizeByte": str(points + sum(row.size for row in gcs_of(call.rooms).under(folder)))}


class _Views:
    """How often who read what. Reading must not wait for a write, so most of it is written together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: Counter[tuple[str, str, str]] = Counter()

    def note(self, call: Call, name: str) -> None:
        month = datetime.fromtimestamp(call.rooms.clock.now(), UTC).strftime("%Y%m")
        with self._lock:
            self._counted[name, month, call.caller.email or "owner"] += 1
            full = self._counted.total() >= _NOTED
        if full:
            self.write(call.rooms)

    def write(self, rooms: Rooms) -> None:
        with self._lock:
            counted, self._counted = self._counted, Counter()
        if counted:
            with rooms.database.write() as connection:
                for (name, month, user), count in counted.items():
                    tensorboard.add_views(connection, name, month, user, count)


VIEWS = _Views()


@implements("aiplatform", TENSORBOARDS.method("readUsage"))
def read_usage(call: Call) -> dict[str, Any]:
    name = str(call.params["tensorboard"])
    with call.rooms.database.read() as connection:
        TENSORBOARDS.require(connection, name)
    VIEWS.write(call.rooms)
    months: dict[str, Any] = {}
    with call.rooms.database.read() as connection:
        for month, user, count in tensorboard.views_of(connection, name):
            used = months.setdefault(month, {"userUsageData": []})["userUsageData"]
            used.append({"username": user, "viewCount": str(count)})
    return {"monthlyUsageData": months} if months else {}
