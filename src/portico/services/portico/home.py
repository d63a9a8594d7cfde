"""What a home holds: what `portico status` asks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.errors import Unavailable
from portico.prediction.front.sync import ask_fronts
from portico.prediction.prediction_log import lost
from portico.services.call import Call, implements
from portico.services.portico.jobs import shown
from portico.store import domain_clock, replicas, resources, service
from portico.store import jobs as jobs_store
from portico.store.objects import soft_deleted
from portico.store.tables.jobs import jobs
from portico.store.tables.resources import resources as resources_table
from portico.store.tables.storage import buckets, objects

_HOUR = 3600.0
_FRONTS = 2.0  # seconds
_WAITING = 10  # jobs that are queued


@implements("portico", "home.get")
def get(call: Call) -> dict[str, Any]:
    unloaded = _unloaded(call.rooms.home)
    with call.rooms.database.read() as connection:
        for stored in replicas.load_all(connection):
            if stored.state == "FAILED":
                unloaded.setdefault(stored.spec.id, {"deployedModel": stored.spec.id, "reason": stored.error})
        held = _counted(connection, resources_table.c.kind)
        for name, table in (("buckets", buckets), ("objects", objects)):
            if count := connection.execute(sa.select(sa.func.count()).select_from(table)).scalar():
                held[name] = int(count)
        hour_ago = domain_clock.now(connection, call.rooms.clock) - _HOUR
        counts_of = service.listed(connection, start=hour_ago)
        return {
            "jobs": _counted(connection, jobs.c.state),
            "waiting": [shown(job) for job in jobs_store.next_queued(connection, "process", _WAITING)],
            "resources": held,
            "served": [_served(connection, *key, counts) for key, counts in counts_of.items()],
            "notServed": [_named(connection, one) for one in unloaded.values()],
            "lostPredictions": lost(connection),
            "softDeletedBytes": str(soft_deleted.size(connection)),
            "locations": _locations(connection),
        }


def _unloaded(home: Path) -> dict[str, dict[str, str]]:
    """By id, the deployed models that a front could not load. A front that does not answer tells nothing."""
    try:
        answers = ask_fronts(home, {"unloaded": True}, time.monotonic() + _FRONTS)
    except Unavailable:
        return {}
    return {one["deployedModel"]: one for answer in answers for one in answer["unloaded"]}


def _named(connection: Connection, one: dict[str, str]) -> dict[str, str]:
    endpoint = one.get("endpoint", "")
    return {"endpoint": endpoint, **_display_names(connection, endpoint, one["deployedModel"]), **one}


def _counted(connection: Connection, column: sa.Column[Any]) -> dict[str, int]:
    rows = connection.execute(sa.select(column, sa.func.count()).group_by(column).order_by(column))
    return {str(name): int(count) for name, count in rows}


def _locations(connection: Connection) -> list[dict[str, Any]]:
    """Where resources are: `projects/P/locations/L`, with how many are right below each."""
    parent = resources_table.c.parent
    chosen = sa.select(parent, sa.func.count()).where(
        parent.like("projects/%/locations/%"), parent.not_like("projects/%/locations/%/%")
    )
    rows = connection.execute(chosen.group_by(parent).order_by(parent))
    return [{"name": str(name), "resources": int(count)} for name, count in rows]


def _served(
    connection: Connection, endpoint: str, deployed_model: str, counts: service.Counts
) -> dict[str, Any]:
    numbers = {
        "p50Latency": counts.quantile(0.5),
        "p99Latency": counts.quantile(0.99),
        "saturation": counts.saturation,
    }
    return {
        "endpoint": endpoint,
        "deployedModel": deployed_model,
        **_display_names(connection, endpoint, deployed_model),
        "requests": counts.requests,
        "failed": counts.failed,
        **{name: value for name, value in numbers.items() if value is not None},
    }


def _display_names(connection: Connection, endpoint: str, deployed_model: str) -> dict[str, str]:
    """What people call an endpoint and a model deployed on it; their ids, where they are gone or have no name."""
    found = resources.get(connection, endpoint)
    body = found.body if found else {}
    named = {one["id"]: one.get("displayName", "") for one in body.get("deployedModels") or []}
    return {
        "endpointDisplayName": body.get("displayName") or endpoint.rpartition("/")[2],
        "deployedModelDisplayName": named.get(deployed_model) or deployed_model,
    }
