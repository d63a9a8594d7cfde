"""Monitoring of tables of BigQuery, by the official clients."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected
from tests.waiting import until
from vertexai.resources.preview.ml_monitoring import spec

from . import test_monitoring as first
from . import test_monitoring_found as explaining
from .monitored import advance, alerts, monitor, rows, schema

__all__ = ["advance"]


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("seen")
    for name, shift in (("before", 0.0), ("after", 3.0)):
        made.load_table_from_dataframe(pd.DataFrame(rows(1, 600, shift))[["a"]], f"seen.{name}").result()
    made.query("CREATE VIEW seen.same AS SELECT * FROM seen.before").result()
    return made


def test_a_monitor_compares_tables_and_views(upload: Any, client: bigquery.Client):
    def table(name: str) -> Any:
        return spec.MonitoringInput(table_uri=f"bq://test-project.seen.{name}")

    watched = monitor(upload(), table("before"), model_monitoring_schema=schema(fields={"a": "float"}))
    found = []
    for name in ("same", "after"):
        job = watched.run(target_dataset=table(name), sync=True)
        found.append(alerts(watched, model_monitoring_job_name=job.resource_name))
    assert found == [[], ["a"]]


def test_a_monitor_compares_what_queries_yield(upload: Any, client: bigquery.Client):
    def asked(text: str) -> Any:
        return spec.MonitoringInput(query=text)

    fields = {"a": "float"}
    watched = monitor(
        upload(), asked("SELECT a FROM seen.before"), model_monitoring_schema=schema(fields=fields)
    )
    found = []
    for text in ("SELECT a FROM seen.same", "SELECT a + 1 AS a FROM seen.after"):
        job = watched.run(target_dataset=asked(text), sync=True)
        found.append(alerts(watched, model_monitoring_job_name=job.resource_name))
    assert found == [[], ["a"]]
    with pytest.raises(RuntimeError, match="nothing"):
        watched.run(target_dataset=asked("SELECT nothing FROM seen.before"), sync=True)


def test_the_first_monitoring_compares_requests_with_a_table(
    aiplatform: Any, upload: Any, client: bigquery.Client, advance: Any
):
    table = pd.DataFrame(first.rows(0, 2000)).assign(y=0.0)
    client.load_table_from_dataframe(table, "seen.learnt").result()
    endpoint = upload().deploy()
    job = first.monitor(aiplatform, endpoint, "bq://test-project.seen.learnt")
    advance(1)
    for shift in (0.0, 2.0):
        for start in range(0, 600, 100):
            endpoint.predict(first.rows(5000 + start, 100, shift))
        advance(first.HOUR)
    skew = first.found(job, endpoint, "RAW_FEATURE_SKEW")
    assert [distance > threshold for distance, threshold in skew["a"]] == [True, False]
    assert [distance > threshold for distance, threshold in skew["b"]] == [False, False]
    [table] = job.gca_resource.bigquery_tables
    name = f"test-project.model_deployment_monitoring_{endpoint.name}.serving_predict"
    assert (table.log_source.name, table.log_type.name) == ("SERVING", "PREDICT")
    assert table.bigquery_table_path == f"bq://{name}" and client.list_rows(name).total_rows == 12
    assert answered(client, f"SELECT SUM(ARRAY_LENGTH(request_payload)) FROM `{name}`") == [(1200,)]
    job.delete()
    endpoint.delete(force=True)


def test_what_is_explained_has_a_table_of_its_own(aiplatform: Any, upload: Any, client: bigquery.Client):
    endpoint = upload().deploy(
        explanation_parameters={"sampled_shapley_attribution": {"path_count": 5}},
        explanation_metadata={"inputs": {name: {} for name in "abc"}, "outputs": {"value": {}}},
    )
    job = explaining.monitor(aiplatform, endpoint, "", explain=True)
    endpoint.predict(explaining.rows(1, 3))
    endpoint.explain(explaining.rows(2, 2))
    tables = {one.log_type.name: one.bigquery_table_path for one in job.gca_resource.bigquery_tables}
    place = f"bq://test-project.model_deployment_monitoring_{endpoint.name}"
    assert tables == {"PREDICT": f"{place}.serving_predict", "EXPLAIN": f"{place}.serving_explain"}
    for kind, rows_in in (("PREDICT", 3), ("EXPLAIN", 2)):
        name = tables[kind].removeprefix("bq://")
        until(lambda name=name: client.list_rows(name).total_rows == 1, f"a row of {kind}")
        [(method, count)] = answered(
            client, f"SELECT api_method, ARRAY_LENGTH(request_payload) FROM `{name}`"
        )
        assert (method, count) == (kind.lower(), rows_in)
    job.delete()
    endpoint.delete(force=True)
