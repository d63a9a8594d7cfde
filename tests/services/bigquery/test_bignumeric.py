"""BIGNUMERIC at its full scale by BigQuery's official client: literals, columns, parameters, files, DataFrames."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

SMALLEST = Decimal("0.00000000000000000000000000000000000001")
LARGEST = Decimal("578960446186580977117854925043439539266.34992332820282019728792003956564819967")


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("bignumerics", exists_ok=True)
    return made


def test_all_digits_are_kept_and_computed_with(client: bigquery.Client) -> None:
    [found] = answered(
        client,
        f"SELECT BIGNUMERIC '{LARGEST}', -BIGNUMERIC '{LARGEST}', BIGNUMERIC '1' / 3, BIGNUMERIC '{SMALLEST}' * 7, "
        "BIGNUMERIC '12345678901234567890.5' * 98765432101234567, CAST(BIGNUMERIC '2.5' AS INT64), "
        "CAST(BIGNUMERIC '1.0000000005' AS NUMERIC), MOD(BIGNUMERIC '-7.5', 2), ROUND(BIGNUMERIC '-2.345', 2)",
    )
    third = Decimal("0." + "3" * 38)
    assert found[:4] == (LARGEST, LARGEST.copy_negate(), third, 7 * SMALLEST)
    assert str(found[4]).replace(".", "") == str(123456789012345678905 * 98765432101234567)
    assert found[5:] == (3, Decimal("1.000000001"), Decimal("-1.5"), Decimal("-2.35"))
    for text, said in (
        (f"SELECT BIGNUMERIC '{LARGEST}' + 1", "BIGNUMERIC overflow"),
        ("SELECT CAST('1e39' AS BIGNUMERIC)", "Invalid BIGNUMERIC value: 1e39"),
        ("SELECT BIGNUMERIC '1' / 0", "division by zero"),
    ):
        with pytest.raises(exceptions.BadRequest, match=said):
            answered(client, text)


def test_a_column_is_written_compared_summed_and_read(client: bigquery.Client) -> None:
    answered(
        client,
        "CREATE TABLE bignumerics.t (i INT64, b BIGNUMERIC, l ARRAY<BIGNUMERIC>, s STRUCT<x BIGNUMERIC>)",
    )
    job = bigquery.QueryJobConfig(
        query_parameters=[bigquery.ScalarQueryParameter("b", "BIGNUMERIC", LARGEST)]
    )
    answered(
        client,
        "INSERT bignumerics.t (i, b) VALUES (1, @b), (2, 0.1), (3, NULL), (4, NUMERIC '-7.5')",
        job_config=job,
    )
    answered(client, "INSERT bignumerics.t (i, b, l, s) VALUES (5, 1, [BIGNUMERIC '0.5', 2], STRUCT(9.125))")
    table = client.get_table("test-project.bignumerics.t")
    assert not client.insert_rows_json(table, [{"i": 6, "b": str(SMALLEST), "l": ["1.25"]}])
    assert answered(client, "SELECT i FROM bignumerics.t WHERE b IS NOT NULL ORDER BY b DESC") == [
        (1,), (5,), (2,), (6,), (4,)
    ]  # fmt: skip
    assert answered(client, "SELECT b FROM bignumerics.t WHERE b > 0.05 AND b < 1.5 ORDER BY i") == [
        (Decimal("0.1"),), (Decimal(1),)
    ]  # fmt: skip
    [found] = answered(
        client, "SELECT SUM(b), AVG(b), COUNT(DISTINCT b), MAX(b) FROM bignumerics.t WHERE i > 1"
    )
    assert found == (Decimal("-6." + "3" + "9" * 37), Decimal("-1.6"), 4, Decimal(1))
    answered(client, "UPDATE bignumerics.t SET b = b * 2 + 1 WHERE b = 0.1")
    shown = answered(
        client,
        "SELECT COALESCE(b, 0), CASE WHEN i = 3 THEN 1 ELSE b END, b IN (1.2, 5), l, s.x FROM bignumerics.t "
        "WHERE i IN (2, 3, 5) ORDER BY i",
    )
    assert shown == [
        (Decimal("1.2"), Decimal("1.2"), True, [], None), (Decimal(0), Decimal(1), None, [], None),
        (Decimal(1), Decimal(1), False, [Decimal("0.5"), Decimal(2)], Decimal("9.125")),
    ]  # fmt: skip
    assert sorted(answered(client, "SELECT b FROM bignumerics.t WHERE i = 5 UNION ALL SELECT 7")) == [
        (1,),
        (7,),
    ]
    listed = {row["i"]: row["b"] for row in client.list_rows(table)}
    assert listed[1] == LARGEST and listed[6] == SMALLEST


def test_files_and_arrow_have_them_whole(client: bigquery.Client, bucket: Any) -> None:
    made = pa.table(
        {"b": pa.array([Decimal("1.00000000000000000000000000000000000001"), None], pa.decimal256(76, 38))}
    )
    sink = io.BytesIO()
    pq.write_table(made, sink)
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    with pytest.raises(exceptions.BadRequest, match="column b is out of valid NUMERIC range"):
        sink.seek(0)  # who names no types gets NUMERIC
        client.load_table_from_file(sink, "test-project.bignumerics.file", job_config=config).result()
    sink.seek(0)
    config.decimal_target_types = ["BIGNUMERIC"]
    client.load_table_from_file(sink, "test-project.bignumerics.file", job_config=config).result()
    assert client.get_table("test-project.bignumerics.file").schema[0].field_type == "BIGNUMERIC"
    uri = f"gs://{bucket.name}/bignumerics.parquet"
    client.extract_table(
        "test-project.bignumerics.file",
        uri,
        job_config=bigquery.ExtractJobConfig(destination_format="PARQUET"),
    ).result()
    back = pq.read_table(io.BytesIO(bucket.blob("bignumerics.parquet").download_as_bytes()))
    assert back.column("b").to_pylist() == made.column("b").to_pylist()
    [shown] = answered(
        client,
        "SELECT TO_JSON_STRING(b), FORMAT('%T', b), CAST(b AS STRING) FROM bignumerics.file WHERE b > 1",
    )
    text = "1.00000000000000000000000000000000000001"
    assert shown == (f'"{text}"', f'BIGNUMERIC "{text}"', text)
