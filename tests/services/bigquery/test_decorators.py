"""Partitions and moments in a table's name, snapshots and clones by copy jobs, exports of several files."""

from __future__ import annotations

import io
import time
from typing import Any

import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery.job import OperationType
from tests.services.bigquery.test_bigquery import answered, connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    return connected(portico)


@pytest.fixture(scope="module")
def dataset(client: bigquery.Client) -> Any:
    made = client.create_dataset("decorated", exists_ok=True)
    yield made
    client.delete_dataset(made, delete_contents=True, not_found_ok=True)


def loaded(
    client: bigquery.Client, place: str, text: str, write: str = "WRITE_APPEND", **options: Any
) -> Any:
    config = bigquery.LoadJobConfig(
        source_format="CSV", write_disposition=write, schema=options.pop("schema", None), **options
    )
    job = client.load_table_from_file(io.BytesIO(text.encode()), place, job_config=config)
    job.result()
    return job


SCHEMA = [bigquery.SchemaField("day", "DATE"), bigquery.SchemaField("n", "INT64")]


def test_loads_replace_and_fill_one_partition(client: bigquery.Client, dataset: Any) -> None:
    place = f"{dataset.project}.decorated.by_column"
    table = bigquery.Table(place, schema=SCHEMA)
    table.time_partitioning = bigquery.TimePartitioning(field="day")
    client.create_table(table)
    loaded(client, place, "2024-01-01,1\n2024-01-02,2\n2024-01-02,3\n")
    loaded(client, f"{place}$20240102", "2024-01-02,20\n", "WRITE_TRUNCATE")
    everything = f"SELECT n FROM `{place}` ORDER BY n"
    assert answered(client, everything) == [(1,), (20,)]
    loaded(client, f"{place}$20240102", "2024-01-02,21\n")
    with pytest.raises(exceptions.Conflict):
        loaded(client, f"{place}$20240101", "2024-01-01,9\n", "WRITE_EMPTY")
    loaded(client, f"{place}$20240103", "2024-01-03,30\n", "WRITE_EMPTY")
    with pytest.raises(exceptions.BadRequest, match="different partition"):
        loaded(client, f"{place}$20240103", "2024-01-04,30\n")
    with pytest.raises(exceptions.BadRequest, match=r"\$2024x"):
        loaded(client, f"{place}$2024x", "2024-01-04,30\n")
    assert answered(client, everything) == [(1,), (20,), (21,), (30,)]
    listed = client.list_rows(f"{place}$20240102", selected_fields=[SCHEMA[1]])
    assert [row.n for row in listed] == [20, 21] and listed.total_rows == 2
    assert client.get_table(f"{place}$20240102").num_rows == 2 and client.get_table(place).num_rows == 4
    job = client.query(
        "SELECT DATE '2024-01-02' AS day, 7 AS n",
        job_config=bigquery.QueryJobConfig(
            destination=f"{place}$20240102", write_disposition="WRITE_TRUNCATE"
        ),
    )
    job.result()
    assert answered(client, everything) == [(1,), (7,), (30,)]
    client.delete_table(f"{place}$20240102")
    assert answered(client, everything) == [(1,), (30,)]
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-01-05"]).date, "n": [50]})
    client.load_table_from_dataframe(frame, f"{place}$20240105").result()
    assert answered(client, everything) == [(1,), (30,), (50,)]
    with pytest.raises(exceptions.BadRequest, match="not partitioned"):
        loaded(client, f"{dataset.project}.decorated.plain", "2024-01-04,30\n", schema=SCHEMA)
        loaded(client, f"{dataset.project}.decorated.plain$20240101", "2024-01-04,30\n")


def test_a_partition_by_ingestion_is_filled_by_its_name(client: bigquery.Client, dataset: Any) -> None:
    place = f"{dataset.project}.decorated.by_time"
    loaded(client, f"{place}$20240101", "2024-01-01,1\n", schema=SCHEMA)
    assert client.get_table(place).time_partitioning.type_ == "DAY"
    loaded(client, f"{place}$20240102", "2024-05-05,2\n")
    assert client.insert_rows_json(f"{place}$20240103", [{"n": 3}]) == []
    parts = f"SELECT _PARTITIONTIME AS p, n FROM `{place}` ORDER BY n"
    days = [(row[0].day, row[1]) for row in answered(client, parts)]
    assert days == [(1, 1), (2, 2), (3, 3)]
    client.copy_table(f"{place}$20240102", f"{place}$20240104").result()
    client.copy_table(place, f"{place}_copy").result()
    days = [(row[0].day, row[1]) for row in answered(client, parts.replace("by_time", "by_time_copy"))]
    assert days in ([(1, 1), (2, 2), (4, 2), (3, 3)], [(1, 1), (4, 2), (2, 2), (3, 3)])
    client.delete_table(f"{place}$20240102")
    assert [row[0].day for row in answered(client, parts)] == [1, 4, 3]


def test_ranges_and_hours_are_partitions_too(client: bigquery.Client, dataset: Any) -> None:
    table = bigquery.Table(f"{dataset.project}.decorated.by_range", schema=SCHEMA)
    table.range_partitioning = bigquery.RangePartitioning(
        field="n", range_=bigquery.PartitionRange(start=0, end=100, interval=10)
    )
    client.create_table(table)
    loaded(client, f"{table.reference}", ",5\n,15\n,\n")
    assert [row.n for row in client.list_rows(f"{table.reference}$10")] == [15]
    assert [row.n for row in client.list_rows(f"{table.reference}$__NULL__")] == [None]
    loaded(client, f"{table.reference}$10", ",11\n", "WRITE_TRUNCATE")
    assert sorted(row.n or -1 for row in client.list_rows(table)) == [-1, 5, 11]


def _now() -> int:
    """Milliseconds, those of before gone by."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == now:
        pass
    return now


def test_a_table_is_read_as_of_a_moment(client: bigquery.Client, dataset: Any, bucket: Any) -> None:
    place = f"{dataset.project}.decorated.moments"
    answered(client, f"CREATE TABLE `{place}` AS SELECT 1 AS id")
    before = _now()
    answered(client, f"UPDATE `{place}` SET id = 2 WHERE TRUE")
    client.copy_table(f"{place}@{before}", f"{place}_then").result()
    assert answered(client, f"SELECT id FROM `{place}_then`") == [(1,)]
    assert [row.id for row in client.list_rows(f"{place}@{before}", selected_fields=[
        bigquery.SchemaField("id", "INT64")])] == [1]  # fmt: skip
    client.extract_table(f"{place}@{before}", f"gs://{bucket.name}/then.csv").result()
    assert bucket.blob("then.csv").download_as_text() == "id\n1\n"
    client.delete_table(place)
    client.copy_table(f"{place}@{before}", place).result()  # brings it back
    assert answered(client, f"SELECT id FROM `{place}`") == [(1,)]
    for moment in ("1000", "99999999999999", "-99999999999", "x"):
        with pytest.raises(exceptions.BadRequest):
            client.copy_table(f"{place}@{moment}", f"{place}_never").result()
    with pytest.raises(exceptions.BadRequest):
        client.copy_table(place, f"{place}@{before}").result()


def test_copy_jobs_make_snapshots_and_clones(client: bigquery.Client, dataset: Any) -> None:
    place = f"{dataset.project}.decorated.base"
    answered(
        client, f"CREATE TABLE `{place}` (id INT64) PARTITION BY RANGE_BUCKET(id, GENERATE_ARRAY(0, 10, 1))"
    )
    answered(client, f"INSERT INTO `{place}` (id) VALUES (1), (2)")

    def copied(source: str, target: str, kind: str, **options: Any) -> Any:
        config = bigquery.CopyJobConfig(operation_type=kind, **options)
        job = client.copy_table(source, target, job_config=config)
        job.result()
        return job

    before = _now()
    answered(client, f"DELETE FROM `{place}` WHERE id = 2")
    job = copied(
        place, f"{place}_kept", OperationType.SNAPSHOT, destination_encryption_configuration=None,
    )  # fmt: skip
    assert job._properties["statistics"]["copy"]["copiedRows"] == "1"
    kept = client.get_table(f"{place}_kept")
    assert kept.table_type == "SNAPSHOT" and kept.snapshot_definition.base_table_reference.table_id == "base"
    copied(f"{place}@{before}", f"{place}_before", OperationType.SNAPSHOT)
    with pytest.raises(exceptions.Conflict):
        copied(place, f"{place}_before", OperationType.SNAPSHOT)
    with pytest.raises(exceptions.BadRequest):
        answered(client, f"DELETE FROM `{place}_kept` WHERE TRUE")
    copied(f"{place}_before", place, OperationType.RESTORE, write_disposition="WRITE_TRUNCATE")
    assert answered(client, f"SELECT COUNT(*) FROM `{place}`") == [(2,)]
    assert client.get_table(place).table_type == "TABLE"
    copied(place, f"{place}_clone", OperationType.CLONE)
    made = client.get_table(f"{place}_clone")
    assert (
        made.clone_definition.base_table_reference.table_id == "base" and made.range_partitioning is not None
    )
    with pytest.raises(exceptions.BadRequest, match="SNAPSHOT"):
        copied(place, f"{place}_other", OperationType.RESTORE)
    with pytest.raises(exceptions.BadRequest, match="one source"):
        job = client.copy_table(
            [place, f"{place}_clone"], f"{place}_x", job_config=bigquery.CopyJobConfig(operation_type="CLONE")
        )
        job.result()
    body = {
        "configuration": {
            "copy": {
                "sourceTable": kept.reference.to_api_repr() | {"tableId": "base"},
                "destinationTable": kept.reference.to_api_repr() | {"tableId": "base_gone"},
                "operationType": "SNAPSHOT", "destinationExpirationTime": "2099-01-01T00:00:00Z",
            }
        }
    }  # fmt: skip
    told = client._connection.api_request(method="POST", path=f"/projects/{client.project}/jobs", data=body)
    client.get_job(told["jobReference"]["jobId"]).result()
    assert client.get_table(f"{place}_gone").expires.year == 2099


def test_a_large_table_is_written_to_several_files(
    client: bigquery.Client, dataset: Any, bucket: Any
) -> None:
    place = f"{dataset.project}.decorated.large"
    answered(client, f"CREATE TABLE `{place}` AS SELECT x FROM UNNEST(GENERATE_ARRAY(1, 1000001)) AS x")
    job = client.extract_table(
        place, f"gs://{bucket.name}/large/*.parquet",
        job_config=bigquery.ExtractJobConfig(destination_format="PARQUET"),
    )  # fmt: skip
    job.result()
    names = sorted(blob.name for blob in bucket.list_blobs(prefix="large/"))
    assert names == ["large/000000000000.parquet", "large/000000000001.parquet"]
    assert job.destination_uri_file_counts == [2]
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    back = client.load_table_from_uri(f"gs://{bucket.name}/large/*", f"{place}_back", job_config=config)
    assert back.result().output_rows == 1_000_001
    with pytest.raises(exceptions.BadRequest, match="more than one"):
        client.extract_table(place, f"gs://{bucket.name}/*/*.csv").result()
    answered(client, f"CREATE VIEW `{place}_view` AS SELECT 1 AS one")
    with pytest.raises(exceptions.BadRequest, match="VIEW"):
        client.extract_table(f"{place}_view", f"gs://{bucket.name}/view.csv").result()


def test_a_row_is_inserted_once_though_the_server_was_killed(new_portico: Any) -> None:
    portico = new_portico()
    portico.start()
    try:
        client = connected(portico)
        client.create_dataset("once")
        table = client.create_table(bigquery.Table("test-project.once.t", schema=SCHEMA[1:]))
        assert client.insert_rows_json(table, [{"n": 1}, {"n": 2}], row_ids=["a", "b"]) == []
        portico.kill()
        portico.start()
        client = connected(portico)
        assert client.insert_rows_json(table, [{"n": 2}, {"n": 3}], row_ids=["b", "c"]) == []
        errors = client.insert_rows_json(
            table, [{"n": 3}, {"n": "x"}], row_ids=["c", "d"], skip_invalid_rows=True
        )
        assert [one["index"] for one in errors] == [1]
        assert client.insert_rows_json(table, [{"n": 4}], row_ids=["d"]) == []
        assert sorted(row.n for row in client.query("SELECT n FROM once.t").result()) == [1, 2, 3, 4]
        client.query(
            "CREATE OR REPLACE TABLE once.t (n INT64)"
        ).result()  # the ids were those of another table
        assert client.insert_rows_json("once.t", [{"n": 4}], row_ids=["d"]) == []
        assert [row.n for row in client.query("SELECT n FROM once.t").result()] == [4]
    finally:
        portico.stop()
