"""Tables of BigQuery as Vertex AI's datasets, by the official clients."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests import processes
from tests.services.bigquery.test_bigquery import connected
from tests.waiting import until

ROWS = 400


def flights() -> pd.DataFrame:
    draw = np.random.default_rng(3)
    carrier = draw.choice(["AA", "DL", "UA"], ROWS)
    distance = draw.integers(100, 3000, ROWS)
    late = (carrier == "AA") | (distance > 2500)
    return pd.DataFrame(
        {
            "carrier": carrier,
            "distance": distance,
            "day": [datetime.date(2024, 1, 1) + datetime.timedelta(days=int(n)) for n in range(ROWS)],
            "late": np.where(late, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("air")
    made.load_table_from_dataframe(flights(), "air.flights").result()
    made.query(
        "CREATE TABLE air.typed AS SELECT *, CAST(distance AS NUMERIC) / 3 AS fare, distance > 900 AS far, "
        "TIMESTAMP(day) AS at, [distance, 1] AS pair, STRUCT(carrier AS name) AS who FROM air.flights"
    ).result()
    made.query("CREATE VIEW air.seen AS SELECT carrier, distance, late FROM air.flights").result()
    return made


def columns_of(dataset: Any) -> dict[str, str]:
    return {one["name"]: one["kind"] for one in dataset.to_dict()["metadata"]["statistics"]["columns"]}


def test_a_table_is_a_dataset_with_its_types(
    aiplatform: Any, client: bigquery.Client, portico: Any, monkeypatch
):
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", portico.url)
    dataset = aiplatform.TabularDataset.create(display_name="typed", bq_source="bq://test-project.air.typed")
    assert dataset.to_dict()["metadata"]["inputConfig"] == {
        "bigquerySource": {"uri": "bq://test-project.air.typed"}
    }
    assert columns_of(dataset) == {
        "carrier": "categorical", "distance": "numeric", "day": "timestamp", "late": "categorical",
        "fare": "numeric", "far": "categorical", "at": "timestamp", "pair": "unsupported", "who": "unsupported",
    }  # fmt: skip
    assert set(dataset.column_names) >= {"carrier", "fare", "late"}
    view = aiplatform.TabularDataset.create(display_name="seen", bq_source="bq://test-project.air.seen")
    assert set(columns_of(view)) == {"carrier", "distance", "late"}


def test_a_list_of_one_table_is_that_table(
    aiplatform: Any, client: bigquery.Client, portico: Any, monkeypatch
):
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", portico.url)
    table = "bq://test-project.air.flights"
    dataset = aiplatform.TabularDataset.create(display_name="listed", bq_source=[table])
    assert dataset.to_dict()["metadata"]["inputConfig"] == {"bigquerySource": {"uri": table}}
    assert set(dataset.column_names) == {"carrier", "distance", "day", "late"}


def test_a_training_reads_the_rows_of_the_version_that_was_restored(aiplatform: Any, client: bigquery.Client):
    client.query("CREATE TABLE air.changing AS SELECT * FROM air.flights").result()
    table = "bq://test-project.air.changing"
    dataset = aiplatform.TabularDataset.create(display_name="changing", bq_source=table)
    version = create_version(aiplatform, dataset)
    client.query("DELETE FROM air.changing WHERE late = 'yes'").result()
    restore(aiplatform, version)
    job = aiplatform.AutoMLTabularTrainingJob(
        display_name="late",
        optimization_prediction_type="classification",
        column_specs={"carrier": "auto", "distance": "auto"},
    )
    model = job.run(dataset=dataset, target_column="late", budget_milli_node_hours=2)
    told = dict(job._gca_resource.training_task_metadata)
    assert sum(int(told["rows"][part]) for part in ("training", "validation", "test")) == ROWS
    assert [one["uri"] for one in told["data"]] == [table]
    [evaluation] = model.list_model_evaluations()
    assert evaluation.metrics["auRoc"] > 0.95


def create_version(aiplatform: Any, dataset: Any) -> str:
    made = service(aiplatform).create_dataset_version(
        parent=dataset.resource_name, dataset_version={"display_name": "first"}
    )
    return str(made.result().name)


def restore(aiplatform: Any, version: str) -> None:
    service(aiplatform).restore_dataset_version(name=version).result()


def service(aiplatform: Any) -> Any:
    from google.cloud.aiplatform import initializer, utils

    return initializer.global_config.create_client(client_class=utils.DatasetClientWithOverride)


CODE = """
import os
parts = [os.environ[f"AIP_{part}_DATA_URI"] for part in ("TRAINING", "VALIDATION", "TEST")]
print(os.environ["AIP_DATA_FORMAT"], *parts)
"""


def test_a_custom_training_gets_its_splits_as_tables(
    aiplatform: Any, client: bigquery.Client, portico: Any, bucket: Any
):
    dataset = aiplatform.TabularDataset.create(display_name="typed", bq_source="bq://test-project.air.typed")
    job = aiplatform.CustomContainerTrainingJob(
        "split", "python:3.11", command=["python", "-c", CODE], staging_bucket=f"gs://{bucket.name}"
    )
    job.run(dataset, bigquery_destination="bq://test-project")
    [line] = [
        line
        for path in portico.home.glob("jobs/*/log.txt")
        for line in path.read_text().splitlines()
        if " bigquery bq://" in line or line.startswith("bigquery bq://")
    ]
    uris = [word.removeprefix("bq://") for word in line.split() if word.startswith("bq://")]
    assert [uri.rpartition(".")[2] for uri in uris] == ["training", "validation", "test"]
    assert uris[0].startswith(f"test-project.dataset_{dataset.name}_tabular_20")
    tables = [client.get_table(uri) for uri in uris]
    assert [table.num_rows for table in tables] == [ROWS * 8 // 10, ROWS // 10, ROWS // 10]
    assert [(one.name, one.field_type) for one in tables[2].schema] == [
        (one.name, one.field_type) for one in client.get_table("air.typed").schema
    ]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("bq://test-project.air.nothing", "Not found: Table test-project:air.nothing"),
        ("bq://test-project.nowhere.flights", "Not found: Dataset test-project:nowhere"),
        ("bq://test-project.air", "bq://PROJECT.DATASET.TABLE"),
    ],
)
def test_what_is_no_table_is_refused(aiplatform: Any, client: bigquery.Client, source: str, said: str):
    with pytest.raises(exceptions.BadRequest, match=said):
        aiplatform.TabularDataset.create(display_name="none", bq_source=source)


def test_an_empty_table_says_so(aiplatform: Any, client: bigquery.Client):
    client.query("CREATE TABLE air.empty (x INT64)").result()
    with pytest.raises(Exception, match="no row of data in bq://test-project"):
        aiplatform.TabularDataset.create(display_name="empty", bq_source="bq://test-project.air.empty")


def test_the_warehouse_is_started_again_where_it_ended(portico: Any, client: bigquery.Client):
    [kept] = processes.running(portico.pids(), "portico.warehouse.process")
    kept.kill()
    until(lambda: not processes.alive(kept.pid), "it has ended")
    assert [tuple(row) for row in client.query("SELECT COUNT(*) FROM air.flights").result()] == [(ROWS,)]


def test_the_test_rows_of_a_training_are_a_table(aiplatform: Any, client: bigquery.Client):
    dataset = aiplatform.TabularDataset.create(
        display_name="flights", bq_source="bq://test-project.air.flights"
    )

    def run(**options: Any) -> Any:
        job = aiplatform.AutoMLTabularTrainingJob(
            display_name="ex-port",
            optimization_prediction_type="classification",
            column_specs={"carrier": "auto", "distance": "auto"},
        )
        job.run(
            dataset=dataset,
            target_column="late",
            budget_milli_node_hours=1,
            export_evaluated_data_items=True,
            **options,
        )
        return dict(job._gca_resource.training_task_metadata)

    where = {"export_evaluated_data_items_bigquery_destination_uri": "bq://test-project.air.items"}
    told = run(**where)
    assert told["evaluatedDataItemsBigqueryUri"] == "bq://test-project.air.items"
    [(rows, right)] = client.query(
        """SELECT COUNT(*), COUNTIF(late = predicted_late.classes[OFFSET(IF(predicted_late.scores[OFFSET(0)] > 0.5, 0,
        1))]) FROM air.items"""
    ).result()
    assert rows == int(told["rows"]["test"]) and right / rows > 0.8
    with pytest.raises(RuntimeError, match="overrideExistingTable"):
        run(**where)
    run(**where, export_evaluated_data_items_override_destination=True)
    own = run()["evaluatedDataItemsBigqueryUri"].removeprefix("bq://")
    assert own.startswith("test-project.export_evaluated_examples_ex_port_") and own.endswith(
        ".evaluated_examples"
    )
    assert [one.num_rows for one in (client.get_table(own), client.get_table("air.items"))] == [rows, rows]
