"""Meters what is used by being there: deployed models and stored objects; jobs and queries are metered as they end. And
has the budgets looked at."""

from __future__ import annotations

import logging
import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import PorticoError
from portico.services.aiplatform import machine_types
from portico.services.aiplatform.deployment_resource_pools import resources_of
from portico.services.alerts import budgets
from portico.services.call import Rooms
from portico.services.standard.serving import ENDPOINTS
from portico.store import resources, usage
from portico.store.tables.storage import buckets, objects

log = logging.getLogger(__name__)

_EVERY = 300.0  # seconds
_LONGEST = 3 * _EVERY  # a machine that slept has served nothing meanwhile


def meter_forever(rooms: Rooms, stopping: threading.Event) -> None:
    """Meters, and looks at the budgets, every five minutes."""
    database, clock = rooms.database, rooms.clock
    before = clock.monotonic()
    while True:
        over = stopping.wait(_EVERY)
        now = clock.monotonic()
        try:
            with database.write() as connection:
                meter(connection, clock.now(), min(now - before, _LONGEST))
            before = now
            with database.write() as connection:
                budgets.look(rooms.home, connection, rooms.ids, clock.now())
        except PorticoError as error:  # tried again, with the time since
            log.warning("what is used was not metered, or not compared with the budgets: %s", error.message)
        if over:
            return


def meter(connection: Connection, now: float, seconds: float) -> None:
    """Adds what is deployed and stored at `now`, as what was so for `seconds`."""
    shared: set[str] = set()
    for endpoint in resources.listed(connection, ENDPOINTS.kind):
        for deployed in endpoint.body.get("deployedModels") or []:
            if pool := deployed.get("sharedResources"):
                shared.add(pool)
                continue
            model = deployed["model"].partition("@")[0]
            _machines(
                connection,
                now,
                seconds,
                resources_of(connection, deployed),
                model,
                endpoint.body.get("labels"),
            )
    for pool in shared:  # once, however many models are on it
        _machines(connection, now, seconds, resources_of(connection, {"sharedResources": pool}), pool, None)
    stored = (
        sa.select(buckets.c.project, buckets.c.name, sa.func.sum(objects.c.size))
        .join_from(buckets, objects, objects.c.bucket == buckets.c.name)
        .group_by(buckets.c.project, buckets.c.name)
    )
    for project, name, size in connection.execute(stored).all():
        usage.add(
            connection, now, project, usage.STORED, f"projects/_/buckets/{name}", float(size or 0) * seconds
        )


def _machines(
    connection: Connection, now: float, seconds: float, asked: dict[str, Any], user: str, labels: Any
) -> None:
    machines = seconds * max(1, int(asked.get("minReplicaCount") or 1))
    of = ((usage.SERVING_CORES, machine_types.cores(asked)),
          (usage.SERVING_MEMORY, machine_types.whole_memory(asked) / 2**30))  # fmt: skip
    for sku, amount in of:
        usage.add(connection, now, user.split("/")[1], sku, user, machines * amount, labels)
