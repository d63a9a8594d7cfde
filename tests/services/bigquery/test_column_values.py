"""What columns make of values by BigQuery's official client: defaults, and sizes within STRUCTs and ARRAYs."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

Field = bigquery.SchemaField


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("column_values", exists_ok=True)
    return made


def rows(client: bigquery.Client, table: str, order: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in answered(client, f"SELECT * FROM column_values.{table} ORDER BY {order}")]


def load(client: bigquery.Client, table: str, text: str, **config: Any) -> None:
    job = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", **config)
    client.load_table_from_file(io.StringIO(text), f"column_values.{table}", job_config=job).result()


def test_a_default_of_the_schema_is_given_wherever_rows_come_from(client: bigquery.Client) -> None:
    schema = [
        Field("n", "INT64"),
        Field("s", "STRING", default_value_expression="'none'"),
        Field("x", "NUMERIC", mode="REQUIRED", default_value_expression="1.5"),
        Field("l", "DATE", mode="REPEATED", default_value_expression="[DATE '2024-01-02', '2024-01-03']"),
        Field("who", "STRING", default_value_expression="SESSION_USER()"),
    ]
    table = client.create_table(bigquery.Table("test-project.column_values.d", schema=schema))
    assert [one.default_value_expression for one in table.schema] == [
        None, "'none'", "1.5", "[DATE '2024-01-02', '2024-01-03']", "SESSION_USER()"
    ]  # fmt: skip
    answered(client, "INSERT column_values.d (n) VALUES (1)")
    answered(client, "INSERT column_values.d (n, s, x) SELECT 2, NULL, 2")
    answered(client, "INSERT column_values.d (n, s, x) VALUES (3, DEFAULT, DEFAULT)")
    assert client.insert_rows_json(table, [{"n": 4}, {"n": 5, "s": None, "x": 3}]) == []
    load(client, "d", '{"n": 6}', schema=schema[:1])
    into = bigquery.QueryJobConfig(destination=table.reference, write_disposition="WRITE_APPEND")
    answered(client, "SELECT 7 AS n", job_config=into)
    [(me,)] = answered(client, "SELECT SESSION_USER()")
    found = rows(client, "d", "n")
    assert [row[:3] for row in found] == [
        (1, "none", Decimal("1.5")), (2, None, Decimal(2)), (3, "none", Decimal("1.5")), (4, "none", Decimal("1.5")),
        (5, None, Decimal(3)), (6, "none", Decimal("1.5")), (7, "none", Decimal("1.5")),
    ]  # fmt: skip
    assert {(len(row[3]), row[4]) for row in found} == {(2, me)}

    table.schema = [Field("n", "INT64", default_value_expression="9"), *schema[1:]]
    client.update_table(table, ["schema"])
    answered(client, "ALTER TABLE column_values.d ALTER COLUMN s SET DEFAULT 'other'")
    answered(client, "INSERT column_values.d (x) VALUES (8)")
    assert rows(client, "d", "x DESC")[0][:2] == (9, "other")
    shown = answered(
        client, "SELECT column_default FROM column_values.INFORMATION_SCHEMA.COLUMNS WHERE table_name = 'd'"
    )
    assert [one for (one,) in shown][:3] == ["9", "'other'", "1.5"]
    answered(client, "ALTER TABLE column_values.d ALTER COLUMN s SET DEFAULT NULL")
    answered(client, "INSERT column_values.d (n) VALUES (10)")
    assert rows(client, "d", "n DESC")[0][1] is None


@pytest.mark.parametrize(
    ("kind", "expression", "said"),
    [
        ("INT64", "'a'", "has type STRING which cannot be assigned to column c, which has type INT64"),
        ("INT64", "n + 1", "cannot reference columns"),
        ("INT64", "(SELECT 1)", "must not include a subquery"),
        ("STRING", "UPPER('a')", "UPPER can't be part of a default value"),
        ("STRING(2)", "'abc'", "maximum length 2"),
        ("INT64", "1 +", "Syntax error"),
    ],
)
def test_a_default_that_can_be_none_is_refused(
    client: bigquery.Client, kind: str, expression: str, said: str
) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        answered(client, f"CREATE TABLE column_values.bad (n INT64, c {kind} DEFAULT {expression})")
    length = 2 if kind == "STRING(2)" else None
    field = Field("c", kind.partition("(")[0], max_length=length, default_value_expression=expression)
    with pytest.raises(exceptions.BadRequest, match=said):
        client.create_table(
            bigquery.Table("test-project.column_values.bad", schema=[Field("n", "INT64"), field])
        )


def test_a_column_with_a_default_is_not_added(client: bigquery.Client) -> None:
    table = client.create_table(
        bigquery.Table("test-project.column_values.a", schema=[Field("n", "INT64")]), exists_ok=True
    )
    table.schema = [*table.schema, Field("s", "STRING", default_value_expression="'x'")]
    with pytest.raises(exceptions.BadRequest, match="can't be added with a default value"):
        client.update_table(table, ["schema"])


def test_sizes_hold_within_structs_and_arrays(client: bigquery.Client) -> None:
    answered(
        client,
        "CREATE TABLE column_values.p (w ARRAY<STRING(3)>, s STRUCT<a NUMERIC(4, 1), b ARRAY<STRUCT<y BYTES(2), "
        "z BIGNUMERIC(3, 2)>>>)",
    )
    [words, struct] = client.get_table("column_values.p").schema
    assert (words.mode, words.max_length) == ("REPEATED", 3)
    assert (struct.fields[0].precision, struct.fields[0].scale) == (4, 1)
    assert struct.fields[1].fields[0].max_length == 2
    answered(client, "INSERT column_values.p VALUES (['abc', 'd'], (12.34, [(b'ab', BIGNUMERIC '1.555')]))")
    answered(client, "INSERT column_values.p (w) SELECT ['x']")
    load(client, "p", '{"w": ["abc"], "s": {"a": "1.26"}}')
    [first, *_] = answered(client, "SELECT s FROM column_values.p WHERE s.b[SAFE_OFFSET(0)].y IS NOT NULL")
    assert first[0] == {"a": Decimal("12.3"), "b": [{"y": b"ab", "z": Decimal("1.56")}]}
    assert answered(client, "SELECT s.a FROM column_values.p WHERE s.a < 2") == [(Decimal("1.3"),)]
    for text, said in (
        ("INSERT column_values.p (w) VALUES (['abcd'])", "maximum length 3"),
        ("INSERT column_values.p (s) SELECT STRUCT(NUMERIC '1000', NULL)", "precision 4 and scale 1"),
        (
            "UPDATE column_values.p SET s.b = [(b'abc', NULL)] WHERE TRUE",
            "Field s.b.y: BYTES.2. has maximum length 2",
        ),
    ):
        with pytest.raises(exceptions.BadRequest, match=said):
            answered(client, text)
    with pytest.raises(exceptions.BadRequest, match="maximum length 3"):
        load(client, "p", json.dumps({"w": ["abcd"]}))
    [told] = client.insert_rows_json("column_values.p", [{"w": ["abcd"]}])
    assert "maximum length 3" in told["errors"][0]["message"]


def test_a_column_compares_by_its_collation(client: bigquery.Client) -> None:
    answered(
        client,
        "CREATE TABLE column_values.words (a STRING, b STRING COLLATE '') DEFAULT COLLATE 'und:ci';"
        "INSERT column_values.words VALUES ('Abc', 'Abc'), ('aBC', 'aBC')",
    )
    found = answered(
        client, "SELECT COUNTIF(a = 'ABC'), COUNTIF(b = 'ABC'), COUNT(DISTINCT a) FROM column_values.words"
    )
    assert found == [(2, 0, 1)]
    field = Field.from_api_repr({"name": "w", "type": "STRING", "collation": "und:ci"})
    client.create_table(bigquery.Table("test-project.column_values.named", schema=[field]))
    client.insert_rows_json("column_values.named", [{"w": "X"}])
    assert answered(client, "SELECT w = 'x' FROM column_values.named") == [(True,)]
    shown = answered(
        client,
        "SELECT table_name, column_name, collation_name FROM column_values.INFORMATION_SCHEMA.COLUMNS "
        "WHERE collation_name <> 'NULL' ORDER BY 1",
    )
    assert shown == [("named", "w", "und:ci"), ("words", "a", "und:ci")]
    with pytest.raises(exceptions.BadRequest, match="Collation 'de' is not supported"):
        answered(client, "CREATE TABLE column_values.bad (a STRING COLLATE 'de')")
