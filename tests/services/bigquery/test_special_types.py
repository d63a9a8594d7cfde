"""GEOGRAPHY, RANGE and INTERVAL by BigQuery's official client: tables, rows, parameters, results."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import connected

JANUARY = {"start": datetime.date(2024, 1, 1), "end": datetime.date(2024, 2, 1)}


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("special", exists_ok=True)
    return made


def one(client: bigquery.Client, text: str, **options: Any) -> tuple[Any, ...]:
    [row] = client.query(text, **options).result()
    return tuple(row.values())


def test_ranges_are_columns_parameters_and_results(client: bigquery.Client) -> None:
    field = bigquery.SchemaField("stay", "RANGE", range_element_type="DATE")
    table = client.create_table(
        bigquery.Table("test-project.special.stays", schema=[bigquery.SchemaField("id", "INT64"), field])
    )
    assert client.get_table(table).schema[1].range_element_type.element_type == "DATE"
    rows = [
        {"id": 1, "stay": {"start": "2024-01-01", "end": "2024-02-01"}},
        {"id": 2, "stay": {"start": "2024-03-01"}},
    ]
    assert client.insert_rows_json(table, rows) == []
    assert [tuple(row.values()) for row in client.list_rows(table)] == [
        (1, JANUARY),
        (2, {"start": datetime.date(2024, 3, 1), "end": None}),
    ]
    asked = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.RangeQueryParameter("DATE", start="2024-01-20", end="2024-01-25", name="r"),
            bigquery.RangeQueryParameter("DATE", start=None, end=datetime.date(2024, 1, 5), name="s"),
        ]
    )
    found = one(
        client,
        "SELECT RANGE_OVERLAPS(stay, @r), RANGE_INTERSECT(stay, @s), RANGE_END(stay), RANGE_CONTAINS(stay, @r), "
        "RANGE<TIMESTAMP> '[2024-01-01 00:00:00+00, UNBOUNDED)' FROM special.stays WHERE id = 1",
        job_config=asked,
    )
    assert found == (
        True, {"start": datetime.date(2024, 1, 1), "end": datetime.date(2024, 1, 5)}, datetime.date(2024, 2, 1), True,
        {"start": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), "end": None},
    )  # fmt: skip
    kept = bigquery.QueryJobConfig(destination="test-project.special.sessions")
    text = "SELECT * FROM RANGE_SESSIONIZE(TABLE special.stays, 'stay', ['id'])"
    client.query(text, job_config=kept).result()
    assert client.get_table("special.sessions").schema[2].field_type == "RANGE"
    with pytest.raises(exceptions.BadRequest, match="must be smaller"):
        one(client, "SELECT RANGE(DATE '2024-02-01', DATE '2024-01-01')")


def test_geographies_are_columns_and_results(client: bigquery.Client) -> None:
    table = client.create_table(
        bigquery.Table(
            "test-project.special.places",
            schema=[bigquery.SchemaField("name", "STRING"), bigquery.SchemaField("at", "GEOGRAPHY")],
        )
    )
    assert client.insert_rows_json(table, [{"name": "a", "at": "POINT(-122.4 37.8)"}, {"name": "b"}]) == []
    assert [tuple(row.values()) for row in client.list_rows(table)] == [
        ("a", "POINT(-122.4 37.8)"),
        ("b", None),
    ]
    found = one(
        client,
        "SELECT ST_ASTEXT(at), ST_DWITHIN(at, ST_GEOGPOINT(-122.4, 37.8001), 20), "
        "ST_GEOHASH(ST_GEOGPOINT(10.40744, 57.64911), 11), "
        "ST_ASGEOJSON(at), ST_BOUNDINGBOX(at).xmin < -122 FROM special.places WHERE at IS NOT NULL",
    )
    assert found == (
        "POINT(-122.4 37.8)", True, "u4pruydqqvj", '{ "type": "Point", "coordinates": [-122.4, 37.8] } ', True,
    )  # fmt: skip
    kept = bigquery.QueryJobConfig(destination="test-project.special.shapes")
    client.query("SELECT name, ST_BUFFER(at, 10) AS area FROM special.places", job_config=kept).result()
    assert client.get_table("special.shapes").schema[1].field_type == "GEOGRAPHY"
    square = "ST_GEOGFROMTEXT('POLYGON((0 0, 1 0, 1 1, 0 1, 0 0))')"
    found = one(
        client,
        f"SELECT ST_CONTAINS({square}, ST_GEOGPOINT(0.5, 0.5)), ROUND(ST_AREA({square}) / 1e6), "
        f"ST_GEOMETRYTYPE(ST_INTERSECTION({square}, ST_GEOGFROMTEXT('LINESTRING(-1 0.5, 2 0.5)', planar => TRUE))), "
        "SAFE.ST_GEOGFROMTEXT('POINT(')",
    )
    assert found == (True, 12364.0, "ST_LineString", None)
    with pytest.raises(exceptions.BadRequest, match="Latitude must be between"):
        one(client, "SELECT ST_GEOGPOINT(0, 91)")


def test_intervals_are_results(client: bigquery.Client) -> None:
    assert one(client, "SELECT INTERVAL '1-2 3 4:5:6' YEAR TO SECOND, JUSTIFY_DAYS(INTERVAL 40 DAY)") == (
        relativedelta(years=1, months=2, days=3, hours=4, minutes=5, seconds=6),
        relativedelta(months=1, days=10),
    )


def test_columns_of_one_name_are_numbered_unless_they_are_kept(client: bigquery.Client) -> None:
    assert [field.name for field in client.query("SELECT 1 AS a, 2 AS a").result().schema] == ["a", "a_1"]
    kept = bigquery.QueryJobConfig(destination="test-project.special.twice")
    with pytest.raises(exceptions.BadRequest, match="Duplicate column names"):
        client.query("SELECT 1 AS a, 2 AS a", job_config=kept).result()
