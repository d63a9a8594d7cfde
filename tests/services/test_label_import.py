"""Labels from files in gs://: every format, bad rows, what is refused, and one label a row whatever is killed."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from tests.waiting import until

from portico.client.api import Client
from portico.errors import InvalidArgument, PorticoError
from portico.ml.label_rows import Columns, label_of
from portico.store import jobs, labels
from portico.store.database import Database


@pytest.fixture
def endpoint(aiplatform: Any) -> Any:
    made = aiplatform.Endpoint.create(display_name="labelled")
    yield made.resource_name
    made.delete()


@pytest.fixture
def client(portico: Any) -> Client:
    return Client(portico.url)


def held(portico: Any, endpoint: str) -> dict[str, labels.Label]:
    database = Database(portico.home)
    with database.read() as connection:
        found, _ = labels.since(connection, endpoint, -1)
    database.close()
    return {label.name: label for label in found}


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_files_of_every_format_say_the_same(portico, client, endpoint, bucket):
    csv = "day,count,seen\n2012-01-01,12.5,2012-01-02 00:00:00\n2012-01-02,13,\n"
    rows = [
        {"day": "2012-01-01", "count": 12.5, "seen": "2012-01-02T00:00:00Z"},
        {"day": "2012-01-02", "count": 13},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    columns = {"truth": "count", "key": ["day"], "observed": "seen"}
    for number, (name, data) in enumerate(
        {
            "a.csv": csv.encode(),
            "b.csv.gz": gzip.compress(csv.encode()),
            "c.jsonl": lines.encode(),
            "d.parquet": parquet(pa.Table.from_pylist(rows)),
        }.items()
    ):
        bucket.blob(f"{name[0]}/{name}").upload_from_string(data)
        found = client.import_labels(endpoint, f"gs://{bucket.name}/{name[0]}/*", **columns)
        assert (found["new"], found["repeated"], found["badRows"]) == ((2, 0, 0) if not number else (0, 2, 0))
    kept = held(portico, endpoint)
    assert {label.truth for label in kept.values()} == {12.5, 13}
    first = kept['key:[["day"],["2012-01-01"]]']
    assert first.observed == 1325462400.0 < first.arrived


def test_a_column_says_which_labels_were_influenced(portico, client, endpoint, bucket):
    text = "id,truth,acted\n1,1,true\n2,0,False\n3,1,\n4,0,perhaps\n"
    bucket.blob("acted.csv").upload_from_string(text)
    found = client.import_labels(
        endpoint, f"gs://{bucket.name}/acted.csv", request_id="id", influenced="acted"
    )
    assert (found["new"], found["badRows"]) == (3, 1)
    assert "acted is 'perhaps'; write true or false" in found["errors"][0]
    kept = held(portico, endpoint)
    assert [kept[f"id:0:{n}"].influenced for n in (1, 2, 3)] == [True, False, False]


def test_bad_rows_are_counted_and_named_and_late_labels_keep_their_rules(client, endpoint, bucket):
    def take(text: str, name: str = "labels.csv", **more: Any) -> dict[str, Any]:
        bucket.blob(name).upload_from_string(text)
        return client.import_labels(endpoint, f"gs://{bucket.name}/{name}", request_id="id", **more)

    found = take(
        "id,truth,i,t\n7,1,0,\n7,,0,\n,1,0,\n8,1\n9,2,x,\n10,3,1,\n11,4,0,soon\n", index="i", observed="t"
    )
    assert (found["new"], found["badRows"]) == (2, 5)
    said = [
        "2: truth is empty",
        "3: id is empty",
        "4: it has 2 cells",
        "5: i is 'x', which is no",
        "7: t: 'soon'",
    ]
    for one, wanted in zip(found["errors"], said, strict=True):
        assert one.startswith(f"gs://{bucket.name}/labels.csv, row {wanted}"), (one, wanted)
    found = take('{"id":7,"truth":1}\n[1]\nnonsense\n{"id":7,"truth":2}\n{"id":10}\n', "more.jsonl")
    assert (found["repeated"], found["contradicted"], found["badRows"]) == (1, 1, 3)
    assert take("id,truth\n" + "\n".join("," for _ in range(50)))["errors"][-1].endswith(
        "row 10: truth is empty"
    )


def test_what_is_refused_says_what_to_change(portico, client, endpoint, bucket):
    bucket.blob("a.csv").upload_from_string("id,truth\n1,2\n")
    bucket.blob("b.parquet").upload_from_string("nonsense")
    bucket.blob("c.jsonl").upload_from_string('{"id":1}\n')
    place = f"gs://{bucket.name}"
    for options, said in (
        ({"uris": f"{place}/a.csv"}, "requestIdColumn or by keyColumns"),
        ({"uris": f"{place}/a.csv", "request_id": "id", "key": ["id"]}, "not by both"),
        ({"uris": f"{place}/a.csv", "request_id": "id", "time": "t"}, "timeColumn needs keyColumns"),
        ({"uris": f"{place}/a.csv", "key": ["id"], "index": "t"}, "indexColumn needs requestIdColumn"),
        ({"uris": f"{place}/none.csv", "request_id": "id"}, "none.csv"),
        ({"uris": [], "request_id": "id"}, "At least one"),
        ({"uris": f"{place}/a.csv", "request_id": "id", "format": "xml"}, "xml"),
        ({"uris": f"{place}/a.csv", "request_id": "id", "truth": "y"}, "no column 'y'; it has id, truth"),
        ({"uris": f"{place}/c.jsonl", "request_id": "id"}, "no column 'truth'; it has id"),
        ({"uris": f"{place}/b.parquet", "request_id": "id"}, "cannot be read as parquet"),
    ):
        with pytest.raises(InvalidArgument, match=said.replace(";", ".")):
            client.import_labels(endpoint, options.pop("uris"), **options)  # type: ignore[arg-type]
    with pytest.raises(PorticoError, match="does not exist"):
        client.import_labels(f"{endpoint}9", f"{place}/a.csv", request_id="id")
    assert held(portico, endpoint) == {}


def test_the_operation_is_polled_in_our_own_api_and_googles_client_sees_none(
    portico, client, endpoint, bucket
):
    bucket.blob("a.csv").upload_from_string("id,truth\n1,2\n")
    asked = {"gcsSource": {"uris": [f"gs://{bucket.name}/a.csv"]}, "requestIdColumn": "id"}
    begun = client.call("POST", f"{endpoint}:importLabels", asked)
    assert begun["name"].startswith(f"{endpoint}/operations/") and not begun.get("done")
    assert begun["metadata"]["@type"] == "type.googleapis.com/portico.v1.ImportLabelsOperationMetadata"
    response = client.waited(begun)
    assert response["@type"] == "type.googleapis.com/portico.v1.ImportLabelsResponse" and response["new"] == 1
    done = client.call("GET", begun["name"])
    assert done["done"] and done["metadata"]["rows"] == 1
    assert [one["name"] for one in client.call("GET", f"{endpoint}/operations")["operations"]] == [
        begun["name"]
    ]
    assert requests.get(f"{portico.url}/v1/{begun['name']}", timeout=240).status_code == 404
    assert begun["name"] not in requests.get(f"{portico.url}/v1/{endpoint}/operations", timeout=240).text
    assert client.call("DELETE", begun["name"]) == {}
    answer = requests.get(f"{portico.url}/apis/portico/v1/{begun['name']}", timeout=240)
    assert answer.status_code == 404


def test_an_import_reads_what_was_there_when_it_was_asked_for(portico, client, endpoint, bucket):
    blob = bucket.blob("a.csv")
    blob.upload_from_string("id,truth\n" + "".join(f"{n},1\n" for n in range(5000)))
    asked = {"gcsSource": {"uris": [f"gs://{bucket.name}/a.csv"]}, "requestIdColumn": "id"}
    begun = client.call("POST", f"{endpoint}:importLabels", asked)
    blob.upload_from_string("id,truth\n7,9\n")
    assert client.waited(begun)["new"] == 5000
    assert held(portico, endpoint)["id:0:7"].truth == 1


def test_an_import_whose_process_is_killed_takes_each_label_once(portico, client, endpoint, bucket):
    count = 60_000
    bucket.blob("a.csv").upload_from_string(
        "id,truth\n" + "".join(f"{n},{n}\n" for n in range(count)) + ",\n"
    )
    asked = {"gcsSource": {"uris": [f"gs://{bucket.name}/a.csv"]}, "requestIdColumn": "id"}
    operation = client.call("POST", f"{endpoint}:importLabels", asked)

    def rows() -> int:
        now = client.call("GET", operation["name"])
        assert not now.get("done"), now
        return int(now["metadata"]["rows"])

    assert until(rows, "some rows are read") < count
    (worker,) = workers(portico, "endpoints.importLabels")
    os.kill(worker, signal.SIGKILL)
    found = client.waited(operation)
    assert {name: found[name] for name in ("new", "repeated", "contradicted", "badRows")} == {
        "new": count, "repeated": 0, "contradicted": 0, "badRows": 1,
    }  # fmt: skip
    database = Database(portico.home)
    with database.read() as connection:
        assert labels.counts(connection, endpoint) == labels.Added(new=count)
    database.close()


def workers(portico: Any, kind: str) -> list[int]:
    """The processes that run jobs of a `kind`: children of the warm server, each writing its job's log."""
    database = Database(portico.home)
    found = []
    for pid in portico.pids():
        try:
            process = psutil.Process(pid)
            if "portico.jobs.warm" not in process.parent().cmdline():
                continue
            log = Path(os.readlink(f"/proc/{pid}/fd/1"))
        except (psutil.NoSuchProcess, FileNotFoundError):
            continue
        with database.read() as connection:
            job = jobs.get(connection, log.parent.name)
        if job is not None and job.kind == kind:
            found.append(pid)
    database.close()
    return found


def test_a_label_without_its_time_is_none():
    columns = Columns("y", key=("a",), time="t")
    assert label_of({"y": "1e3", "a": 1, "t": "2020-01-01"}, columns) == {
        "truth": 1000.0, "key": {"a": 1}, "time": "2020-01-01T00:00:00.000000Z",
    }  # fmt: skip
    for row in ({"y": 1, "a": 1}, {"y": 1, "a": 1, "t": ""}, {"y": float("inf"), "a": 1, "t": "2020-01-01"}):
        with pytest.raises(ValueError, match=r"t is empty|JSON can't write"):
            label_of(row, columns)


def test_cells_are_what_they_mean():
    columns = Columns("y", "id", "i")
    for given, meant in ((7.0, "7"), ("007", "007"), (Decimal("1" + "0" * 28), "1" + "0" * 28), (9, "9")):
        assert label_of({"y": 1, "id": given, "i": "2.0"}, columns) == {
            "truth": 1,
            "requestId": meant,
            "index": 2,
        }
    truths = (
        ("-3", -3),
        ("yes", "yes"),
        ("9" * 20, "9" * 20),
        ("inf", "inf"),
        (True, True),
        (Decimal("1.5"), 1.5),
    )
    for given, meant in truths:
        assert label_of({"y": given, "id": 1, "i": 0}, columns)["truth"] == meant
    for given in (b"x", [1], 2**70):
        with pytest.raises(ValueError, match="y is"):
            label_of({"y": given, "id": 1, "i": 0}, columns)
    for place in (-1, 0.5, "first", 2**31):
        with pytest.raises(ValueError, match="i is"):
            label_of({"y": 1, "id": 1, "i": place}, columns)
