"""What was used: added up by day, project and resource, in the transaction in which it is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.store.tables.usage import usage as _table

CORES: Final = "core-seconds of jobs"
MEMORY: Final = "GiB-seconds of jobs"
SERVING_CORES: Final = "core-seconds of deployed models"
SERVING_MEMORY: Final = "GiB-seconds of deployed models"
QUERIES: Final = "bytes billed of queries"
STORED: Final = "byte-seconds of objects"
SKUS: Final = (CORES, MEMORY, SERVING_CORES, SERVING_MEMORY, QUERIES, STORED)


@dataclass(frozen=True, slots=True)
class Used:
    """`amount` in the unit that `sku` names; `day` "2026-11-29"."""

    day: str
    project: str
    sku: str
    resource: str
    amount: float
    labels: dict[str, str]


def add(
    connection: Connection,
    now: float,
    project: str,
    sku: str,
    resource: str,
    amount: float,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Adds to what `resource` has used on the day of `now` (seconds since the epoch)."""
    if amount <= 0:
        return
    key = {"day": rfc3339(now)[:10], "project": project, "sku": sku, "resource": resource}
    told = orjson.dumps(dict(labels or {}))
    here = sa.and_(*(_table.c[name] == value for name, value in key.items()))
    more = sa.update(_table).where(here).values(amount=_table.c.amount + amount, labels=told)
    if not connection.execute(more).rowcount:
        connection.execute(sa.insert(_table).values(**key, amount=amount, labels=told))


def read(connection: Connection, project: str | None, start: str, end: str) -> Iterator[Used]:
    """Of the days from `start` to `end`, both included, by day; of all projects where none is given."""
    chosen = sa.select(_table).where(_table.c.day >= start, _table.c.day <= end)
    if project is not None:
        chosen = chosen.where(_table.c.project == project)
    for row in connection.execute(chosen.order_by(_table.c.day, _table.c.resource, _table.c.sku)):
        values: dict[str, Any] = dict(row._mapping)
        yield Used(**values | {"labels": orjson.loads(values["labels"])})


def of_resource(connection: Connection, name: str) -> dict[str, float]:
    """What a resource, and what is below it, has used in all, by sku."""
    here = sa.or_(_table.c.resource == name, _table.c.resource.startswith(f"{name}/", autoescape=True))
    chosen = sa.select(_table.c.sku, sa.func.sum(_table.c.amount)).where(here).group_by(_table.c.sku)
    return {sku: float(amount) for sku, amount in connection.execute(chosen)}
