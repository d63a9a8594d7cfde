"""What the warehouse is asked of its resources: datasets, tables, policies and routines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument, Unimplemented
from portico.warehouse import (
    access,
    catalog,
    decorators,
    external,
    iam_policies,
    partition_summary,
    partitions,
    prediction_logs,
    routines,
    sizes,
    storage,
    timetravel,
)
from portico.warehouse.asked import Asked
from portico.warehouse.catalog import Entry
from portico.warehouse.defaults import Defaults
from portico.warehouse.engine import Warehouse
from portico.warehouse.queries import Query
from portico.warehouse.routines import Routine

# --- datasets and tables ---


def get(warehouse: Warehouse, project: str, dataset: str, table: str = "") -> dict[str, Any]:
    with warehouse.reading() as cursor:
        if table.endswith(partition_summary.MARK):
            found = catalog.require(cursor, project, dataset, table.removesuffix(partition_summary.MARK))
            partition_summary.select(found, "true")
            times = {key: found.body[key] for key in ("creationTime", "lastModifiedTime")}
            return dict(times, type="TABLE", schema={"fields": partition_summary.FIELDS})
        asked = decorators.entry_of({"project": project, "dataset": dataset, "table": table})
        found = decorators.newest(cursor, asked) or catalog.require(cursor, project, dataset, asked.table)
        body = _public(found.body)
        if table:
            body["location"] = catalog.require(cursor, project, dataset).body.get("location", "US")
        if found.storage:
            where = f" WHERE {partitions.chosen(found, asked.partition)}" if asked.partition else ""
            [(rows, size)] = catalog.do(
                cursor, f"SELECT count(*), {sizes.total(found.fields)} FROM {found.place}{where}"
            )
            body |= {"numRows": str(rows), "numBytes": str(size)}
        elif prediction_logs.STREAMS in found.body:
            body["numRows"] = str(prediction_logs.count(found, warehouse.folder.parent))
    return body


def listed(warehouse: Warehouse, project: str, dataset: str | None = None) -> list[dict[str, Any]]:
    with warehouse.reading() as cursor:
        if dataset is not None:
            catalog.require(cursor, project, dataset)
        return [
            {"dataset": one.dataset, "table": one.table, **_public(one.body)}
            for one in catalog.listed(cursor, project, dataset)
        ]


def create_dataset(warehouse: Warehouse, project: str, dataset: str, body: dict[str, Any]) -> dict[str, Any]:
    entry = Entry(project, dataset, "", body)
    with warehouse.transaction() as cursor:
        catalog.create_dataset(cursor, entry)
    return _public(entry.body)


def create_table(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    table: str,
    body: dict[str, Any],
    outside: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    entry = Entry(project, dataset, table, body)
    if any(one.get("generatedColumn") for one in (body.get("schema") or {}).get("fields") or ()):
        raise Unimplemented(
            "Generated columns are declared by CREATE TABLE in Portico, not by tables.insert."
        )
    if told := body.get("externalDataConfiguration"):
        if fields := (body.get("schema") or {}).get("fields"):
            told = {**told, "schema": {"fields": fields}}
        entry.body |= {"type": "EXTERNAL", "schema": {"fields": external.schema(told, outside)}}
    if view := body.get("view"):
        if view.get("useLegacySql"):
            raise InvalidArgument(
                "Views of legacy SQL are not built in Portico; set useLegacySql to false",
                reason="invalid",
            )
        made = warehouse.run(view["query"], Asked(project, f"{project}.{dataset}", dry=True))
        entry.body |= {"type": "VIEW", "schema": {"fields": made[-1].fields}}
    if view := body.get("materializedView"):  # computed when it is read: never stale
        made = warehouse.run(str(view.get("query")), Asked(project, f"{project}.{dataset}", dry=True))
        entry.body |= {"type": "MATERIALIZED_VIEW", "schema": {"fields": made[-1].fields}}
    partitions.check(entry)
    with warehouse.transaction() as cursor:
        Defaults(cursor, Asked(project, f"{project}.{dataset}"), exp.Null()).settle_defaults(entry.fields)
        catalog.create_table(cursor, entry)
    return _public(entry.body)


def update(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    table: str,
    body: dict[str, Any],
    detects: bool = False,
    outside: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """Writes a resource's settings; a table's schema may grow. `detects`: an external table's is what its files
    show."""
    if detects and (told := body.get("externalDataConfiguration")):
        own = {key: value for key, value in told.items() if key != "schema"}
        body["schema"] = {"fields": external.schema(own, outside)}
    with warehouse.transaction() as cursor:
        found = catalog.require(cursor, project, dataset, table)
        schema = (body.get("schema") or {}).get("fields")
        if schema is not None and found.is_stored:
            Defaults(cursor, Asked(project, f"{project}.{dataset}"), exp.Null()).settle_defaults(schema)
            catalog.add_fields(cursor, found, schema)
        elif schema is not None and not found.is_view:
            catalog.check_fields(schema)
        if body.get("view") and found.body.get("type") == "VIEW":
            made = warehouse.run(body["view"]["query"], Asked(project, f"{project}.{dataset}", dry=True))
            body["schema"] = {"fields": made[-1].fields}
        if (view := found.body.get("materializedView")) and (body.get("materializedView") or {}).get(
            "query"
        ) != view["query"]:
            raise InvalidArgument(
                f"The query of a materialized view can't be changed: {found.shown}; drop it and make it anew",
                reason="invalid",
            )
        kept = {key: value for key, value in found.body.items() if key.startswith("_")}
        found.body = {
            **kept,
            **body,
            "type": found.body.get("type"),
            "creationTime": found.body["creationTime"],
        }
        if found.body["type"] is None:
            del found.body["type"]
        catalog.write(cursor, found)
        return _public(found.body)


def undelete_dataset(warehouse: Warehouse, project: str, dataset: str) -> dict[str, Any]:
    with warehouse.transaction() as cursor:
        return _public(timetravel.undrop_dataset(cursor, Entry(project, dataset, "")).body)


def projects(warehouse: Warehouse) -> list[str]:
    """Those that have a dataset."""
    with warehouse.reading() as cursor:
        return catalog.projects(cursor)


def delete(warehouse: Warehouse, project: str, dataset: str, table: str = "", contents: bool = False) -> None:
    with warehouse.transaction() as cursor:
        asked = decorators.entry_of({"project": project, "dataset": dataset, "table": table})
        found = catalog.require(cursor, project, dataset, asked.table)
        if asked.partition:
            storage.delete(cursor, found, partitions.chosen(found, asked.partition))
            catalog.write(cursor, found)
        elif table:
            catalog.drop_table(cursor, found)
        else:
            catalog.drop_dataset(cursor, found, contents=contents)


def policies(warehouse: Warehouse, project: str, dataset: str, table: str) -> list[dict[str, Any]]:
    with warehouse.reading() as cursor:
        return access.policies(catalog.require(cursor, project, dataset, table))


def write_policy(
    warehouse: Warehouse, project: str, dataset: str, table: str, policy: dict[str, Any], replace: bool
) -> dict[str, Any]:
    with warehouse.transaction() as cursor:
        found = catalog.require(cursor, project, dataset, table)
        if found.storage:
            asked = Asked(project, f"{project}.{dataset}", warehouse=warehouse)
            Query(cursor, asked, exp.Null()).check_policy(found, policy["filterPredicate"])
        return access.write(cursor, found, policy, replace=replace)


def drop_policies(warehouse: Warehouse, project: str, dataset: str, table: str, names: list[str]) -> None:
    with warehouse.transaction() as cursor:
        found = catalog.require(cursor, project, dataset, table)
        for name in names:
            access.drop(cursor, found, name)


# --- routines ---


def routine(warehouse: Warehouse, project: str, dataset: str, name: str) -> dict[str, Any]:
    with warehouse.reading() as cursor:
        return _public(routines.require(cursor, project, dataset, name).body)


def listed_routines(warehouse: Warehouse, project: str, dataset: str) -> list[dict[str, Any]]:
    with warehouse.reading() as cursor:
        catalog.require(cursor, project, dataset)
        return [{"name": one.name, **_public(one.body)} for one in routines.listed(cursor, project, dataset)]


def write_routine(
    warehouse: Warehouse, project: str, dataset: str, name: str, body: dict[str, Any], replace: bool
) -> dict[str, Any]:
    made = Routine(project, dataset, name, body)
    with warehouse.transaction() as cursor:
        routines.write(cursor, made, replace=replace)
    return _public(made.body)


def drop_routine(warehouse: Warehouse, project: str, dataset: str, name: str) -> None:
    with warehouse.transaction() as cursor:
        routines.drop(cursor, routines.require(cursor, project, dataset, name))


# --- IAM policies ---


def iam_policy(warehouse: Warehouse, project: str, dataset: str, table: str, routine: str) -> dict[str, Any]:
    with warehouse.reading() as cursor:
        if routine:
            return iam_policies.get(routines.require(cursor, project, dataset, routine).body)
        return iam_policies.get(catalog.require(cursor, project, dataset, table).body)


def set_iam_policy(
    warehouse: Warehouse,
    project: str,
    dataset: str,
    table: str,
    routine: str,
    policy: dict[str, Any],
    etag: str,
) -> dict[str, Any]:
    with warehouse.transaction() as cursor:
        if routine:
            found = routines.require(cursor, project, dataset, routine)
            made = iam_policies.put(found.body, policy, etag)
            routines.write(cursor, found)
            return made
        entry = catalog.require(cursor, project, dataset, table)
        made = iam_policies.put(entry.body, policy, etag)
        catalog.write(cursor, entry)
        return made


def _public(body: dict[str, Any]) -> dict[str, Any]:
    """A resource without what only the warehouse knows of it."""
    return {key: value for key, value in body.items() if not key.startswith("_")}


OF_RESOURCES: dict[str, Callable[..., Any]] = {
    "get": get, "listed": listed, "projects": projects, "create_dataset": create_dataset,
    "undelete_dataset": undelete_dataset, "create_table": create_table, "update": update, "delete": delete,
    "policies": policies, "write_policy": write_policy, "drop_policies": drop_policies,
    "routine": routine, "routines": listed_routines, "write_routine": write_routine, "drop_routine": drop_routine,
    "iam_policy": iam_policy, "set_iam_policy": set_iam_policy,
}  # fmt: skip
