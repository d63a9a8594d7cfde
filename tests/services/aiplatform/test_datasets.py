"""Datasets and their versions, from CSV, JSON lines and Parquet in Cloud Storage."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions

ROWS = [
    {"when": "2026-01-01T00:00:00Z", "kind": "a", "size": 1.5, "note": None},
    {"when": "2026-01-02T00:00:00Z", "kind": "b", "size": 2.0, "note": "x"},
    {"when": "2026-01-03T00:00:00Z", "kind": "a", "size": None, "note": "y"},
]


def as_csv() -> bytes:
    lines = ["when,kind,size,note"]
    lines += [",".join("" if v is None else str(v) for v in row.values()) for row in ROWS]
    return "\n".join(lines).encode()


def as_jsonl() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def as_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"), [("d.csv", as_csv()), ("d.jsonl", as_jsonl()), ("d.parquet", as_parquet())]
)
def test_schema_and_statistics_are_read_from_the_data(aiplatform, bucket, name, content):
    bucket.blob(name).upload_from_string(content)
    dataset = aiplatform.TabularDataset.create(display_name=name, gcs_source=f"gs://{bucket.name}/{name}")
    statistics = dataset.to_dict()["metadata"]["statistics"]
    assert statistics["rows"] == 3
    columns = {column["name"]: column for column in statistics["columns"]}
    assert list(columns) == ["when", "kind", "size", "note"]
    assert columns["when"]["kind"] == "timestamp"
    assert (columns["size"]["missing"], columns["size"]["mean"]) == (1, 1.75)
    assert columns["note"]["missing"] == 1
    dataset.delete()
    with pytest.raises(exceptions.NotFound):
        aiplatform.TabularDataset(dataset.resource_name)


def test_a_time_series_dataset_of_many_files(aiplatform, bucket):
    for part in range(3):
        bucket.blob(f"parts/{part}.csv").upload_from_string(as_csv())
    dataset = aiplatform.TimeSeriesDataset.create(
        display_name="parts", gcs_source=[f"gs://{bucket.name}/parts/*.csv"]
    )
    assert dataset.to_dict()["metadata"]["statistics"]["rows"] == 9
    [found] = aiplatform.TimeSeriesDataset.list(filter='display_name="parts"')
    assert found.resource_name == dataset.resource_name


@pytest.mark.parametrize(
    ("uri", "message"),
    [("gs://BUCKET/missing.csv", "missing.csv"), ("gs://BUCKET/photo.png", "photo.png")],
)
def test_what_cannot_be_read_is_refused_at_once(aiplatform, bucket, uri, message):
    bucket.blob("photo.png").upload_from_string(b"\x89PNG")
    with pytest.raises(exceptions.BadRequest, match=message):
        aiplatform.TabularDataset.create(display_name="x", gcs_source=uri.replace("BUCKET", bucket.name))


def test_a_broken_file_fails_the_operation_and_leaves_nothing(aiplatform, bucket):
    bucket.blob("broken.parquet").upload_from_string(b"this is not parquet")
    before = len(aiplatform.TabularDataset.list())
    with pytest.raises(exceptions.GoogleAPICallError, match=f"gs://{bucket.name}/broken.parquet"):
        aiplatform.TabularDataset.create(display_name="x", gcs_source=f"gs://{bucket.name}/broken.parquet")
    assert len(aiplatform.TabularDataset.list()) == before


def test_shards_without_a_header_are_data_and_a_bad_cell_has_a_place(aiplatform, bucket):
    names = []
    for number, head in enumerate(("a,b,y\n", "", "a,b,y\n")):
        rows = "".join(f"{row},x,{row % 7}\n" for row in range(10))
        rows = rows.replace("3,x,3", "3,x,three") if number == 1 else rows
        bucket.blob(f"shards/{number}.csv").upload_from_string(head + rows)
        names.append(f"gs://{bucket.name}/shards/{number}.csv")
    dataset = aiplatform.TabularDataset.create(display_name="shards", gcs_source=names[::-1])
    statistics = dataset.to_dict()["metadata"]["statistics"]
    assert statistics["rows"] == 30
    assert [column["name"] for column in statistics["columns"]] == ["a", "b", "y"]
    assert statistics["notes"] == [f"{names[1]} has no header line; its first line was read as data"]
    with pytest.raises(
        RuntimeError, match=f"{names[1]}, row 4: .*must be numeric for regression; it holds .*three"
    ):
        _train(aiplatform, dataset, "y", "a")


def test_a_version_keeps_the_data_and_can_be_restored(portico, aiplatform, bucket):
    from google.cloud import aiplatform_v1

    blob = bucket.blob("v.csv")
    blob.upload_from_string(as_csv())
    dataset = aiplatform.TabularDataset.create(display_name="v", gcs_source=f"gs://{bucket.name}/v.csv")
    client = aiplatform_v1.DatasetServiceClient(
        client_options={"api_endpoint": portico.url}, transport="rest"
    )
    version = client.create_dataset_version(
        parent=dataset.resource_name, dataset_version={"display_name": "first"}
    ).result()
    assert version.display_name == "first"
    [pinned] = version.metadata["generations"]
    assert int(pinned["generation"]) == blob.generation
    blob.upload_from_string("other,columns\n1,2\n")
    client.restore_dataset_version(name=version.name).result()
    [listed] = client.list_dataset_versions(parent=dataset.resource_name)
    assert listed.name == version.name
    # The restored data, not what lies under the name now, is what trains.
    with pytest.raises(exceptions.BadRequest, match="no column 'other'"):
        _train(aiplatform, dataset, "other")
    with pytest.raises(RuntimeError, match="at least 10"):
        _train(aiplatform, dataset, "size")
    client.delete_dataset_version(name=version.name).result()
    assert list(client.list_dataset_versions(parent=dataset.resource_name)) == []


def _train(aiplatform, dataset, target, column="kind"):
    job = aiplatform.AutoMLTabularTrainingJob(
        display_name="v", optimization_prediction_type="regression", column_specs={column: "auto"}
    )
    job.run(dataset=dataset, target_column=target, budget_milli_node_hours=1)


def test_a_table_is_called_as_it_was_first_too(aiplatform, bucket):
    bucket.blob("first.csv").upload_from_string("a,b\n1,2\n3,4\n")
    client = aiplatform.initializer.global_config.create_client(
        client_class=aiplatform.utils.DatasetClientWithOverride
    )
    place = f"projects/{aiplatform.initializer.global_config.project}/locations/us-central1"
    made = client.create_dataset(
        parent=place,
        dataset={
            "display_name": "first",
            "metadata_schema_uri": "gs://google-cloud-aiplatform/schema/dataset/metadata/tables_1.0.0.yaml",
            "metadata": {"input_config": {"gcs_source": {"uri": [f"gs://{bucket.name}/first.csv"]}}},
        },
    ).result()
    assert made.metadata["statistics"]["rows"] == 2
