"""bigquery.tables: insert, get, list, patch, update, delete."""

from __future__ import annotations

from typing import Any

from portico.errors import InvalidArgument, Unimplemented
from portico.services.bigquery import shapes
from portico.services.bigquery.outside import outside
from portico.services.bigquery.pages import page
from portico.services.call import Call, implements

_SETTINGS = frozenset(
    [
        "clustering",
        "defaultCollation",
        "description",
        "encryptionConfiguration",
        "expirationTime",
        "externalDataConfiguration",
        "friendlyName",
        "labels",
        "materializedView",
        "rangePartitioning",
        "requirePartitionFilter",
        "resourceTags",
        "schema",
        "tableConstraints",
        "timePartitioning",
        "view",
    ]
)


@implements("bigquery", "tables.insert")
def insert(call: Call) -> dict[str, Any]:
    for other in ("cloneDefinition", "snapshotDefinition"):
        if call.body.get(other):
            raise Unimplemented(f"Tables with {other} are not built in Portico yet.")
    name = shapes.check_table_id(str((call.body.get("tableReference") or {}).get("tableId", "")))
    where = _dataset(call)
    with outside(call, f"projects/{where['project']}/bigquery/tables/{name}") as reach:
        body = shapes.ask(call, "create_table", reach, **where, table=name, body=_settings(call.body))
    return shapes.table_json(
        where["project"], where["dataset"], name, {**body, "numRows": "0", "numBytes": "0"}
    )


@implements("bigquery", "tables.get")
def get(call: Call) -> dict[str, Any]:
    where = _table(call)
    return shapes.table_json(**_named(where), body=shapes.ask(call, "get", **where))


@implements("bigquery", "tables.list")
def list_(call: Call) -> dict[str, Any]:
    where = _dataset(call)
    shown = []
    for one in shapes.ask(call, "listed", **where):
        kept = (
            "labels",
            "friendlyName",
            "timePartitioning",
            "rangePartitioning",
            "clustering",
            "creationTime",
        )
        shown.append({
            "kind": "bigquery#table",
            "id": f"{where['project']}:{one['dataset']}.{one['table']}",
            "tableReference": shapes.table_reference(where["project"], one["dataset"], one["table"]),
            "type": one.get("type", "TABLE"),
            **{key: one[key] for key in kept if key in one},
            **({"view": {"useLegacySql": False}} if one.get("type") == "VIEW" else {}),
        })  # fmt: skip
    return page(call, "bigquery#tableList", "tables", shown)


@implements("bigquery", "tables.patch", "tables.update")
def change(call: Call) -> dict[str, Any]:
    replace = call.method.endswith(".update")
    where = _table(call)
    before = shapes.ask(call, "get", **where)
    counted = {key: before.pop(key) for key in ("numRows", "numBytes", "location") if key in before}
    shapes.check_etag(call, before)
    change = _settings(call.body)
    fixed = {"schema", "timePartitioning", "rangePartitioning", "view", "materializedView"}
    kept = {key: value for key, value in before.items() if key in fixed} if replace else before
    body = shapes.patched(
        {key: value for key, value in kept.items() if key not in change or replace is False}, change
    )
    if "schema" in change:
        body["schema"] = change["schema"] or before.get("schema")
    with outside(call, f"projects/{where['project']}/bigquery/tables/{where['table']}") as reach:
        detects = bool(call.params.get("autodetect_schema"))
        body = shapes.ask(call, "update", reach, **where, body=body, detects=detects)
    return shapes.table_json(**_named(where), body={**counted, **body})


@implements("bigquery", "tables.delete")
def delete(call: Call) -> None:
    shapes.ask(call, "delete", **_table(call))


def _dataset(call: Call) -> dict[str, str]:
    return {"project": shapes.project(call), "dataset": str(call.params["datasetId"])}


def _table(call: Call) -> dict[str, str]:
    return {**_dataset(call), "table": str(call.params["tableId"])}


def _named(where: dict[str, str]) -> dict[str, str]:
    return {"project_id": where["project"], "dataset": where["dataset"], "table": where["table"]}


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in body.items() if key in _SETTINGS}
    if (kept.get("schema") or {}).get("fields") is None and kept.get("schema") is not None:
        raise InvalidArgument("schema has no fields", reason="invalid", field="schema.fields")
    if kept.get("schema"):
        kept["schema"] = {**kept["schema"], "fields": _untagged(kept["schema"]["fields"])}
    return kept


def _untagged(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fields without an empty list of policy tags: that is how a client takes them away."""
    return [
        {
            key: _untagged(value) if key == "fields" and value else value
            for key, value in one.items()
            if key != "policyTags" or (value or {}).get("names")
        }
        for one in fields
    ]
