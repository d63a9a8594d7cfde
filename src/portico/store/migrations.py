"""What homes of an older Portico hold otherwise, brought to the present shape when they are opened."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from portico.store.labels import key_of
from portico.store.tables.log import labels
from portico.store.tables.resources import resources

# Kinds were the last segment of a collection's path.
_KINDS = {
    "alertDeliveries": "portico:alertDeliveries",
    "alerts": "portico:stewards.alerts",
    "batchPredictionJobs": "aiplatform:batchPredictionJobs",
    "customJobs": "aiplatform:customJobs",
    "datasetVersions": "aiplatform:datasets.datasetVersions",
    "datasets": "aiplatform:datasets",
    "endpoints": "aiplatform:endpoints",
    "episodes": "portico:stewards.episodes",
    "evaluations": "aiplatform:models.evaluations",
    "modelDeploymentMonitoringJobs": "aiplatform:modelDeploymentMonitoringJobs",
    "modelMonitoringJobs": "aiplatform:modelMonitors.modelMonitoringJobs",
    "modelMonitors": "aiplatform:modelMonitors",
    "modelVersions": "aiplatform:models.versions",
    "models": "aiplatform:models",
    "schedules": "aiplatform:schedules",
    "slices": "aiplatform:models.evaluations.slices",
    "stewards": "portico:stewards",
    "trainingPipelines": "aiplatform:trainingPipelines",
}


def migrate(connection: Connection, added: Collection[str]) -> None:
    """Once a home: kinds get their API and path, what lay in a body under "_" goes into the column `private`, the
    sketches of windows, which nobody read, go, and labels say their keys. `added`: the columns ("TABLE.COLUMN") that
    were not there."""
    for row in connection.execute(sa.select(resources).where(resources.c.kind.in_(_KINDS))).all():
        body = orjson.loads(row.body)
        private = body.pop("_", None)
        if row.kind == "endpoints" and private:
            private = _of_endpoint(private)
        values: dict[str, Any] = {"kind": _KINDS[row.kind]}
        if private is not None:
            values |= {"body": orjson.dumps(body), "private": orjson.dumps(private)}
        connection.execute(sa.update(resources).where(resources.c.name == row.name).values(values))
    columns = sa.inspect(connection).get_columns("monitoring_windows")
    if any(column["name"] == "sketches" for column in columns):
        connection.exec_driver_sql("ALTER TABLE monitoring_windows DROP COLUMN sketches")
    if "labels.key" in added:
        _say_keys(connection)


def _say_keys(connection: Connection) -> None:
    named = sa.select(labels.c.endpoint, labels.c.name).where(sa.not_(labels.c.name.startswith("id:")))
    found = [{"of": r.endpoint, "called": r.name, "said": key_of(r.name)} for r in connection.execute(named)]
    if found:
        of, called = labels.c.endpoint == sa.bindparam("of"), labels.c.name == sa.bindparam("called")
        connection.execute(sa.update(labels).where(of, called).values(key=sa.bindparam("said")), found)


def _of_endpoint(old: dict[str, Any]) -> dict[str, Any]:
    """Beside two rates and a share, its keys were deployed models' ids."""
    rates = {"monitoring": old.pop("samplingRate", 0.0), "steward": old.pop("stewardSamplingRate", 0.0)}
    sampling = {who: rate for who, rate in rates.items() if rate}
    return {"holdout": old.pop("stewardHoldout", 0.0), "sampling": sampling, "served": old}
