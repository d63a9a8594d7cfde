"""Loads and exports of CSV files by BigQuery's official client: absent cells, empty ones, how files are written."""

from __future__ import annotations

import io
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

FIELDS = [bigquery.SchemaField("word", "STRING"), bigquery.SchemaField("number", "INTEGER")]


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("cells", exists_ok=True)
    return made


def loaded(client: bigquery.Client, data: bytes, **options: Any) -> list[tuple[Any, ...]]:
    config = bigquery.LoadJobConfig(
        source_format="CSV", schema=FIELDS, write_disposition="WRITE_TRUNCATE", **options
    )
    client.load_table_from_file(io.BytesIO(data), "cells.read", job_config=config).result()
    return answered(client, "SELECT word, number FROM cells.read")


def test_a_cell_without_quotes_is_null_where_it_is_empty(client: bigquery.Client) -> None:
    data = b',1\n"",2\n"a,"",b",3\n"x\n"",""\n",4\nplain,\n'
    assert loaded(client, data) == [
        (None, 1),
        ("", 2),
        ('a,",b', 3),
        ('x\n","\n', 4),
        ("plain", None),
    ]
    assert loaded(client, b"''|1\n|2\n", quote_character="'", field_delimiter="|") == [("", 1), (None, 2)]
    assert loaded(client, b'""\n', allow_jagged_rows=True) == [("", None)]


def test_with_a_marker_an_empty_text_is_one(client: bigquery.Client) -> None:
    assert loaded(client, b',1\n"",2\nNA,NA\n', null_marker="NA") == [("", 1), ("", 2), (None, None)]
    assert loaded(client, b"a\n", null_marker="NA", allow_jagged_rows=True) == [("a", None)]
    with pytest.raises(exceptions.BadRequest, match="Bad int64 value"):
        loaded(client, b"a,\n", null_marker="NA")
    config = bigquery.LoadJobConfig(source_format="CSV", schema=FIELDS, write_disposition="WRITE_TRUNCATE")
    config._set_sub_prop("nullMarkers", ["NA", "-", ""])
    client.load_table_from_file(io.BytesIO(b"-,1\n,NA\n"), "cells.read", job_config=config).result()
    assert answered(client, "SELECT word, number FROM cells.read") == [(None, 1), (None, None)]


def test_an_export_tells_null_from_an_empty_text(client: bigquery.Client, bucket: Any) -> None:
    text = "SELECT * FROM UNNEST([STRUCT('' AS word, 1 AS number), (NULL, 2), ('a \"b\", c', NULL)])"
    client.query(f"CREATE OR REPLACE TABLE cells.written AS {text}").result()
    place = f"gs://{bucket.name}/cells.csv"
    client.extract_table("cells.written", place).result()
    assert bucket.blob("cells.csv").download_as_text() == 'word,number\n"",1\n,2\n"a ""b"", c",\n'
    config = bigquery.LoadJobConfig(schema=FIELDS, skip_leading_rows=1)
    client.load_table_from_uri(place, "cells.again", job_config=config).result()
    assert answered(client, "SELECT * FROM cells.again") == answered(client, "SELECT * FROM cells.written")


def test_columns_are_matched_by_name_where_they_are_detected(client: bigquery.Client) -> None:
    """Of sourceColumnMatch the document: by name with autodetect, else by position; one that the file lacks is NULL."""
    client.query("CREATE OR REPLACE TABLE cells.named (one STRING, two STRING, three INT64)").result()

    def load(data: bytes, **options: Any) -> list[tuple[Any, ...]]:
        made = {"write_disposition": "WRITE_APPEND", "source_format": "CSV", **options}
        config = bigquery.LoadJobConfig(**made)
        client.load_table_from_file(io.BytesIO(data), "cells.named", job_config=config).result()
        found = answered(client, "SELECT * FROM cells.named")
        client.query("TRUNCATE TABLE cells.named").result()
        return found

    assert load(b"two,One\nb,a\n", autodetect=True) == [("a", "b", None)]
    assert load(b"x\nthree,two,one\n3,b,a\n", autodetect=True, skip_leading_rows=2) == [("a", "b", 3)]
    assert load(b"two,one,three\nb,a,3\n", skip_leading_rows=1) == [("b", "a", 3)]
    assert load(b"two,one,1\nb,a,3\n", autodetect=True, skip_leading_rows=0) == [
        ("two", "one", 1),
        ("b", "a", 3),
    ]
    bare: dict[str, Any] = {"autodetect": True, "skip_leading_rows": 0, "allow_jagged_rows": True}
    assert load(b"one,two\n", **bare) == [("one", "two", None)]
    named = {"source_column_match": "NAME"}
    assert load(b"two,other,one\nb,c,a\n", ignore_unknown_values=True, **named) == [("a", "b", None)]
    with pytest.raises(exceptions.BadRequest, match="The header has no column of the table: other"):
        load(b"two,other,one\nb,c,a\n", **named)
    with pytest.raises(exceptions.BadRequest, match="it has 1 cells where the table has 2"):
        load(b"two,one\nb\n", **named)
    assert load(b"two,one\nb\n", allow_jagged_rows=True, **named) == [(None, "b", None)]


@pytest.mark.parametrize("name", ["ISO-8859-1", "UTF-16LE", "UTF-32BE"])
def test_a_file_is_read_as_it_is_written(client: bigquery.Client, name: str) -> None:
    assert loaded(client, "Zürich,1\n".encode(name), encoding=name) == [("Zürich", 1)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nullMarker": "a", "nullMarkers": ["b"]}, "can not be set at the same time"),
        ({"encoding": "EBCDIC"}, "Invalid value for encoding: EBCDIC"),
        ({"dateFormat": "MM/DD/YYYY"}, "dateFormat is not built in Portico"),
        ({"timeZone": "America/New_York"}, "timeZone is not built in Portico"),
        ({"sourceColumnMatch": "WORD"}, "Invalid value for sourceColumnMatch: WORD"),
        ({"fileSetSpecType": "FILE_SET_SPEC_TYPE_NEW_LINE_DELIMITED_MANIFEST"}, "fileSetSpecType"),
        ({"jsonExtension": "GEOJSON"}, "jsonExtension is not built in Portico"),
    ],
)
def test_what_would_change_how_a_file_is_read_is_never_passed_over(
    client: bigquery.Client, bucket: Any, options: dict[str, Any], said: str
) -> None:
    config = bigquery.LoadJobConfig(source_format="CSV", schema=FIELDS)
    for key, value in options.items():
        config._set_sub_prop(key, value)
    with pytest.raises(exceptions.GoogleAPICallError, match=said):
        client.load_table_from_file(io.BytesIO(b"a,1\n"), "cells.refused", job_config=config).result()
    of_format = ("nullMarker", "nullMarkers", "encoding", "sourceColumnMatch")
    external = {
        "sourceFormat": "CSV",
        "sourceUris": [f"gs://{bucket.name}/cells.csv"],
        "schema": {"fields": [one.to_api_repr() for one in FIELDS]},
        "csvOptions": {key: value for key, value in options.items() if key in of_format},
        **{key: value for key, value in options.items() if key not in of_format},
    }
    bucket.blob("cells.csv").upload_from_string("a,1\n")
    table = bigquery.Table("test-project.cells.lying")
    table._properties["externalDataConfiguration"] = external
    with pytest.raises(exceptions.GoogleAPICallError, match=said):
        client.create_table(table)
