"""What was used, and what it would have cost on Google Cloud: an estimate by list prices that the home may change."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import InvalidArgument
from portico.services.alerts import budgets
from portico.services.call import Call, implements
from portico.services.standard.prices import Prices
from portico.store import resources, usage
from portico.store.usage import Used

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_GROUPS: Final = ("resource", "model", "sku", "day", "month")
_MODEL = re.compile(r"projects/[^/]+/locations/[^/]+/models/[^/@]+")


@implements("portico", "projects.queryUsage")
def query_usage(call: Call) -> dict[str, Any]:
    today = rfc3339(call.rooms.clock.now())[:10]
    start = _day(call, "startDate", f"{today[:7]}-01")
    end = _day(call, "endDate", today)
    by = call.params.get("groupBy") or "resource"
    if by not in _GROUPS and not by.startswith("label:"):
        raise InvalidArgument(f"groupBy is one of {', '.join(_GROUPS)} or label:KEY.", field="groupBy")
    prices = Prices.of(call.rooms.home)
    project = call.name.partition("/")[2]
    costs: dict[str, float] = defaultdict(float)
    amounts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    with call.rooms.database.read() as connection:
        for used in usage.read(connection, project, start, end):
            group = _group(connection, used, by)
            costs[group] += prices.cost(used.sku, used.amount)
            amounts[group][used.sku] += used.amount
        over = budgets.standings(
            connection, prices, call.rooms.clock.now(), None if call.caller.owner else project
        )
    rows = [
        {"group": group, "cost": round(cost, 6), "amounts": dict(amounts[group])}
        for group, cost in sorted(costs.items(), key=lambda one: (-one[1], one[0]))
    ]
    return {
        "rows": rows, "cost": round(sum(costs.values()), 6), "currency": prices.currency, "pricesAsOf": prices.as_of,
        "startDate": start, "endDate": end, "budgets": [one.shown() for one in over if one.covers(project)],
    }  # fmt: skip


def _day(call: Call, name: str, default: str) -> str:
    given = str(call.params.get(name) or default)
    if not _DAY.fullmatch(given):
        raise InvalidArgument(f"{name} is a day: 2026-11-29.", field=name)
    return given


def _group(connection: Connection, used: Used, by: str) -> str:
    if by.startswith("label:"):
        return used.labels.get(by.removeprefix("label:"), "")
    if by == "model":
        return _model_of(connection, used.resource)
    return {"resource": used.resource, "sku": used.sku, "day": used.day, "month": used.day[:7]}[by]


def _model_of(connection: Connection, resource: str) -> str:
    """The model that was trained, asked or deployed; empty where it was none."""
    if _MODEL.fullmatch(resource):
        return resource
    found = resources.get(connection, resource)
    body = found.body if found else {}
    named = str((body.get("modelToUpload") or {}).get("name") or body.get("model") or "")
    return named.partition("@")[0]
