"""What the fronts serve: one row for each endpoint, followed by the change topic "served"."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.database import bump
from portico.store.tables.resources import served_endpoints as _table

TOPIC = "served"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One deployed model as a front needs it.

    `id` is the deployed model's, `model` the model's resource name. `format` is "portico", "lightgbm", "onnx"
    (loaded into the front from `path`) or "replica" (asked at the Unix sockets `replicas`). `explain` says
    whether it was deployed with an explanation spec; `explanation` is what its predictor needs of the spec. `digest`
    is that of its files; without one (an older Portico deployed it) nobody has tried them yet. `raw` ones take a
    rawPredict of any content as it is.
    """

    id: str
    model: str
    model_version_id: str
    display_name: str
    format: str
    path: str = ""
    replicas: list[str] = field(default_factory=list)
    explain: bool = False
    explanation: dict[str, object] = field(default_factory=dict)
    digest: str = ""
    raw: bool = False


@dataclass(frozen=True, slots=True)
class ServedEndpoint:
    """An endpoint. `name` is canonical: `projects/P/locations/L/endpoints/E`.

    `traffic_split` maps ids of `deployed` to percents that add up to 100; it is empty when nothing is to get
    traffic. `sampling_rate` is the fraction of requests that the tap keeps, 0 when logging is off; `holdout` the
    fraction of predictions whose answer says that it must not be acted upon, which the tap always keeps.
    """

    name: str
    deployed: list[ServedModel] = field(default_factory=list)
    traffic_split: dict[str, int] = field(default_factory=dict)
    sampling_rate: float = 0.0
    holdout: float = 0.0


def put(connection: Connection, endpoint: ServedEndpoint) -> int:
    """Makes `endpoint` what the fronts serve under its name; returns the version for `await_fronts`."""
    connection.execute(sa.delete(_table).where(_table.c.name == endpoint.name))
    connection.execute(sa.insert(_table).values(name=endpoint.name, body=msgspec.json.encode(endpoint)))
    return bump(connection, TOPIC)


def delete(connection: Connection, name: str) -> int:
    """Stops serving the endpoint `name`; returns the version for `await_fronts`."""
    connection.execute(sa.delete(_table).where(_table.c.name == name))
    return bump(connection, TOPIC)


def load_all(connection: Connection) -> list[ServedEndpoint]:
    """Every served endpoint, by name."""
    rows = connection.execute(sa.select(_table.c.body).order_by(_table.c.name)).scalars()
    return [msgspec.json.decode(body, type=ServedEndpoint) for body in rows]
