"""Statements as the real BigQuery answered them, by its client. The recordings lie beside the project, not in it."""

from __future__ import annotations

import base64
import collections
import datetime as dt
import decimal
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from dateutil.relativedelta import relativedelta
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import connected

RECORDED = (
    Path(os.environ.get("PORTICO_SHARED", Path(__file__).parents[3] / "shared"))
    / "data/bigquery_recorded.jsonl"
)
# What is right today, of all that were recorded; a kind may only get better.
RIGHT = {
    "api_configuration": 40, "export_data": 9, "information_schema": 8, "partitioning_clustering": 14,
    "rest_crud": 100, "routines_scripting": 42, "row_access": 10, "specialized_types": 95, "standard_functions": 399,
    "versioning": 15,
}  # fmt: skip


def shown(value: Any) -> Any:
    """A value of the client's as the recordings have it."""
    if isinstance(value, decimal.Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, list):
        return [shown(one) for one in value]
    if isinstance(value, dict):
        return {key: shown(one) for key, one in value.items()}
    if isinstance(value, relativedelta):
        return repr(value)
    return value


def same(left: Any, right: Any) -> bool:
    if isinstance(right, str) and isinstance(left, dict | list | int | bool):  # JSON, which the client reads
        return bool(left == json.loads(right))
    if isinstance(left, float) or isinstance(right, float):
        try:
            a, b = float(left), float(right)
        except (TypeError, ValueError):
            return False
        return a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


def told(fields: Any) -> list[Any]:
    """A schema, as far as the recordings have it."""
    found = []
    for one in fields:
        body = one if isinstance(one, dict) else one.to_api_repr()
        kind = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}
        found.append(
            (
                body["name"], kind.get(body["type"], body["type"]), body.get("mode", "NULLABLE"),
                told(body.get("fields") or ()),
            )
        )  # fmt: skip
    return found


def parameter(one: dict[str, Any]) -> Any:
    name, kind, value = one.get("name"), one["type"], one["value"]
    if isinstance(kind, dict) and kind["type"] == "ARRAY":
        return bigquery.ArrayQueryParameter(name, kind["arrayType"]["type"], value)
    if isinstance(kind, dict):
        return bigquery.StructQueryParameter(
            name,
            *(parameter({**field, "value": value[field["name"]]}) for field in kind["structTypes"]),
        )
    return bigquery.ScalarQueryParameter(name, kind, value)


def configured(one: dict[str, Any], filled: Callable[[Any], Any]) -> bigquery.QueryJobConfig:
    made = bigquery.QueryJobConfig()
    for name, value in filled(one.get("job_config") or {}).items():
        if name == "time_partitioning":
            value = bigquery.TimePartitioning(type_=value["type"], field=value.get("field"))
        elif name == "connection_properties":
            value = [bigquery.ConnectionProperty(**each) for each in value]
        elif name == "default_dataset":
            value = bigquery.DatasetReference.from_string(value)
        setattr(made, name, value)
    if one.get("parameters"):
        made.query_parameters = [parameter(filled(each)) for each in one["parameters"]["parameters"]]
    return made


def problem(one: dict[str, Any], client: bigquery.Client, url: str, places: dict[str, str]) -> str:
    """How the answer differs from the recorded one; "" where it does not."""

    def filled(value: Any) -> Any:
        text = json.dumps(value)
        for name, place in places.items():
            text = text.replace(name, place)
        return json.loads(text)

    expected = one["expected"]
    try:
        if one.get("setup"):
            client.query(filled(one["setup"])).result()
        for asked in one.get("setup_rest") or ():
            sent = httpx.request(asked["method"], url + filled(asked["path"]), json=filled(asked["body"]))
            if sent.is_error:
                return f"the request before it: {sent.text}"
        config = configured(one, filled)
        job = client.query(filled(one["query"]), job_config=config)
        rows = list(job.result()) if not config.dry_run else []
    except GoogleAPICallError as error:
        if "error" not in expected:
            return error.message or repr(error)
        reason = error.errors[0].get("reason") if error.errors else None
        if (error.code, reason) != (expected["error"]["http_status"], expected["error"]["reason"]):
            return f"{error.code} {reason}, not {expected['error']}: {error.message}"
        return ""
    if "error" in expected:
        return "it was answered"
    schema = job.schema if config.dry_run else job.result().schema
    if told(schema) != told(expected["schema"]):
        return f"the schema is {told(schema)}, not {told(expected['schema'])}"
    found = [{key: shown(value) for key, value in row.items()} for row in rows]
    if not same(found, expected["rows"]):
        unordered = "ORDER BY" not in one["query"].upper()
        if not (unordered and same(sorted(found, key=str), sorted(expected["rows"], key=str))):
            return f"the rows are {found}, not {expected['rows']}"
    meta = expected.get("job_metadata") or {}
    for name in ("statement_type", "ddl_operation_performed", "num_dml_affected_rows"):
        if name in meta and getattr(job, name) != meta[name]:
            return f"{name} is {getattr(job, name)}, not {meta[name]}"
    return ""


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.exists(), reason=f"the recordings are not there: {RECORDED}")
def test_recorded_statements(portico: Any, bucket: Any) -> None:
    client = connected(portico)
    right: collections.Counter[str] = collections.Counter()
    said = []
    [caller] = next(iter(client.query("SELECT SESSION_USER()").result())).values()
    for number, line in enumerate(RECORDED.read_text().splitlines()):
        one = json.loads(line)
        dataset = f"recorded_{number}"
        client.create_dataset(dataset)
        places = {
            "${DATASET}": f"{client.project}.{dataset}", "${PROJECT}": client.project, "${DATASET_ID}": dataset,
            "${GCS_BUCKET}": bucket.name, "${PRINCIPAL}": f"user:{caller}",
            "${OTHER_PRINCIPAL}": "user:bob@example.com",
            "${GROUP}": "group:team@example.com",
        }  # fmt: skip
        if found := problem(one, client, portico.url, places):
            said.append(f"{one['id']}: {found[:600]}")
        else:
            right[one["id"].partition("/")[0]] += 1
        for name in (dataset, f"{dataset}_views"):
            client.delete_dataset(name, delete_contents=True, not_found_ok=True)
    print("\n".join(said))
    print(sum(right.values()), right)
    assert all(right[kind] >= least for kind, least in RIGHT.items()), (right, said)
