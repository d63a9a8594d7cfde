"""BigQuery's Storage Read API by its official client, and results that come by it under `portico exec`."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import bigquery, bigquery_storage
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from tests.services.bigquery.test_bigquery import connected

TABLE = "projects/test-project/datasets/storage_reads/tables/orders"
PARENT = "projects/test-project"


@pytest.fixture(scope="module")
def address(portico: Any) -> str:
    found = json.loads((portico.home / "run" / "address.json").read_text())
    return f"127.0.0.1:{found['grpc']}"


@pytest.fixture(scope="module")
def reader(address: str) -> Iterator[bigquery_storage.BigQueryReadClient]:
    with grpc.insecure_channel(address) as channel:
        yield bigquery_storage.BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


@pytest.fixture(scope="module")
def client(portico: Any) -> Iterator[bigquery.Client]:
    found = connected(portico)
    found.create_dataset("storage_reads")
    found.query(
        "CREATE TABLE storage_reads.orders (id INT64 NOT NULL, name STRING, price NUMERIC, big BIGNUMERIC, day DATE, "
        "at TIMESTAMP, local DATETIME, hour TIME, data BYTES, shape JSON, tags ARRAY<STRING>, "
        "place STRUCT<city STRING, code INT64>, parts ARRAY<STRUCT<a INT64, b INT64>>)"
    ).result()
    found.query(
        "INSERT INTO storage_reads.orders SELECT i, CONCAT('n', i), NUMERIC '1.5' * i, BIGNUMERIC '0.25', "
        "DATE '2024-01-02', TIMESTAMP '2024-01-02 03:04:05+00', DATETIME '2024-01-02 03:04:05', TIME '03:04:05', "
        "b'ab', JSON '{\"k\": 1}', ['x', 'y'], STRUCT('Rome' AS city, i AS code), "
        "[STRUCT(1 AS a, 2 AS b), STRUCT(3 AS a, 4 AS b)] "
        "FROM UNNEST(GENERATE_ARRAY(1, 10)) AS i"
    ).result()
    yield found
    found.delete_dataset("storage_reads", delete_contents=True)


def test_ranges_come_as_structs(client: Any, reader: Any) -> None:
    client.query(
        "CREATE TABLE storage_reads.stays AS SELECT RANGE<DATE> '[2020-01-01, UNBOUNDED)' AS r, "
        "[RANGE<TIMESTAMP> '[UNBOUNDED, 2020-01-01 00:00:00+00)'] AS many UNION ALL SELECT NULL, []"
    ).result()
    place = TABLE.replace("orders", "stays")
    table = reader.read_rows(session_of(reader, table=place).streams[0].name).to_arrow()
    assert table.column("r").to_pylist() == [{"start": datetime.date(2020, 1, 1), "end": None}, None]
    end = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert table.column("many").to_pylist() == [[{"start": None, "end": end}], []]
    rows = list(reader.read_rows(session_of(reader, table=place, form="AVRO").streams[0].name).rows())
    assert rows[0]["r"] == {"start": datetime.date(2020, 1, 1), "end": None} and rows[1]["r"] is None
    assert rows[0]["many"] == [{"start": None, "end": end}]


def test_geographies_come_as_texts(client: Any, reader: Any) -> None:
    client.query(
        "CREATE TABLE storage_reads.places AS SELECT ST_GEOGPOINT(1, 2) AS at, [ST_GEOGPOINT(3, 4)] AS many, "
        "STRUCT(ST_GEOGPOINT(5, 6) AS g, RANGE<DATE> '[2020-01-01, UNBOUNDED)' AS r) AS deep UNION ALL "
        "SELECT NULL, [], NULL"
    ).result()
    place = TABLE.replace("orders", "places")
    table = reader.read_rows(session_of(reader, table=place).streams[0].name).to_arrow()
    stay = {"start": datetime.date(2020, 1, 1), "end": None}
    expected = [
        {"at": "POINT(1 2)", "many": ["POINT(3 4)"], "deep": {"g": "POINT(5 6)", "r": stay}},
        {"at": None, "many": [], "deep": None},
    ]
    assert table.to_pylist() == expected
    assert table.schema.field("at").metadata == {b"ARROW:extension:name": b"google:sqlType:geography"}
    rows = reader.read_rows(session_of(reader, table=place, form="AVRO").streams[0].name).rows()
    assert list(rows) == expected


def session_of(reader: Any, most: int = 0, table: str = TABLE, form: str = "ARROW", **options: Any) -> Any:
    wanted = types.ReadSession(table=table, data_format=form, read_options=options)
    return reader.create_read_session(parent=PARENT, read_session=wanted, max_stream_count=most)


def test_every_type_comes_as_google_writes_it(client: Any, reader: Any) -> None:
    session = session_of(reader)
    assert session.estimated_row_count == 10 and len(session.streams) == 1
    table = reader.read_rows(session.streams[0].name).to_arrow()
    assert {one.name: str(one.type) for one in table.schema} == {
        "id": "int64", "name": "string", "price": "decimal128(38, 9)",
        "big": "decimal256(76, 38)", "day": "date32[day]",
        "at": "timestamp[us, tz=UTC]", "local": "timestamp[us]", "hour": "time64[us]", "data": "binary",
        "shape": "string", "tags": "list<item: string>", "place": "struct<city: string, code: int64>",
        "parts": "list<item: struct<a: int64, b: int64>>",
    }  # fmt: skip
    assert table.schema.field("local").metadata == {b"ARROW:extension:name": b"google:sqlType:datetime"}
    assert table.column("id").to_pylist() == list(range(1, 11))
    assert table.column("place")[0].as_py() == {"city": "Rome", "code": 1}
    avro = session_of(reader, form="AVRO")
    rows = list(reader.read_rows(avro.streams[0].name).rows())
    arrow = table.to_pylist()
    same = [key for key in rows[0] if key not in ("local", "shape")]
    assert [{key: row[key] for key in same} for row in rows] == [
        {key: row[key] for key in same} for row in arrow
    ]
    assert rows[0]["local"] == "2024-01-02T03:04:05"


@pytest.mark.parametrize(
    "options",
    [
        {"arrow_serialization_options": {"buffer_compression": "LZ4_FRAME"}},
        {"arrow_serialization_options": {"buffer_compression": "ZSTD"}},
        {"response_compression_codec": "RESPONSE_COMPRESSION_CODEC_LZ4"},
    ],
)
def test_rows_and_columns_are_chosen_and_compressed(
    client: Any, reader: Any, options: dict[str, Any]
) -> None:
    session = session_of(
        reader,
        selected_fields=["place.code", "id", "parts.b"],
        row_restriction="id > 8 AND name LIKE 'n%'",
        **options,
    )
    assert session.estimated_row_count == 2
    if "response_compression_codec" in options:
        [answer] = reader.read_rows(session.streams[0].name)
        assert answer.uncompressed_byte_size > 0
        return
    assert reader.read_rows(session.streams[0].name).to_arrow().to_pylist() == [
        {"id": i, "place": {"code": i}, "parts": [{"b": 2}, {"b": 4}]} for i in (9, 10)
    ]


def test_a_stream_is_read_from_an_offset_and_split(client: Any, reader: Any) -> None:
    session = session_of(reader)
    client.query("INSERT INTO storage_reads.orders (id) SELECT 99").result()
    [stream] = session.streams
    assert reader.read_rows(stream.name, offset=7).to_arrow().column("id").to_pylist() == [8, 9, 10], (
        "as it was"
    )
    assert reader.read_rows(stream.name, offset=10).to_arrow(session).num_rows == 0
    split = reader.split_read_stream({"name": stream.name, "fraction": 0.3})
    found = [
        reader.read_rows(one.name).to_arrow().column("id").to_pylist()
        for one in (split.primary_stream, split.remainder_stream)
    ]
    assert found == [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10]]
    client.query("DELETE FROM storage_reads.orders WHERE id = 99").result()


def test_a_session_shows_a_table_as_it_was(client: Any, reader: Any) -> None:
    client.query("CREATE TABLE storage_reads.changing AS SELECT 1 AS x").result()
    [[moment]] = client.query("SELECT CURRENT_TIMESTAMP()").result()
    client.query("UPDATE storage_reads.changing SET x = 2 WHERE TRUE").result()
    table = TABLE.replace("orders", "changing")
    wanted = types.ReadSession(table=table, data_format="ARROW", table_modifiers={"snapshot_time": moment})
    session = reader.create_read_session(parent=PARENT, read_session=wanted)
    assert reader.read_rows(session.streams[0].name).to_arrow().to_pylist() == [{"x": 1}]


def test_what_can_not_be_read_says_so(client: Any, reader: Any) -> None:
    with pytest.raises(exceptions.NotFound, match="nothing was not found"):
        session_of(reader, table=TABLE.replace("orders", "nothing"))
    with pytest.raises(exceptions.InvalidArgument, match="do not exist in the table schema: colour"):
        session_of(reader, selected_fields=["colour"])
    with pytest.raises(exceptions.InvalidArgument, match="colour"):
        session_of(reader, row_restriction="colour = 1")
    with pytest.raises(exceptions.InvalidArgument):
        session_of(reader, row_restriction="id = 1) UNION ALL (SELECT 1")
    with pytest.raises(exceptions.InvalidArgument, match="data_format"):
        session_of(reader, form="DATA_FORMAT_UNSPECIFIED")
    with pytest.raises(exceptions.InvalidArgument, match="table must be"):
        session_of(reader, table="orders")
    client.query("CREATE VIEW storage_reads.seen AS SELECT 1 AS x").result()
    with pytest.raises(exceptions.InvalidArgument, match="is a view"):
        session_of(reader, table=TABLE.replace("orders", "seen"))
    [stream] = session_of(reader).streams
    with pytest.raises(exceptions.OutOfRange):
        list(reader.read_rows(stream.name, offset=11))
    with pytest.raises(exceptions.NotFound):
        list(reader.read_rows(f"{PARENT}/locations/us/sessions/{'0' * 32}/streams/0-1"))
    with pytest.raises(exceptions.InvalidArgument):
        list(reader.read_rows("nonsense"))


def test_an_unknown_token_is_refused(client: Any, address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/google.cloud.bigquery.storage.v1.BigQueryRead/CreateReadSession")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", metadata=[("authorization", "Bearer nonsense")])
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        unknown = channel.unary_unary("/google.cloud.bigquery.storage.v1.BigQueryRead/Nothing")
        with pytest.raises(grpc.RpcError) as raised:
            unknown(b"")
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


SCRIPT = """
from google.cloud import bigquery, bigquery_storage
from google.cloud.bigquery import _pandas_helpers

opened = []
download = _pandas_helpers._download_table_bqstorage
_pandas_helpers._download_table_bqstorage = lambda *a, **k: (opened.append(1), download(*a, **k))[1]

client = bigquery.Client(project="test-project")
text = "SELECT i, CONCAT('n', i) AS name FROM UNNEST(GENERATE_ARRAY(1, 30000)) AS i ORDER BY i"
found = client.query(text).to_arrow()
assert found.column("i").to_pylist() == list(range(1, 30001)) and opened == [1], opened
assert client.query(text + " LIMIT 3").to_dataframe()["name"].tolist() == ["n1", "n2", "n3"]
assert opened == [1], "a small result comes along"
rows = client.list_rows("storage_reads.orders", selected_fields=[bigquery.SchemaField("id", "INT64")]).to_dataframe()
assert rows["id"].tolist() == list(range(1, 11)) and len(opened) == 2

reader = bigquery_storage.BigQueryReadClient()
wanted = {"table": "%s", "data_format": "ARROW"}
session = reader.create_read_session(parent="projects/test-project", read_session=wanted)
assert reader.read_rows(session.streams[0].name).to_arrow().num_rows == 10

for form in ({"query_results_format": "ARROW"}, {"query_results_format": "ARROW", "compression_codec": "LZ4_FRAME"}):
    found = client.query_and_wait(text, **form).to_arrow()
    assert found.column("i").to_pylist() == list(range(1, 30001))
    assert client.query_and_wait(text + " LIMIT 0", **form).to_arrow().column_names == ["i", "name"]
    wide = "SELECT i, REPEAT('x', 1000) AS x FROM UNNEST(GENERATE_ARRAY(1, 20000)) AS i ORDER BY i"
    assert client.query_and_wait(wide, **form).to_dataframe()["i"].sum() == 200010000
assert len(opened) == 2
"""


def test_clients_under_exec_read_by_arrow(client: Any, portico: Any) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "exec", "--home", str(portico.home), "--"]
    ran = subprocess.run(
        [*command, sys.executable, "-W", "ignore", "-c", SCRIPT % TABLE],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


SHELL = """
from google.cloud import bigquery
client = bigquery.Client(project="test-project")
text = "SELECT i FROM UNNEST(GENERATE_ARRAY(1, 30000)) AS i ORDER BY i"
assert client.query(text).to_arrow().column("i").to_pylist() == list(range(1, 30001))
assert client._ensure_bqstorage_client()._transport._host == "bigquerystorage.googleapis.com:443"
"""


def test_clients_in_a_shell_read_by_arrow(client: Any, portico: Any) -> None:
    command = [sys.executable, "-m", "portico.cli.main", "env", "--home", str(portico.home), "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHELL],
        capture_output=True, text=True, timeout=100, env=os.environ | told,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
