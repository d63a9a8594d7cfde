"""BigQuery by its official client: datasets, tables, queries, loads, extracts, copies."""

from __future__ import annotations

import datetime
import decimal
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery


def connected(portico: Any) -> bigquery.Client:
    return bigquery.Client(
        project="test-project",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=portico.url),
    )


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    return connected(portico)


@pytest.fixture
def dataset(client: bigquery.Client) -> Any:
    made = client.create_dataset("sales_data", exists_ok=True)
    yield made
    client.delete_dataset(made, delete_contents=True, not_found_ok=True)


def answered(client: bigquery.Client, text: str, **options: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in client.query(text, **options).result()]


def test_values_come_in_their_types(client: bigquery.Client) -> None:
    job = client.query(
        "SELECT 1 AS i, 1.5 AS f, NUMERIC '2.25' AS n, 'é' AS s, b'\\x00a' AS b, TRUE AS t, DATE '2024-02-29' AS d, "
        "TIME '12:30:00' AS c, DATETIME '2024-01-02 03:04:05.5' AS dt, TIMESTAMP '2024-01-02 03:04:05+02' AS ts, "
        "[1, 2] AS a, STRUCT(1 AS x, 'y' AS y) AS r, CAST(NULL AS INT64) AS e, JSON '{\"a\": [1]}' AS j"
    )
    [row] = job.result()
    assert dict(row.items()) == {
        "i": 1, "f": 1.5, "n": decimal.Decimal("2.25"), "s": "é", "b": b"\x00a", "t": True,
        "d": datetime.date(2024, 2, 29), "c": datetime.time(12, 30),
        "dt": datetime.datetime(2024, 1, 2, 3, 4, 5, 500000),
        "ts": datetime.datetime(2024, 1, 2, 1, 4, 5, tzinfo=datetime.UTC), "a": [1, 2], "r": {"x": 1, "y": "y"},
        "e": None, "j": {"a": [1]},
    }  # fmt: skip
    assert job.statement_type == "SELECT" and job.state == "DONE" and job.destination is not None


def test_a_result_is_a_table_too(client: bigquery.Client, dataset: Any) -> None:
    job = client.query("SELECT x, [STRUCT(x AS y)] AS a, CURRENT_DATE() AS d FROM UNNEST([1, 2, 3]) AS x")
    job.result()
    shown = client.get_table(job.destination)
    assert (
        shown.num_rows == 3
        and shown.expires is not None
        and [one.name for one in shown.schema] == ["x", "a", "d"]
    )
    name = f"`{job.destination.project}.{job.destination.dataset_id}.{job.destination.table_id}`"
    assert answered(client, f"SELECT SUM(x), SUM(a[0].y) FROM {name} WHERE x > 1") == [(5, 5)]
    client.copy_table(job.destination, f"{dataset.project}.{dataset.dataset_id}.kept").result()
    assert answered(client, f"SELECT COUNT(*) FROM {dataset.dataset_id}.kept") == [(3,)]
    newest = client.get_table(f"{dataset.project}.{dataset.dataset_id}.kep*")  # of a wildcard
    assert (newest.num_rows, newest.location) == (3, "US")
    assert job.destination.dataset_id not in [one.dataset_id for one in client.list_datasets()]
    with pytest.raises(exceptions.NotFound):
        client.get_table(f"{job.destination.project}.{job.destination.dataset_id}.nowhere")
    with pytest.raises(exceptions.NotFound):
        client.get_table(f"{dataset.project}.{dataset.dataset_id}.nothing_*")


def test_tables_are_made_filled_changed_and_dropped(client: bigquery.Client, dataset: Any) -> None:
    table = bigquery.Table(
        f"{dataset.project}.{dataset.dataset_id}.orders",
        schema=[
            bigquery.SchemaField("id", "INT64", mode="REQUIRED"),
            bigquery.SchemaField("amount", "NUMERIC", description="in euros"),
            bigquery.SchemaField("tags", "STRING", mode="REPEATED"),
        ],
    )
    table.time_partitioning = None
    made = client.create_table(table)
    assert [field.name for field in made.schema] == ["id", "amount", "tags"] and made.num_rows == 0
    with pytest.raises(exceptions.Conflict):
        client.create_table(table)
    assert client.insert_rows_json(made, [{"id": 1, "amount": "2.5", "tags": ["a", "b"]}, {"id": 2}]) == []
    errors = client.insert_rows_json(made, [{"id": 3}, {"id": "x"}, {"id": 4, "colour": 1}])
    assert [(one["index"], one["errors"][0]["reason"]) for one in errors] == [
        (0, "stopped"), (1, "invalid"), (2, "invalid"),
    ]  # fmt: skip
    name = f"`{dataset.dataset_id}.orders`"
    assert answered(client, f"SELECT * FROM {name} ORDER BY id") == [
        (1, decimal.Decimal("2.5"), ["a", "b"]),
        (2, None, []),
    ]
    changed = client.query(f"UPDATE {name} SET amount = amount * 2 WHERE id = 1")
    # Of a statement that returns no rows Google's answer has no totalRows, and its client says so by another class.
    assert type(changed.result()).__name__ == "_EmptyRowIterator"
    assert changed.num_dml_affected_rows == 1
    client.query_and_wait(f"CREATE TABLE {dataset.dataset_id}.copied AS SELECT * FROM {name}")
    dropped = client.query(f"DROP TABLE {dataset.dataset_id}.copied").result()
    assert type(dropped).__name__ == "_EmptyRowIterator" and list(dropped) == []
    assert client.query(f"SELECT id FROM {name} WHERE id > 5").result().total_rows == 0
    assert [row["amount"] for row in client.list_rows(made)] == [decimal.Decimal(5), None]
    made.description = "what was sold"
    made.schema = [*made.schema, bigquery.SchemaField("note", "STRING")]
    assert client.update_table(made, ["description", "schema"]).schema[-1].name == "note"
    assert client.get_table(made).description == "what was sold" and client.get_table(made).num_rows == 2
    assert [one.table_id for one in client.list_tables(dataset)] == ["orders"]
    client.delete_table(made)
    with pytest.raises(exceptions.NotFound, match="was not found"):
        client.query(f"SELECT * FROM {name}").result()


def test_dataframes_go_in_and_come_out(client: bigquery.Client, dataset: Any) -> None:
    frame = pd.DataFrame({
        "day": pd.to_datetime(["2024-01-01", "2024-01-02"]).date, "count": [3, 4], "share": [0.5, None],
        "word": ["a", "b"],
    })  # fmt: skip
    place = f"{dataset.dataset_id}.frames"
    job = client.load_table_from_dataframe(frame, place)
    assert job.result().output_rows == 2
    back = client.query(f"SELECT * FROM {place} ORDER BY count").to_dataframe(create_bqstorage_client=False)
    assert list(back["count"]) == [3, 4] and list(back["word"]) == ["a", "b"]
    found = client.query_and_wait(
        "SELECT SUM(count) AS total, ROUND(AVG(share), 2) AS share FROM sales_data.frames WHERE word IN UNNEST(@words)",
        job_config=bigquery.QueryJobConfig(
            query_parameters=[bigquery.ArrayQueryParameter("words", "STRING", ["a", "b", "c"])]
        ),
    )
    assert [tuple(row.values()) for row in found] == [(7, 0.5)]


def test_files_are_loaded_and_written(client: bigquery.Client, dataset: Any, bucket: Any) -> None:
    bucket.blob("in/a.csv").upload_from_string("name,day,n\nx,2024-01-01,1\ny,2024-01-02,2\n")
    bucket.blob("in/b.csv").upload_from_string("name,day,n\nz,2024-01-03,three\n")
    place = f"{dataset.project}.{dataset.dataset_id}.files"
    options = bigquery.LoadJobConfig(autodetect=True, skip_leading_rows=1)
    job = client.load_table_from_uri(f"gs://{bucket.name}/in/a.csv", place, job_config=options)
    assert job.result().output_rows == 2
    assert [(one.name, one.field_type) for one in client.get_table(place).schema] == [
        ("name", "STRING"), ("day", "DATE"), ("n", "INTEGER"),
    ]  # fmt: skip
    strict = bigquery.LoadJobConfig(
        skip_leading_rows=1, write_disposition="WRITE_TRUNCATE", schema=client.get_table(place).schema
    )
    with pytest.raises(exceptions.BadRequest, match=r"b\.csv.*Bad int64 value: three"):
        client.load_table_from_uri(f"gs://{bucket.name}/in/*.csv", place, job_config=strict).result()
    assert client.get_table(place).num_rows == 2, "a load that fails leaves the old rows"
    strict.max_bad_records = 1
    job = client.load_table_from_uri(f"gs://{bucket.name}/in/*.csv", place, job_config=strict)
    assert job.result().output_rows == 2 and "three" in job.errors[0]["message"]
    lines = io.BytesIO(b'{"name": "q", "day": "2024-05-05", "n": 9}\n')
    appended = client.load_table_from_file(
        lines, place, job_config=bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON")
    )
    assert appended.result().output_rows == 1
    client.copy_table(place, f"{place}_copy").result()
    assert client.get_table(f"{place}_copy").num_rows == 3
    client.extract_table(place, f"gs://{bucket.name}/out/*.csv").result()
    assert bucket.blob("out/000000000000.csv").download_as_text().splitlines()[0] == "name,day,n"


def test_a_text_in_a_file_is_a_string_of_json(client: bigquery.Client, dataset: Any) -> None:
    table, schema = (
        "sales_data.documents",
        [bigquery.SchemaField("n", "INT64"), bigquery.SchemaField("j", "JSON")],
    )
    values: list[Any] = [None, True, 0.5, "a string", "100", [1, "x"], {"a": None}]
    rows = [{"n": place, "j": value} for place, value in enumerate(values)]
    client.load_table_from_json(rows, table, job_config=bigquery.LoadJobConfig(schema=schema)).result()
    found = answered(client, f"SELECT j, JSON_TYPE(j) FROM {table} ORDER BY n")
    assert [one for one, _ in found] == values
    assert [kind for _, kind in found] == [None, "boolean", "number", "string", "string", "array", "object"]


@pytest.mark.parametrize(
    ("skip", "names", "rows"),
    [(None, ["word", "n"], 2), (0, ["string_field_0", "string_field_1"], 3), (2, ["a", "n2"], 1)],
)
def test_autodetect_looks_for_a_header_where_the_skipped_rows_say(
    client: bigquery.Client, dataset: Any, skip: int | None, names: list[str], rows: int
) -> None:
    place = f"{dataset.project}.{dataset.dataset_id}.headers_{skip}"
    options = bigquery.LoadJobConfig(autodetect=True)
    if skip is not None:
        options.skip_leading_rows = skip
    text = b"word,n\na,n2\nb,2\n" if skip == 2 else b"word,n\na,1\nb,2\n"
    job = client.load_table_from_file(io.BytesIO(text), place, job_config=options)
    assert job.result().output_rows == rows
    assert [one.name for one in client.get_table(place).schema] == names


def test_a_query_writes_to_its_destination_by_its_disposition(client: bigquery.Client, dataset: Any) -> None:
    place = f"{dataset.project}.{dataset.dataset_id}.kept"
    options = bigquery.QueryJobConfig(destination=place)
    client.query("SELECT 1 AS a", job_config=options).result()
    with pytest.raises(exceptions.Conflict):
        client.query("SELECT 2 AS a", job_config=options).result()
    options.write_disposition = "WRITE_APPEND"
    client.query("SELECT 2 AS a", job_config=options).result()
    assert answered(client, f"SELECT SUM(a) FROM `{place}`") == [(3,)]
    dry = client.query(f"SELECT a, 'x' AS b FROM `{place}`", job_config=bigquery.QueryJobConfig(dry_run=True))
    assert [(one.name, one.field_type) for one in dry.schema] == [("a", "INTEGER"), ("b", "STRING")]


@pytest.mark.parametrize(("text", "said"), [
    ("SELEC 1", "Syntax error"),
    ("SELECT nothing", "nothing"),
    ("SELECT NO_SUCH(1)", "Function not found: NO_SUCH"),
    ("SELECT read_text('/etc/passwd')", "Function not found: READ_TEXT"),
    ("SELECT sum(read_csv('/etc/passwd'))", "Function not found: READ_CSV"),
    ("SELECT * FROM `/etc/passwd`", "qualified with a dataset|not found|Invalid"),
    ("SELECT * FROM duckdb_settings()", "not found|Function|built"),
    ("ATTACH 'x.db' AS y", "not built|Syntax"),
    ("PRAGMA database_list", "not built|Syntax"),
    ("COPY t TO 'x'", "not built|Syntax"),
    ("SELECT 1/0", "division by zero"),
    ("SELECT gs_py_error('x')", "Function not found"),
])  # fmt: skip
def test_what_is_refused_says_what_to_change(client: bigquery.Client, text: str, said: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=said) as refused:
        client.query(text).result()
    assert refused.value.code in (400, 404, 501)


def test_projects_with_datasets_are_listed(client: bigquery.Client, portico: Any) -> None:
    names = ["listed-project-1", "listed-project-2"]
    for name in names:
        client.create_dataset(f"{name}.only", exists_ok=True)
    pages = client.list_projects(page_size=1)
    found = {one.project_id: one for page in pages.pages for one in page}
    assert set(names) <= set(found) and list(found) == sorted(found)
    assert found[names[0]].friendly_name == names[0] and found[names[0]].numeric_id.isdigit()


def test_what_would_do_nothing_is_refused_by_name(client: bigquery.Client, dataset: Any) -> None:
    wide = bigquery.SchemaField.from_api_repr({"name": "at", "type": "TIMESTAMP", "timestampPrecision": "12"})
    with pytest.raises(exceptions.GoogleAPICallError, match=r"timestamps of picoseconds .* are not built"):
        client.create_table(bigquery.Table("test-project.sales_data.wide", [wide]), retry=None)
    with pytest.raises(exceptions.GoogleAPICallError, match="timestamps of picoseconds are not built"):
        client.query("CREATE TABLE sales_data.wide (at TIMESTAMP(12))", retry=None, job_retry=None).result(
            retry=None, job_retry=None
        )
    careless = bigquery.Dataset("test-project.careless")
    careless.is_case_insensitive = True
    with pytest.raises(exceptions.GoogleAPICallError, match="Case-insensitive data sets are not built"):
        client.create_dataset(careless, retry=None)


def test_a_dropped_dataset_comes_back(client: bigquery.Client, dataset: Any) -> None:
    client.query("CREATE TABLE sales_data.kept AS SELECT 7 AS n").result()
    client.delete_dataset(dataset, delete_contents=True)
    path = f"{dataset.path}:undelete"
    with pytest.raises(exceptions.BadRequest, match="deletion time is not supported"):
        client._connection.api_request("POST", path, data={"deletionTime": "2024-01-01T00:00:00Z"})
    back = client._connection.api_request("POST", path, data={})
    assert back["datasetReference"]["datasetId"] == "sales_data"
    assert answered(client, "SELECT n FROM sales_data.kept") == [(7,)]
    with pytest.raises(exceptions.Conflict, match="Already Exists: Dataset"):
        client._connection.api_request("POST", path, data={})
    with pytest.raises(exceptions.NotFound, match="was not dropped lately"):
        client._connection.api_request("POST", path.replace("sales_data", "never_there"), data={})


def test_a_job_is_its_projects_own_and_its_id_no_path(client: bigquery.Client, portico: Any) -> None:
    for bad in ("../../../portico", "a/b", "a.b", "x" * 1025):
        with pytest.raises(exceptions.BadRequest, match="Invalid job ID"):
            client.query("SELECT 1", job_id=bad, retry=None)
    other = bigquery.Client(
        project="other-project",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=portico.url),
    )
    name = "same" + "x" * 500
    client.query("SELECT 1 AS n", job_id=name).result()
    other.query("SELECT 2 AS n", job_id=name).result()
    assert [tuple(row.values()) for row in client.get_job(name).result()] == [(1,)]


def test_rows_that_are_alike_are_told_apart_and_clients_wait_for_each_other(
    client: bigquery.Client, dataset: Any
) -> None:
    client.query(f"CREATE TABLE {dataset.dataset_id}.many (id INT64)").result()
    place = f"{dataset.project}.{dataset.dataset_id}.many"
    errors = client.insert_rows_json(place, [{"id": "x"}, {"id": "x"}, {"id": 1}], row_ids=[None] * 3)
    assert [(one["index"], one["errors"][0]["reason"]) for one in errors] == [
        (0, "invalid"), (1, "invalid"), (2, "stopped"),
    ]  # fmt: skip

    def insert(number: int) -> Any:
        return client.insert_rows_json(place, [{"id": number}])

    with ThreadPoolExecutor(8) as threads:
        assert all(answer == [] for answer in threads.map(insert, range(40)))
    assert answered(client, f"SELECT COUNT(DISTINCT id) FROM {dataset.dataset_id}.many") == [(40,)]


def test_numbers_that_are_inserted_are_what_their_columns_hold(client: bigquery.Client, dataset: Any) -> None:
    place = f"{dataset.project}.{dataset.dataset_id}.numbers"
    client.query(f"CREATE TABLE `{place}` (n INT64, x FLOAT64, j JSON, t STRING)").result()
    given: list[dict[str, Any]] = [
        {"n": 1, "x": 1, "j": '{"a": [1]}', "t": 5}, {"N": "2", "x": "NaN", "t": True}, {"n": 2**53 + 1, "X": 2.5},
    ]  # fmt: skip
    assert client.insert_rows_json(place, given) == []
    assert client.insert_rows_json(place, [{"n": 7, "x": 2**53 + 1}, {"n": 8, "x": -1e300}]) == []
    [wrong] = client.insert_rows_json(place, [{"n": 2**64}])
    assert wrong["errors"][0]["reason"] == "invalid"
    found = answered(client, f"SELECT n, CAST(x AS STRING), j.a[0], t FROM `{place}` ORDER BY n")
    assert [row[0] for row in found] == [1, 2, 7, 8, 2**53 + 1]
    assert [row[1] for row in found] == ["1", "nan", "9007199254740992", "-1e+300", "2.5"]
    assert found[0][2:] == (1, "5") and found[1][3] == "true"


def test_routines_are_resources(client: bigquery.Client, dataset: Any) -> None:
    made = bigquery.Routine(
        f"{dataset.project}.{dataset.dataset_id}.twice",
        type_="SCALAR_FUNCTION",
        language="SQL",
        body="x * 2",
        arguments=[
            bigquery.RoutineArgument(
                name="x",
                data_type=bigquery.StandardSqlDataType(type_kind=bigquery.StandardSqlTypeNames.INT64),
            )
        ],
    )
    client.create_routine(made)
    assert answered(client, f"SELECT {dataset.dataset_id}.twice(21)") == [(42,)]
    client.query(f"CREATE FUNCTION {dataset.dataset_id}.half(x FLOAT64) AS (x / 2)").result()
    assert sorted(one.routine_id for one in client.list_routines(dataset)) == ["half", "twice"]
    assert client.get_routine(f"{dataset.dataset_id}.half").body == "x / 2"
    client.delete_routine(f"{dataset.dataset_id}.twice")
    with pytest.raises(exceptions.GoogleAPICallError, match="Function not found"):
        client.query(f"SELECT {dataset.dataset_id}.twice(21)").result()


def test_aggregate_functions_in_javascript_are_resources(client: bigquery.Client, dataset: Any) -> None:
    number = bigquery.StandardSqlDataType(type_kind=bigquery.StandardSqlTypeNames.FLOAT64)
    made = bigquery.Routine(
        f"{dataset.project}.{dataset.dataset_id}.positive",
        type_="AGGREGATE_FUNCTION",
        language="JAVASCRIPT",
        body="""export function initialState() { return {sum: 0}; }
            export function aggregate(state, x) { if (x > 0) state.sum += x; }
            export function merge(state, part) { state.sum += part.sum; }
            export function finalize(state) { return state.sum; }""",
        arguments=[bigquery.RoutineArgument(name="x", data_type=number)],
        return_type=number,
    )
    client.create_routine(made)
    numbers = "UNNEST([1.0, -1.0, 3.0]) AS x"
    assert answered(client, f"SELECT {dataset.dataset_id}.positive(x) FROM {numbers}") == [(4.0,)]
    kept = client.get_routine(f"{dataset.dataset_id}.positive")
    assert (kept.type_, kept.language) == ("AGGREGATE_FUNCTION", "JAVASCRIPT")


@pytest.fixture
def own(new_portico: Any) -> Any:
    started = new_portico().start()
    yield started
    started.stop()


def test_what_was_acknowledged_survives_a_kill(own: Any) -> None:
    first = connected(own)
    first.create_dataset("kept")
    first.query("CREATE TABLE kept.t (id INT64)").result()
    for number in range(5):
        assert first.insert_rows_json("kept.t", [{"id": number}]) == []
    job = first.query("SELECT COUNT(*) AS n FROM kept.t")
    job.result()
    own.kill()
    own.start()
    again = connected(own)
    assert answered(again, "SELECT COUNT(*), MAX(id) FROM kept.t") == [(5, 4)]
    assert [tuple(row.values()) for row in again.get_job(job.job_id).result()] == [(5,)]


def test_a_backup_holds_the_warehouse(own: Any, tmp_path: Path) -> None:
    client = connected(own)
    client.create_dataset("kept")
    client.query("CREATE TABLE kept.t AS SELECT 7 AS n").result()
    command = [sys.executable, "-m", "portico.cli.main"]
    subprocess.run(
        [*command, "backup", str(tmp_path / "b"), "--home", str(own.home)], check=True, capture_output=True
    )
    client.query("DELETE FROM kept.t WHERE TRUE").result()
    own.stop()
    subprocess.run(
        [*command, "restore", str(tmp_path / "b"), "--home", str(tmp_path / "h")],
        check=True,
        capture_output=True,
    )
    own.home = tmp_path / "h"
    own.start()
    assert answered(connected(own), "SELECT n FROM kept.t") == [(7,)]


def test_scripts_and_routines_run_by_the_client(client: bigquery.Client, dataset: Any) -> None:
    job = client.query(
        "DECLARE x INT64 DEFAULT 2; WHILE x < 5 DO SET x = x + 1; END WHILE; SELECT x, 'a' AS y"
    )
    assert [tuple(row.values()) for row in job.result()] == [(5, "a")]
    assert job.statement_type == "SCRIPT"
    made = client.query("CREATE FUNCTION sales_data.inc(x INT64) AS (x + 1)")
    made.result()
    assert made.statement_type == "CREATE_FUNCTION"
    assert answered(client, "SELECT sales_data.inc(1), `test-project.sales_data.inc`(2)") == [(2, 3)]
    js = "CREATE TEMP FUNCTION up(s STRING) RETURNS STRING LANGUAGE js AS 'return s.toUpperCase();'; "
    assert answered(client, js + "SELECT up('a')") == [("A",)]
    assert list(client.query("SELECT 1; DROP FUNCTION sales_data.inc").result()) == []
    with pytest.raises(exceptions.BadRequest, match=r"division by zero: 1 / 0 at \[1:11\]"):
        client.query("SELECT 1; SELECT 1 / 0").result()
