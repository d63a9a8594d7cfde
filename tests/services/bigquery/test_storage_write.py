"""BigQuery's Storage Write API by its official client: streams of each type, rows in messages and in Arrow, errors."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud import bigquery, bigquery_storage
from google.cloud.bigquery_storage_v1 import types, writer
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tests.services.bigquery.test_bigquery import answered, connected

TABLE = "projects/test-project/datasets/storage_writes/tables/events"
TYPES = {"i": 3, "s": 9, "d": 1, "b": 8, "y": 12, "i32": 5}  # of FieldDescriptorProto


def message(name: str, **fields: tuple[str, bool] | str) -> Any:
    """A class of messages; of a field its type in TYPES, and whether it is repeated."""
    described = descriptor_pb2.DescriptorProto(name=name)
    for number, (field, kind) in enumerate(fields.items(), 1):
        letter, repeated = kind if isinstance(kind, tuple) else (kind, False)
        described.field.add(name=field, number=number, type=TYPES[letter], label=3 if repeated else 1)
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="a.b", message_type=[described])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"a.b.{name}"))


def proto_request(rows: list[Any], stream: str = "", offset: int | None = None, **more: Any) -> Any:
    request = types.AppendRowsRequest(**more)
    data = types.AppendRowsRequest.ProtoData(
        rows=types.ProtoRows(serialized_rows=[row.SerializeToString() for row in rows])
    )
    if stream:
        request.write_stream = stream
        described = descriptor_pb2.DescriptorProto()
        rows[0].DESCRIPTOR.CopyToProto(described)
        data.writer_schema = types.ProtoSchema(proto_descriptor=described)
    request.proto_rows = data
    if offset is not None:
        request.offset = offset
    return request


def connect(portico: Any) -> Any:
    address = json.loads((portico.home / "run" / "address.json").read_text())
    channel = grpc.insecure_channel(f"127.0.0.1:{address['grpc']}")
    return bigquery_storage.BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))


@pytest.fixture(scope="module")
def write(portico: Any) -> Any:
    return connect(portico)


@pytest.fixture(scope="module")
def client(portico: Any) -> Iterator[bigquery.Client]:
    found = connected(portico)
    found.create_dataset("storage_writes")
    yield found
    found.delete_dataset("storage_writes", delete_contents=True)


@pytest.fixture
def events(client: Any) -> Iterator[str]:
    client.query(
        "CREATE TABLE storage_writes.events (id INT64 NOT NULL, word STRING DEFAULT 'none', n NUMERIC)"
    ).result()
    yield "SELECT id, word, n FROM storage_writes.events ORDER BY id"
    client.query("DROP TABLE storage_writes.events").result()


def test_a_committed_stream_shows_each_row_once(client: Any, write: Any, events: str) -> None:
    stream = write.create_write_stream(parent=TABLE, write_stream=types.WriteStream(type_="COMMITTED"))
    assert [(one.name, one.type_.name) for one in stream.table_schema.fields] == [
        ("id", "INT64"), ("word", "STRING"), ("n", "NUMERIC"),
    ]  # fmt: skip
    row = message("Event", id="i", word="s", n="s")
    requests = [
        proto_request([row(id=1, word="a", n="1.5"), row(id=2)], stream.name, 0),
        proto_request([row(id=3, word="c")], offset=2),
        proto_request([row(id=3, word="c")], offset=2),
        proto_request([row(id=9)], offset=7),
        proto_request([row(id=4)]),
    ]
    answers = list(write.append_rows(iter(requests)))
    assert [one.append_result.offset for one in answers] == [0, 2, None, None, 3]
    assert [one.error.code for one in answers] == [0, 0, 6, 11, 0], "ALREADY_EXISTS, OUT_OF_RANGE"
    detail = types.StorageError.deserialize(answers[2].error.details[0].value)
    assert detail.code.name == "OFFSET_ALREADY_EXISTS" and detail.entity == stream.name
    assert [tuple(map(str, row)) for row in answered(client, events)] == [
        ("1", "a", "1.5"), ("2", "None", "None"), ("3", "c", "None"), ("4", "None", "None"),
    ]  # fmt: skip
    assert write.finalize_write_stream(name=stream.name).row_count == 4
    [answer] = write.append_rows(iter([proto_request([row(id=5)], stream.name)]))
    assert answer.error.code == 9 and "finalized" in answer.error.message
    assert write.get_write_stream(name=stream.name).type_.name == "COMMITTED"


def test_wrong_rows_are_named_and_none_is_taken(client: Any, write: Any, events: str) -> None:
    row = message("Loose", id="i", n="s")
    requests = [
        proto_request([row(id=1, n="2"), row(n="3"), row(id=3, n="many")], f"{TABLE}/streams/_default")
    ]
    requests.append(proto_request([row(id=1, n="2"), row(id=3, n="many")]))
    requests.append(proto_request([row(id=7)], default_missing_value_interpretation="DEFAULT_VALUE"))
    first, second, third = write.append_rows(iter(requests))
    assert [(one.index, "required" in one.message) for one in first.row_errors] == [
        (1, True)
    ] and first.error.code == 3
    assert [one.index for one in second.row_errors] == [1] and "many" in second.row_errors[0].message
    assert not third.error.code and not third.append_result.offset
    assert answered(client, events) == [(7, "none", None)]
    more = message("More", id="i", colour="s")
    [answer] = write.append_rows(iter([proto_request([more(id=1)], f"{TABLE}/_default")]))
    assert "extra fields: 'colour'" in answer.error.message
    client.query("ALTER TABLE storage_writes.events ADD COLUMN colour STRING").result()
    [answer] = write.append_rows(iter([proto_request([more(id=8, colour="red")], f"{TABLE}/_default")]))
    assert not answer.error.code
    with pytest.raises(exceptions.NotFound):
        list(write.append_rows(iter([proto_request([row(id=1)], TABLE + "x/streams/_default")])))


def test_pending_and_buffered_rows_wait(client: Any, write: Any, events: str) -> None:
    row = message("Plain", id="i")
    names = []
    for place in (10, 20):
        stream = write.create_write_stream(parent=TABLE, write_stream=types.WriteStream(type_="PENDING"))
        list(write.append_rows(iter([proto_request([row(id=place), row(id=place + 1)], stream.name)])))
        names.append(stream.name)
    told = write.batch_commit_write_streams({"parent": TABLE, "write_streams": names})
    assert [one.code.name for one in told.stream_errors] == ["INVALID_STREAM_STATE"] * 2, (
        "they are not finalized"
    )
    assert answered(client, events) == []
    for name in names:
        write.finalize_write_stream(name=name)
    told = write.batch_commit_write_streams({"parent": TABLE, "write_streams": names})
    assert told.commit_time and not told.stream_errors
    assert [one[0] for one in answered(client, events)] == [10, 11, 20, 21]
    again = write.batch_commit_write_streams({"parent": TABLE, "write_streams": names[:1]})
    assert again.stream_errors[0].code.name == "STREAM_ALREADY_COMMITTED"
    buffered = write.create_write_stream(parent=TABLE, write_stream=types.WriteStream(type_="BUFFERED"))
    list(write.append_rows(iter([proto_request([row(id=30 + i) for i in range(5)], buffered.name)])))
    assert write.flush_rows({"write_stream": buffered.name, "offset": 1}).offset == 1
    assert write.flush_rows({"write_stream": buffered.name, "offset": 3}).offset == 3
    assert [one[0] for one in answered(client, events)] == [10, 11, 20, 21, 30, 31, 32, 33]
    with pytest.raises(exceptions.OutOfRange):
        write.flush_rows({"write_stream": buffered.name, "offset": 5})
    with pytest.raises(exceptions.InvalidArgument):
        write.finalize_write_stream(name=f"{TABLE}/streams/_default")


def test_values_of_every_kind_come_in(client: Any, write: Any) -> None:
    client.query(
        "CREATE TABLE storage_writes.kinds (d DATE, ts TIMESTAMP, dt DATETIME, t TIME, n NUMERIC, big BIGNUMERIC, "
        "f FLOAT64, b BOOL, y BYTES, j JSON, a ARRAY<INT64>, day DATE)"
    ).result()
    row = message(
        "Kinds",
        d="i32",
        ts="i",
        dt="i",
        t="i",
        n="y",
        big="s",
        f="d",
        b="b",
        y="y",
        j="s",
        a=("i", True),
        day="s",
    )
    packed = (3 << 32) | (4 << 26) | (5 << 20) | 6
    one = row(
        d=19724, ts=1704164645000006, dt=(2024 << 46) | (1 << 42) | (2 << 37) | packed, t=packed, big="0.25", f=0.5,
        n=(15 * 10**8).to_bytes(8, "little"), b=True, y=b"\x00a", j='{"k": 1}', a=[1, 2], day="2024-02-29",
    )  # fmt: skip
    place = TABLE.replace("events", "kinds")
    [answer] = write.append_rows(iter([proto_request([one, row()], f"{place}/streams/_default")]))
    assert not answer.error.code, answer.error
    [[*found, shape]] = answered(
        client,
        "SELECT d, ts, dt, t, n, big, f, b, y, a, day, TO_JSON_STRING(j) FROM storage_writes.kinds WHERE d IS NOT NULL",
    )
    assert found == [
        dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, 3, 4, 5, 6, dt.UTC), dt.datetime(2024, 1, 2, 3, 4, 5, 6),
        dt.time(3, 4, 5, 6), Decimal("1.5"), Decimal("0.25"), 0.5, True, b"\x00a", [1, 2], dt.date(2024, 2, 29),
    ]  # fmt: skip
    assert shape == '{"k":1}'


def test_arrow_rows_come_in(client: Any, write: Any, events: str) -> None:
    schema = pa.schema([("id", pa.int64()), ("n", pa.decimal128(38, 9))])
    batch = pa.RecordBatch.from_pylist([{"id": i, "n": i} for i in range(1000)], schema)
    request = types.AppendRowsRequest(write_stream=f"{TABLE}/streams/_default")
    request.arrow_rows.writer_schema.serialized_schema = schema.serialize().to_pybytes()
    request.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
    broken = types.AppendRowsRequest()
    broken.arrow_rows.rows.serialized_record_batch = b"nonsense"
    stream = writer.AppendRowsStream(write, types.AppendRowsRequest(request))
    assert not stream.send(request).result(timeout=240).error.code
    stream.close()
    _, answer = write.append_rows(iter([request, broken]))
    assert answer.error.code == 3
    assert answered(client, "SELECT COUNT(*), SUM(n) FROM storage_writes.events") == [(2000, 999000)]


def test_what_was_acknowledged_survives_a_kill(new_portico: Any) -> None:
    server = new_portico().start()
    client, write = connected(server), connect(server)
    client.create_dataset("storage_writes")
    client.query("CREATE TABLE storage_writes.events (id INT64)").result()
    row = message("Plain", id="i")
    pending = write.create_write_stream(parent=TABLE, write_stream=types.WriteStream(type_="PENDING"))
    for stream in (f"{TABLE}/streams/_default", pending.name):
        [answer] = write.append_rows(iter([proto_request([row(id=1), row(id=2)], stream)]))
        assert not answer.error.code
    server.kill()
    server.start()
    client, write = connected(server), connect(server)
    assert answered(client, "SELECT COUNT(*) FROM storage_writes.events") == [(2,)]
    [late, again] = write.append_rows(
        iter([proto_request([row(id=2)], pending.name, 1), proto_request([row(id=3)], offset=2)])
    )
    assert late.error.code == 6 and again.append_result.offset == 2
    assert write.finalize_write_stream(name=pending.name).row_count == 3
    write.batch_commit_write_streams({"parent": TABLE, "write_streams": [pending.name]})
    assert answered(client, "SELECT COUNT(*) FROM storage_writes.events") == [(5,)]
    server.stop()
