"""SQL: an editor, the tables that there are, and a query's result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from portico.console.looking import BASE, Looking, address, page
from portico.errors import InvalidArgument

_AT = "/projects/{project}/locations/{location}/sql"
_ROWS = 50  # of a result on a page
_SETS, _TABLES = 50, 100  # that are named beside the editor
_PATIENCE = 0.4  # seconds that a page waits for what stands beside the editor
_asking = ThreadPoolExecutor(4, thread_name_prefix="tables")
_FIRST = "SELECT 'hello' AS greeting, 42 AS answer"


@page(_AT)
def editor(looking: Looking) -> Response:
    table = looking.query.get("table", "")
    schema: dict[str, Any] = {}
    query = looking.query.get("query", "") or _FIRST
    if table:
        dataset, _, name = table.partition(".")
        schema = looking.api.call(
            "GET", f"{_project(looking)}/datasets/{quote(dataset)}/tables/{quote(name)}"
        )
        query = f"SELECT *\nFROM `{looking.project}.{table}`\nLIMIT 100"
    return looking.show(
        "sql.html", "SQL", query=query, schema=schema, table=table, job={}, section="sql", **_beside(looking)
    )


@page(_AT, "POST")
def ask(looking: Looking) -> Response:
    """Starts a query, and leads to its page. It is only priced where the form asks for that."""
    text = looking.form.get("query", "").strip()
    if not text:
        raise InvalidArgument("Write a query first.")
    dry = looking.form.get("dry") == "1"
    configuration: dict[str, Any] = {"query": {"query": text, "useLegacySql": False}}
    made = looking.api.call(
        "POST",
        f"{_project(looking)}/jobs",
        {"configuration": configuration | ({"dryRun": True} if dry else {})},
    )
    if dry:
        size = int((made.get("statistics") or {}).get("totalBytesProcessed", 0))
        return looking.show(
            "sql.html", "SQL", query=text, job={}, priced=size, section="sql", **_beside(looking)
        )
    return looking.go(address(f"{looking.parent}/sql/{made['jobReference']['jobId']}"))


@page(f"{_AT}/{{id}}")
def result(looking: Looking) -> Response:
    """A query's job, and where it has ended the rows of a page of its result."""
    job = looking.api.call("GET", f"{_project(looking)}/jobs/{quote(looking.part('id'))}")
    query = ((job.get("configuration") or {}).get("query") or {}).get("query", "")
    done = (job.get("status") or {}).get("state") == "DONE"
    error = (job.get("status") or {}).get("errorResult") or {}
    found: dict[str, Any] = {}
    more = ""
    if done and not error and query:
        asked = {"maxResults": _ROWS, "pageToken": looking.query.get("page", "")}
        path = f"{_project(looking)}/queries/{quote(looking.part('id'))}"
        found = looking.api.call("GET", path, **{k: v for k, v in asked.items() if v})
        token = found.get("pageToken", "")
        more = looking.with_query(page=token) if token else ""
    fields = (found.get("schema") or {}).get("fields") or []
    return looking.show(
        "sql.html",
        "SQL",
        query=query,
        job=job,
        done=done,
        error=error,
        fields=[f["name"] for f in fields],
        numbers=[at for at, f in enumerate(fields) if f["type"] in _NUMBERS],
        rows=list(_rows(found, fields)),
        more=more,
        total=int(found.get("totalRows") or 0),
        found=found,
        section="sql",
        **_beside(looking),
    )


@page(f"{_AT}/{{id}}/cancel", "POST")
def cancel(looking: Looking) -> Response:
    looking.api.call("POST", f"{_project(looking)}/jobs/{quote(looking.part('id'))}/cancel", {})
    return looking.go(f"{BASE}/{looking.parent}/sql/{quote(looking.part('id'))}")


_NUMBERS = ("INTEGER", "INT64", "FLOAT", "FLOAT64", "NUMERIC", "BIGNUMERIC")


def _project(looking: Looking) -> str:
    return f"/bigquery/v2/projects/{quote(looking.project)}"


def _beside(looking: Looking) -> dict[str, Any]:
    """The data sets with their tables, and the newest queries; nothing yet where that takes long, since the warehouse
    starts with the first request: the page has it when it is read again."""
    found = _asking.submit(_tables, looking)
    try:
        return found.result(_PATIENCE)
    except TimeoutError:  # who nobody knows is refused even so
        path = f"/apis/cloudresourcemanager/v3/projects/{quote(looking.project)}:testIamPermissions"
        looking.api.call("POST", path, {"permissions": ["bigquery.jobs.create"]})
        return {}


def _tables(looking: Looking) -> dict[str, Any]:
    api, project = looking.api, _project(looking)
    sets, jobs = api.each(
        lambda: api.listed(f"{project}/datasets", "datasets", maxResults=_SETS),
        lambda: api.listed(f"{project}/jobs", "jobs", maxResults=10, projection="full"),
    )

    names = [one["datasetReference"]["datasetId"] for one in sets]
    tables = api.over(
        lambda name: api.listed(f"{project}/datasets/{quote(name)}/tables", "tables", maxResults=_TABLES),
        names,
    )
    return {
        "tables": {
            name: [one["tableReference"]["tableId"] for one in some]
            for name, some in zip(names, tables, strict=True)
        },
        "recent": [one for one in jobs if ((one.get("configuration") or {}).get("query") or {}).get("query")],
    }


def _rows(found: Mapping[str, Any], fields: list[dict[str, Any]]) -> Iterator[list[Any]]:
    for row in found.get("rows") or []:
        yield [_cell(cell.get("v"), field) for cell, field in zip(row["f"], fields, strict=True)]


def _cell(value: Any, field: Mapping[str, Any]) -> Any:
    """A cell as text: lists and structs as they nest, times in the second's form."""
    if value is None:
        return "NULL"
    if field.get("mode") == "REPEATED":
        inner = {**field, "mode": "NULLABLE"}
        return "[" + ", ".join(str(_cell(one.get("v"), inner)) for one in value) + "]"
    if field["type"] in ("RECORD", "STRUCT"):
        pairs = zip(field.get("fields") or [], value["f"], strict=True)
        return (
            "{" + ", ".join(f"{inner['name']}: {_cell(cell.get('v'), inner)}" for inner, cell in pairs) + "}"
        )
    if field["type"] == "TIMESTAMP":
        from datetime import UTC, datetime

        return f"{datetime.fromtimestamp(float(value), UTC):%Y-%m-%d %H:%M:%S} UTC"
    return value
