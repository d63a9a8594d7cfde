"""Batch prediction from and to tables of BigQuery, by the official clients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.aiplatform.test_automl import as_csv, make_rows
from tests.services.bigquery.test_bigquery import answered, connected

P = "test-project"


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("shop")
    made.query(
        """CREATE TABLE shop.goods (id INT64 NOT NULL, a FLOAT64, b NUMERIC, c FLOAT64, at TIMESTAMP, note JSON);
        INSERT shop.goods VALUES (1, 0.5, 1, 2, '2024-01-02 03:04:05Z', JSON '{"x": 1}'), (2, 1, 2.5, 0, NULL, NULL)"""
    ).result()
    made.query(
        "CREATE TABLE shop.mixed AS SELECT '1' AS a, '2' AS b, '3' AS c UNION ALL SELECT 'x', '0', '0'"
    ).result()
    return made


@pytest.fixture(autouse=True)
def here(portico: Any, client: bigquery.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud.aiplatform import jobs

    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", portico.url)
    monkeypatch.setattr(jobs, "_JOB_WAIT_TIME", 0.05)


def tables_of(job: Any) -> tuple[str, str]:
    """The names of the predictions' and the errors' table, as SQL takes them."""
    told = job.output_info
    dataset = told.bigquery_output_dataset.removeprefix("bq://")
    table = told.bigquery_output_table
    return f"`{dataset}.{table}`", f"`{dataset}.{table.replace('predictions', 'errors')}`"


def kinds(rows: Any) -> dict[str, str]:
    return {one.name: one.field_type for one in rows.schema}


def test_a_users_model_reads_a_table_and_writes_two(client: bigquery.Client, upload: Any):
    model = upload()
    job = model.batch_predict(
        job_display_name="goods",
        bigquery_source=f"bq://{P}.shop.goods",
        bigquery_destination_prefix=f"bq://{P}",
    )
    predictions, errors = tables_of(job)
    assert job.output_info.bigquery_output_dataset.startswith(f"bq://{P}.prediction_trees_20")
    assert job.output_info.bigquery_output_table == "predictions"
    rows = job.iter_outputs()
    assert kinds(rows) == {
        "id": "INTEGER", "a": "FLOAT", "b": "NUMERIC", "c": "FLOAT", "at": "TIMESTAMP", "note": "JSON",
        "prediction": "STRING",
    }  # fmt: skip
    online = json.loads(answered(client, f"SELECT prediction FROM {predictions} WHERE id = 1")[0][0])
    assert isinstance(online, float) and -1 < online < 1
    assert answered(client, f"SELECT COUNT(*), COUNTIF(note IS NULL) FROM {predictions}") == [(2, 1)]
    assert answered(client, f"SELECT COUNT(*) FROM {errors}") == [(0,)]
    assert job.completion_stats.successful_count == 2


def test_rows_that_cannot_be_predicted_are_in_the_errors(client: bigquery.Client, upload: Any):
    client.create_dataset("out", exists_ok=True)
    job = upload().batch_predict(
        job_display_name="mixed",
        bigquery_source=f"bq://{P}.shop.mixed",
        bigquery_destination_prefix=f"bq://{P}.out",
    )
    predictions, errors = tables_of(job)
    assert predictions.startswith(f"`{P}.out.predictions_20")
    assert answered(client, f"SELECT a FROM {predictions}") == [("1",)]
    [(a, code, message)] = answered(client, f"SELECT a, errors.code, errors.message FROM {errors}")
    assert (a, code) == ("x", 3) and "'a'" in message


def test_a_table_that_the_job_names_takes_the_predictions(client: bigquery.Client, upload: Any):
    client.create_dataset("out", exists_ok=True)
    client.delete_table("out.named", not_found_ok=True)
    job = upload().batch_predict(
        job_display_name="named",
        bigquery_source=f"bq://{P}.shop.mixed",
        bigquery_destination_prefix=f"bq://{P}.out.named",
    )
    told = job.output_info
    assert (told.bigquery_output_dataset, told.bigquery_output_table) == (f"bq://{P}.out", "named")
    assert answered(client, "SELECT a FROM out.named") == [("1",)]
    assert answered(client, "SELECT errors.code FROM out.named_errors") == [(3,)]


def test_files_go_to_tables_and_tables_to_files(client: bigquery.Client, upload: Any, bucket: Any):
    model = upload()
    rows = [{"a": 1, "b": 2, "c": 3}, {"a": 0.5, "b": 2, "c": 1, "what ever.": "x"}, [1]]
    bucket.blob("rows.jsonl").upload_from_string("".join(json.dumps(row) + "\n" for row in rows))
    job = model.batch_predict(
        job_display_name="in",
        gcs_source=f"gs://{bucket.name}/rows.jsonl",
        bigquery_destination_prefix=f"bq://{P}",
    )
    predictions, errors = tables_of(job)
    found = answered(client, f"SELECT a, `what ever_`, prediction FROM {predictions} ORDER BY a")
    assert [row[:2] for row in found] == [(0.5, "x"), (1.0, None)]
    [(instance, message)] = answered(client, f"SELECT instance, errors.message FROM {errors}")
    assert json.loads(instance) == [1] and message
    job = model.batch_predict(
        job_display_name="out",
        bigquery_source=f"bq://{P}.shop.goods",
        gcs_destination_prefix=f"gs://{bucket.name}/out",
    )
    [text] = [blob.download_as_text() for blob in job.iter_outputs() if "results" in blob.name]
    told = [json.loads(line) for line in text.splitlines()]
    assert [one["instance"]["id"] for one in told] == [1, 2]


def test_a_models_own_table_has_structs_and_explanations(
    aiplatform: Any, client: bigquery.Client, bucket: Any
):
    bucket.blob("data.csv").upload_from_string(as_csv(make_rows(300)))
    dataset = aiplatform.TabularDataset.create(display_name="p", gcs_source=f"gs://{bucket.name}/data.csv")
    specs = {"color": "auto", "size": "auto"}
    for target, kind in (("cheap", "classification"), ("price", "regression")):
        training = aiplatform.AutoMLTabularTrainingJob(
            display_name=target, optimization_prediction_type=kind, column_specs=specs
        )
        model = training.run(dataset=dataset, target_column=target, budget_milli_node_hours=1)
        client.query("CREATE OR REPLACE TABLE shop.new AS SELECT 'red' AS color, 0.5 AS size").result()
        job = model.batch_predict(
            job_display_name=target,
            bigquery_source=f"bq://{P}.shop.new",
            bigquery_destination_prefix=f"bq://{P}",
            generate_explanation=True,
        )
        predictions, _ = tables_of(job)
        told = f"SELECT color, predicted_{target}, explanation.attributions[0] FROM {predictions}"
        [(color, predicted, attribution)] = answered(client, told)
        assert color == "red" and set(attribution["featureAttributions"]) == {"color", "size"}
        if kind == "classification":
            assert sorted(predicted["classes"]) == ["False", "True"] and sum(
                predicted["scores"]
            ) == pytest.approx(1)
        else:
            assert predicted["lower_bound"] < predicted["value"] < predicted["upper_bound"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bigquery_source": f"bq://{P}.shop.nothing"}, "Not found: Table test-project:shop.nothing"),
        ({"bigquery_source": "bq://goods"}, "bq://PROJECT.DATASET.TABLE"),
        ({"bigquery_destination_prefix": f"bq://{P}.nowhere"}, "Not found: Dataset test-project:nowhere"),
        ({"bigquery_destination_prefix": f"bq://{P}.shop.goods"}, "shop.goods is there already"),
        ({"bigquery_destination_prefix": f"bq://{P}.nowhere.new"}, "Not found: Dataset test-project:nowhere"),
    ],
)
def test_what_is_not_there_is_refused(upload: Any, change: dict[str, str], said: str):
    names = {"bigquery_source": f"bq://{P}.shop.goods", "bigquery_destination_prefix": f"bq://{P}"}
    with pytest.raises(exceptions.BadRequest, match=said):
        upload().batch_predict(job_display_name="none", **(names | change))
