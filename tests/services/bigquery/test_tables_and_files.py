"""Exports, external tables, row access policies and the list of jobs, by BigQuery's official client."""

from __future__ import annotations

import io
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery import StandardSqlTypeNames
from pyarrow import orc
from tests.services.bigquery.test_bigquery import answered, connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    return connected(portico)


@pytest.fixture
def dataset(client: bigquery.Client) -> Any:
    made = client.create_dataset("lying_about", exists_ok=True)
    yield made
    client.delete_dataset(made, delete_contents=True, not_found_ok=True)


def test_rows_are_exported_and_read_where_they_lie(
    client: bigquery.Client, dataset: Any, bucket: Any
) -> None:
    place = f"gs://{bucket.name}/out"
    job = client.query(
        f"EXPORT DATA OPTIONS (uri = '{place}/*.csv', format = CSV, header = TRUE) AS "
        "SELECT 1 AS id, 'a' AS s UNION ALL SELECT 2, 'b' ORDER BY id"
    )
    job.result()
    assert job.statement_type == "EXPORT_DATA"
    assert bucket.blob("out/000000000000.csv").download_as_text() == "id,s\n1,a\n2,b\n"
    config = bigquery.ExternalConfig("CSV")
    config.source_uris, config.autodetect = [f"{place}/*.csv"], True
    assert answered(
        client, "SELECT id, s FROM outer_t ORDER BY id",
        job_config=bigquery.QueryJobConfig(table_definitions={"outer_t": config}),
    ) == [(1, "a"), (2, "b")]  # fmt: skip
    table = bigquery.Table(f"{dataset.project}.{dataset.dataset_id}.lying")
    table.external_data_configuration = config
    made = client.create_table(table)
    assert made.table_type == "EXTERNAL" and [one.name for one in made.schema] == ["id", "s"]
    assert answered(client, f"SELECT SUM(id) FROM {dataset.dataset_id}.lying") == [(3,)]
    config.source_uris = [f"gs://{bucket.name}/none/*"]
    other = bigquery.Table(f"{dataset.project}.{dataset.dataset_id}.other")
    other.external_data_configuration = config
    with pytest.raises(exceptions.NotFound):
        client.create_table(other)
    [(count,)] = answered(
        client, f"SELECT COUNT(*) FROM `region-us`.INFORMATION_SCHEMA.JOBS WHERE job_id = '{job.job_id}' "
        "AND statement_type = 'EXPORT_DATA'",
    )  # fmt: skip
    assert count == 1


def test_row_access_policies_are_kept_and_hold(client: bigquery.Client, dataset: Any) -> None:
    name = f"{dataset.dataset_id}.t"
    client.query(f"CREATE TABLE {name} AS SELECT 1 AS id UNION ALL SELECT 2").result()
    path = f"/projects/{dataset.project}/datasets/{dataset.dataset_id}/tables/t/rowAccessPolicies"

    def ask(method: str, path: str, data: Any = None) -> Any:
        return client._connection.api_request(method=method, path=path, data=data)

    body = {
        "rowAccessPolicyReference": {
            "projectId": dataset.project, "datasetId": dataset.dataset_id, "tableId": "t", "policyId": "one",
        },
        "filterPredicate": "id = 1", "grantees": ["user:other@example.com"],
    }  # fmt: skip
    made = ask("POST", path, body)
    assert made["filterPredicate"] == "id = 1" and made["etag"]
    assert answered(client, f"SELECT id FROM {name}") == []
    with pytest.raises(exceptions.Conflict):
        ask("POST", path, body)
    ask("PUT", f"{path}/one", body | {"grantees": ["allAuthenticatedUsers"]})
    assert answered(client, f"SELECT id FROM {name}") == [(1,)]
    assert ask("GET", f"{path}/one")["grantees"] == ["allAuthenticatedUsers"]
    assert [one["rowAccessPolicyReference"]["policyId"] for one in ask("GET", path)["rowAccessPolicies"]] == [
        "one"
    ]
    ask("POST", f"{path}:batchDelete", {"policyIds": ["one"]})
    with pytest.raises(exceptions.NotFound):
        ask("DELETE", f"{path}/one")
    assert answered(client, f"SELECT COUNT(*) FROM {name}") == [(2,)]


def test_settings_that_do_not_exist_are_refused(client: bigquery.Client, dataset: Any) -> None:
    place = f"{dataset.dataset_id}.settings"
    client.query(f"CREATE TABLE {place} AS SELECT 1 AS id").result()
    path = f"/projects/{dataset.project}/datasets/{dataset.dataset_id}/tables"

    def ask(method: str, path: str, data: Any = None, **query: str) -> Any:
        return client._connection.api_request(method=method, path=path, data=data, query_params=query)

    assert len(ask("GET", f"{path}/settings/data", selectedFields="ID,,id")["rows"]) == 1
    with pytest.raises(exceptions.BadRequest, match="no column of the table: nope"):
        ask("GET", f"{path}/settings/data", selectedFields="nope")
    with pytest.raises(exceptions.GoogleAPICallError, match="templateSuffix is not built"):
        ask("POST", f"{path}/settings/insertAll", {"rows": [{"json": {"id": 2}}], "templateSuffix": "_x"})
    reference = {"projectId": dataset.project, "datasetId": dataset.dataset_id}
    ask("POST", path, {"tableReference": reference | {"tableId": "bare"}})
    assert not ask("GET", f"{path}/bare/data").get("rows")
    fields = [{"name": "a", "type": "STRING", "mode": "SOMETIMES"}]
    with pytest.raises(exceptions.BadRequest, match="Invalid value for mode: SOMETIMES"):
        ask("POST", path, {"tableReference": reference | {"tableId": "odd"}, "schema": {"fields": fields}})
    for setting in ({"write_disposition": "WRITE_NEVER"}, {"create_disposition": "CREATE_SOON"}):
        job_config = bigquery.QueryJobConfig(destination=f"{dataset.project}.{place}", **setting)
        with pytest.raises(exceptions.BadRequest, match="is not a valid value; it is"):
            client.query("SELECT 2 AS id", job_config=job_config).result()
    odd = {
        "priority": "URGENT",
        "parameterMode": "SIDEWAYS",
        "schemaUpdateOptions": ["ALLOW_FIELD_ADDITION", "X"],
    }
    for key, value in odd.items():
        query = {"query": "SELECT 1", "useLegacySql": False, key: value}
        with pytest.raises(exceptions.BadRequest, match=f"Invalid value for {key}"):
            ask("POST", f"/projects/{dataset.project}/jobs", {"configuration": {"query": query}})
    times = {
        "defaultTableExpirationMs": "1",
        "defaultPartitionExpirationMs": "-5",
        "maxTimeTravelHours": "9999",
    }
    for key, value in times.items():
        with pytest.raises(exceptions.BadRequest, match=f"Invalid value for {key}"):
            ask("PATCH", f"/projects/{dataset.project}/datasets/{dataset.dataset_id}", {key: value})
    assert answered(client, f"SELECT id FROM {place}") == [(1,)]


def test_row_access_policies_hold_on_every_way_out(
    client: bigquery.Client, dataset: Any, bucket: Any
) -> None:
    place = f"{dataset.dataset_id}.guarded"
    client.query(
        f"CREATE TABLE {place} AS SELECT x, MOD(x, 2) = 0 AS even FROM UNNEST([1, 2, 3, 4]) AS x; "
        f"CREATE ROW ACCESS POLICY own ON {place} GRANT TO ('allUsers') FILTER USING (even)"
    ).result()
    table = client.get_table(place)
    assert sorted(row["x"] for row in client.list_rows(table)) == [2, 4]
    client.extract_table(table, f"gs://{bucket.name}/out.csv").result()
    assert bucket.blob("out.csv").download_as_text().splitlines()[1:] == ["2,true", "4,true"]
    with pytest.raises(exceptions.Forbidden, match="row access policy"):
        client.copy_table(table, f"{place}_copy").result()
    with pytest.raises(exceptions.Forbidden, match="row access policy"):
        client.query(f"CREATE TABLE {place}_clone CLONE {place}").result()


def test_what_is_longer_than_its_column_allows_is_refused(client: bigquery.Client, dataset: Any) -> None:
    name = f"{dataset.project}.{dataset.dataset_id}.short"
    schema = [
        bigquery.SchemaField("word", "STRING", max_length=3),
        bigquery.SchemaField("n", "NUMERIC", precision=3, scale=1),
    ]
    client.create_table(bigquery.Table(name, schema=schema))
    said = client.insert_rows_json(
        name, [{"word": "abc", "n": "1.26"}, {"word": "abcd"}, {"n": "100"}], skip_invalid_rows=True
    )
    assert [one["index"] for one in said] == [1, 2] and "maximum length 3" in said[0]["errors"][0]["message"]
    config = bigquery.LoadJobConfig(schema=schema, write_disposition="WRITE_APPEND", max_bad_records=1)
    job = client.load_table_from_file(io.BytesIO(b"xyz,2\nlonger,3\n"), name, job_config=config)
    assert job.result().output_rows == 1
    config.max_bad_records = 0
    with pytest.raises(exceptions.BadRequest, match="maximum length 3"):
        client.load_table_from_file(io.BytesIO(b"longer,3\n"), name, job_config=config).result()
    rows = answered(client, f"SELECT word, CAST(n AS FLOAT64) FROM `{name}` ORDER BY word")
    assert rows == [("abc", 1.3), ("xyz", 2.0)]


def test_what_is_taken_from_a_table_is_gone_from_the_answer_too(
    client: bigquery.Client, dataset: Any
) -> None:
    tags = bigquery.PolicyTagList(names=["projects/p/locations/us/taxonomies/1/policyTags/2"])
    schema = [bigquery.SchemaField("id", "INTEGER"), bigquery.SchemaField("s", "STRING", policy_tags=tags)]
    table = bigquery.Table(f"{dataset.project}.{dataset.dataset_id}.settled", schema=schema)
    table.description, table.labels, table.clustering_fields = "words", {"a": "b", "c": "d"}, ["id"]
    made = client.create_table(table)
    made.description, made.labels, made.clustering_fields = None, {"a": None, "e": "f"}, None
    made.schema = [schema[0], bigquery.SchemaField("s", "STRING", policy_tags=bigquery.PolicyTagList())]
    changed = client.update_table(made, ["description", "labels", "clustering_fields", "schema"])
    assert (changed.description, changed.clustering_fields) == (None, None)
    assert changed.labels == {"c": "d", "e": "f"} and changed.schema[1].policy_tags is None
    assert changed.num_rows == 0 and client.get_table(made).to_api_repr() == changed.to_api_repr()


def test_a_table_without_columns_takes_those_of_its_first_rows(client: bigquery.Client, dataset: Any) -> None:
    name = f"{dataset.project}.{dataset.dataset_id}.bare"
    table = bigquery.Table(name)
    table.description = "kept"
    client.create_table(table)
    client.query("SELECT 1 AS id, 'a' AS s", job_config=bigquery.QueryJobConfig(destination=name)).result()
    found = client.get_table(name)
    assert ([one.name for one in found.schema], found.description, found.num_rows) == (["id", "s"], "kept", 1)
    # Whoever loads over a table without a word on its columns means those that it has.
    config = bigquery.LoadJobConfig(skip_leading_rows=1, write_disposition="WRITE_TRUNCATE")
    client.load_table_from_file(io.BytesIO(b"id,s\n2,b\n3,c\n"), name, job_config=config).result()
    assert answered(client, f"SELECT id, s FROM `{name}` ORDER BY id") == [(2, "b"), (3, "c")]
    config = bigquery.LoadJobConfig(source_format="CSV")
    with pytest.raises(exceptions.BadRequest, match="No schema specified on job or table"):
        client.load_table_from_file(io.BytesIO(b"1\n"), f"{name}_not", job_config=config).result()


def test_the_columns_of_files_are_those_of_one_of_them(
    client: bigquery.Client, dataset: Any, bucket: Any
) -> None:
    uris = []
    for letter, names in (("a", ["x", "y", "z"]), ("b", ["x", "y"]), ("c", ["x"])):
        sink = io.BytesIO()
        pq.write_table(pa.table({name: [1] for name in names}), sink)
        bucket.blob(f"columns/day={letter}/{letter}.parquet").upload_from_string(sink.getvalue())
        uris.append(f"gs://{bucket.name}/columns/day={letter}/{letter}.parquet")
    name = f"{dataset.project}.{dataset.dataset_id}.columns"
    config = bigquery.LoadJobConfig(source_format="PARQUET")
    client.load_table_from_uri(uris, name, job_config=config).result()
    assert [one.name for one in client.get_table(name).schema] == ["x"]  # of the last by name
    config.reference_file_schema_uri, config.write_disposition = uris[1], "WRITE_TRUNCATE"
    client.load_table_from_uri(f"gs://{bucket.name}/columns/*", name, job_config=config).result()
    assert [one.name for one in client.get_table(name).schema] == ["x", "y"]
    assert answered(client, f"SELECT COUNT(x), COUNT(y) FROM `{name}`") == [(3, 2)]
    lying = bigquery.ExternalConfig("PARQUET")
    lying.source_uris, lying.reference_file_schema_uri = [f"gs://{bucket.name}/columns/*"], uris[0]
    lying.schema = [bigquery.SchemaField("x", "INTEGER")]
    table = bigquery.Table(f"{name}_lying")
    table.external_data_configuration = lying
    made = client.create_table(table)
    assert [one.name for one in made.schema] == ["x"]
    lying.schema = None
    made.external_data_configuration = lying
    shown = client.update_table(made, ["external_data_configuration"], autodetect_schema=True)
    assert [one.name for one in shown.schema] == ["x", "y", "z"]
    assert answered(client, f"SELECT COUNT(z) FROM `{name}_lying`") == [(1,)]


def test_decimals_of_a_file_get_the_type_that_is_asked_for(client: bigquery.Client, dataset: Any) -> None:
    name = f"{dataset.project}.{dataset.dataset_id}.decimals"
    cells = pa.array([Decimal("99.999999999999"), None], pa.decimal128(38, 12))
    sink = io.BytesIO()
    pq.write_table(pa.table({"d": cells, "n": cells.cast(pa.decimal128(38, 12))}), sink)

    def load(*targets: str) -> bigquery.SchemaField:
        config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_TRUNCATE")
        config.decimal_target_types = targets
        client.load_table_from_file(io.BytesIO(sink.getvalue()), name, job_config=config).result()
        return client.get_table(name).schema[0]

    assert load("NUMERIC", "BIGNUMERIC", "STRING").field_type == "BIGNUMERIC"
    assert load("NUMERIC", "STRING").field_type == "STRING"
    assert answered(client, f"SELECT d FROM `{name}` WHERE d IS NOT NULL") == [("99.999999999999",)]
    with pytest.raises(exceptions.BadRequest, match="out of valid NUMERIC range"):
        load("NUMERIC")
    with pytest.raises(exceptions.BadRequest, match="decimalTargetTypes"):
        load("NUMERIC", "NUMERIC")


@pytest.mark.parametrize("form", ["PARQUET", "ORC", "AVRO"])
def test_decimals_of_a_file_are_numeric_unless_it_is_orc(
    client: bigquery.Client, dataset: Any, bucket: Any, form: str
) -> None:
    """The document of decimalTargetTypes: ["NUMERIC", "STRING"] for ORC and ["NUMERIC"] for the other formats."""
    uris = {}
    for number in ("0.5", "0.123456789012"):
        uris[number] = f"gs://{bucket.name}/decimals_{number}.{form.lower()}"
        bucket.blob(f"decimals_{number}.{form.lower()}").upload_from_string(_decimals(form, Decimal(number)))
    name = f"{dataset.project}.{dataset.dataset_id}.decimals_{form}"
    config = bigquery.LoadJobConfig(source_format=form)
    client.load_table_from_uri(uris["0.5"], name, job_config=config).result()
    shown = client.get_table(name).schema[0].fields[0].field_type
    assert shown == ("STRING" if form == "ORC" else "NUMERIC")
    lying = (
        f"CREATE OR REPLACE EXTERNAL TABLE `{name}_lying` OPTIONS (format = '{form}', uris = ['{{}}']{{}})"
    )
    if form == "PARQUET":
        client.query(lying.format(uris["0.123456789012"], ", decimal_target_types = ['STRING']")).result()
        assert answered(client, f"SELECT s.d FROM `{name}_lying`") == [("0.123456789012",)]
    client.query(lying.format(uris["0.123456789012"], "")).result()
    loading = client.load_table_from_uri(uris["0.123456789012"], name, job_config=config)
    if form == "ORC":
        loading.result()
        assert answered(client, f"SELECT s.d FROM `{name}_lying`") == [("0.123456789012",)]
        return
    for ask in (loading.result, lambda: answered(client, f"SELECT s.d FROM `{name}_lying`")):
        with pytest.raises(exceptions.BadRequest, match=r"column s(\.d)? is out of valid NUMERIC range"):
            ask()


def _decimals(form: str, number: Decimal) -> bytes:
    """A file whose one row has a record `s` with the decimal `d`, of 38 digits and 12 behind the point."""
    sink = io.BytesIO()
    if form == "AVRO":
        kind = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 12}
        inner = {"type": "record", "name": "inner", "fields": [{"name": "d", "type": kind}]}
        schema = {"type": "record", "name": "row", "fields": [{"name": "s", "type": inner}]}
        fastavro.writer(sink, schema, [{"s": {"d": number}}])
    else:
        cells = pa.array([{"d": number}], pa.struct([("d", pa.decimal128(38, 12))]))
        (pq.write_table if form == "PARQUET" else orc.write_table)(pa.table({"s": cells}), sink)
    return sink.getvalue()


def test_a_load_updates_the_schema_only_as_it_is_told(client: bigquery.Client, dataset: Any) -> None:
    """https://cloud.google.com/bigquery/docs/managing-table-schemas, of load jobs and of queries' destinations."""
    name = f"{dataset.project}.{dataset.dataset_id}.updated"
    required, also = (bigquery.SchemaField(one, "INTEGER", "REQUIRED") for one in ("id", "n"))
    addition, relaxation = "ALLOW_FIELD_ADDITION", "ALLOW_FIELD_RELAXATION"

    def table() -> None:
        client.delete_table(name, not_found_ok=True)
        client.create_table(bigquery.Table(name, [required, also]))
        client.load_table_from_json(
            [{"id": 1, "n": 1}], name, job_config=bigquery.LoadJobConfig(schema=[required, also])
        ).result()

    def load(row: dict[str, Any], *updates: str, **said: Any) -> dict[str, str]:
        config = bigquery.LoadJobConfig(schema_update_options=list(updates), **said)
        client.load_table_from_json([row], name, job_config=config).result()
        return {one.name: one.mode for one in client.get_table(name).schema}

    new = bigquery.SchemaField("x", "STRING")
    nullable = bigquery.SchemaField("id", "INTEGER")
    mended = r"Provided Schema does not match Table test-project:lying_about.updated. "
    table()
    for row, said, options in (
        ({"id": 2}, "Field n is missing in new schema", {"schema": [required]}),
        (
            {"id": 2, "n": 2},
            "Field id has changed mode from REQUIRED to NULLABLE",
            {"schema": [nullable, also]},
        ),
        ({"id": 2, "n": 2, "x": "a"}, r"Cannot add fields \(field: x\)", {"schema": [required, also, new]}),
    ):
        with pytest.raises(exceptions.BadRequest, match=mended + said):
            load(row, **options)
    with pytest.raises(exceptions.BadRequest, match=mended + r"Cannot add fields \(field: x\)"):
        load({"id": 2, "n": 2, "x": "a"}, relaxation, autodetect=True)
    assert load({"id": 2, "n": 2, "x": "a"}, addition, autodetect=True) == {
        "id": "REQUIRED", "n": "REQUIRED", "x": "NULLABLE",
    }  # fmt: skip
    assert load({"id": 3}, relaxation, schema=[required]) == {
        "id": "REQUIRED", "n": "NULLABLE", "x": "NULLABLE",
    }  # fmt: skip
    assert load({"n": 4}, relaxation, autodetect=True)["id"] == "NULLABLE"
    assert answered(client, f"SELECT * FROM `{name}` ORDER BY COALESCE(id, n)") == [
        (1, 1, None), (2, 2, "a"), (3, None, None), (None, 4, None),
    ]  # fmt: skip
    table()
    config = bigquery.QueryJobConfig(destination=name, write_disposition="WRITE_APPEND")
    with pytest.raises(exceptions.BadRequest, match=mended + "Field n is missing in new schema"):
        client.query("SELECT 2 AS id", job_config=config).result()
    config.schema_update_options = [relaxation, addition]
    client.query("SELECT 2 AS id, 'b' AS x", job_config=config).result()
    assert [one.mode for one in client.get_table(name).schema][1:] == ["NULLABLE", "NULLABLE"]
    table()
    kept = {"id": "REQUIRED", "n": "NULLABLE"}
    assert load({"id": 9}, relaxation, schema=[required], write_disposition="WRITE_TRUNCATE_DATA") == kept
    assert answered(client, f"SELECT * FROM `{name}`") == [(9, None)]


def test_cells_of_files_are_read_as_google_reads_them(client: bigquery.Client, dataset: Any) -> None:
    name = f"{dataset.project}.{dataset.dataset_id}.cells"
    schema = [bigquery.SchemaField("b", "BYTES"), bigquery.SchemaField("i", "INTERVAL")]
    config = bigquery.LoadJobConfig(schema=schema)
    rows = [{"b": "DQo=\n", "i": "P7Y11M9DT4H15M37.123456S"}, {"b": "AA==", "i": "1-2 3 4:5:6"}]
    client.load_table_from_json(rows, name, job_config=config).result()
    assert answered(client, f"SELECT b, CAST(i AS STRING) FROM `{name}` ORDER BY b DESC") == [
        (b"\r\n", "7-11 9 4:15:37.123456"), (b"\0", "1-2 3 4:5:6"),
    ]  # fmt: skip
    # An empty line is a row where there is but one column.
    config = bigquery.LoadJobConfig(schema=[bigquery.SchemaField("r", "RANGE", range_element_type="DATE")])
    data = io.BytesIO(b'"[2020-01-01, 2020-02-01)"\n\n')
    client.load_table_from_file(data, f"{name}_r", job_config=config).result()
    shown = client.list_rows(f"{name}_r").to_arrow(create_bqstorage_client=False)
    assert shown.schema.field("r").type == pa.struct([("start", pa.date32()), ("end", pa.date32())])
    assert shown.column("r").to_pylist() == [{"start": date(2020, 1, 1), "end": date(2020, 2, 1)}, None]
    assert client.insert_rows_json(name, [{"b": "AQ=="}], row_ids=[1]) == []


def test_a_partitioned_table_has_a_table_of_its_partitions(client: bigquery.Client, dataset: Any) -> None:
    name = f"{dataset.project}.{dataset.dataset_id}.parts"
    client.query(
        f"CREATE TABLE `{name}` PARTITION BY day AS SELECT DATE '2024-01-01' AS day, 1 AS x UNION ALL "
        "SELECT DATE '2024-01-03', 2 UNION ALL SELECT DATE '2024-01-03', 3 UNION ALL SELECT NULL, 4"
    ).result()
    assert sorted(client.list_partitions(name)) == ["20240101", "20240103", "__NULL__"]
    shown = client.get_table(f"{name}$__PARTITIONS_SUMMARY__")
    [row] = [one for one in client.list_rows(shown) if one["partition_id"] == "20240103"]
    assert (row["dataset_id"], row["table_id"]) == (dataset.dataset_id, "parts")
    assert abs(row["last_modified_time"] / 1000 - client.get_table(name).modified.timestamp()) < 60
    client.query(f"CREATE TABLE `{name}_whole` AS SELECT 1 AS x").result()
    with pytest.raises(exceptions.BadRequest, match="a table that is not partitioned"):
        client.list_partitions(f"{name}_whole")


def test_a_materialized_view_is_made_and_changed_as_a_resource(client: bigquery.Client, dataset: Any) -> None:
    base = f"{dataset.project}.{dataset.dataset_id}"
    client.query(f"CREATE TABLE `{base}.sales` AS SELECT 'a' AS sku, 2 AS n").result()
    view = bigquery.Table(f"{base}.totals")
    view.mview_query = f"SELECT sku, SUM(n) AS n FROM `{base}.sales` GROUP BY sku"
    view.mview_enable_refresh = True
    made = client.create_table(view)
    assert made.table_type == "MATERIALIZED_VIEW" and [one.name for one in made.schema] == ["sku", "n"]
    client.query(f"INSERT INTO `{base}.sales` VALUES ('a', 3)").result()
    assert answered(client, f"SELECT n FROM `{base}.totals`") == [(5,)]
    made.mview_refresh_interval = timedelta(hours=2)
    assert client.update_table(made, ["mview_refresh_interval"]).mview_refresh_interval == timedelta(hours=2)
    made = client.get_table(made)
    made.mview_query = "SELECT 1 AS n"
    with pytest.raises(exceptions.BadRequest, match="query of a materialized view can't be changed"):
        client.update_table(made, ["mview_query"])
    with pytest.raises(exceptions.BadRequest, match="Syntax error"):
        view = bigquery.Table(f"{base}.wrong")
        view.mview_query = "no query"
        client.create_table(view)


def test_routines_import_libraries_and_take_ranges(
    client: bigquery.Client, dataset: Any, bucket: Any
) -> None:
    base = f"{dataset.project}.{dataset.dataset_id}"
    library = f"gs://{bucket.name}/most.js"
    bucket.blob("most.js").upload_from_string("function most(many) { return Math.max(...many); }")
    number = bigquery.StandardSqlDataType(type_kind=StandardSqlTypeNames.FLOAT64)
    many = bigquery.StandardSqlDataType(type_kind=StandardSqlTypeNames.ARRAY, array_element_type=number)
    routine = bigquery.Routine(
        f"{base}.most", language="JAVASCRIPT", type_="SCALAR_FUNCTION", return_type=number,
        imported_libraries=[library], arguments=[bigquery.RoutineArgument(name="many", data_type=many)],
        body="return most(many)", data_governance_type="DATA_MASKING",
    )  # fmt: skip
    made = client.create_routine(routine)
    assert (made.imported_libraries, made.data_governance_type) == ([library], "DATA_MASKING")
    bucket.blob("most.js").delete()
    assert answered(client, f"SELECT `{base}`.most([1.5, 2.5])") == [(2.5,)]
    with pytest.raises(exceptions.NotFound):
        client.create_routine(routine, exists_ok=False) if client.delete_routine(made) is None else None
    bucket.blob("half.js").upload_from_string("const half = x => x / 2;")
    text = f"CREATE TEMP FUNCTION f(x FLOAT64) RETURNS FLOAT64 LANGUAGE js OPTIONS (library=['gs://{bucket.name}/half.js'])"
    assert answered(client, f"{text} AS 'return half(x)'; SELECT f(3)") == [(1.5,)]
    day = bigquery.StandardSqlDataType(type_kind=StandardSqlTypeNames.DATE)
    stay = bigquery.StandardSqlDataType(type_kind=StandardSqlTypeNames.RANGE, range_element_type=day)
    routine = bigquery.Routine(
        f"{base}.begins", type_="SCALAR_FUNCTION", body="RANGE_START(x)", return_type=day,
        arguments=[bigquery.RoutineArgument(name="x", data_type=stay)],
    )  # fmt: skip
    client.create_routine(routine)
    assert answered(client, f"SELECT `{base}`.begins(RANGE<DATE> '[2020-01-01, UNBOUNDED)')") == [
        (date(2020, 1, 1),)
    ]
    client.query(f"CREATE FUNCTION `{base}`.ends(x RANGE<DATE>) AS (RANGE_END(x))").result()
    assert client.get_routine(f"{base}.ends").arguments[0].data_type == stay


def test_what_is_no_statement_is_a_syntax_error(client: bigquery.Client) -> None:
    for text in ("invalid syntax", "1 + 2", "foo;"):
        with pytest.raises(exceptions.BadRequest, match="Syntax error"):
            client.query(text).result()


def test_durations_of_parquet_are_numbers_and_json_has_one_form(
    client: bigquery.Client, dataset: Any
) -> None:
    name, file = f"{dataset.project}.{dataset.dataset_id}.spans", io.BytesIO()
    pq.write_table(pa.table({"span": pa.array([timedelta(seconds=2), None], pa.duration("us"))}), file)
    for schema in ([], [bigquery.SchemaField("span", "INT64")]):
        config = bigquery.LoadJobConfig(
            source_format="PARQUET", schema=schema, write_disposition="WRITE_TRUNCATE"
        )
        client.load_table_from_file(file, name, rewind=True, job_config=config).result()
        assert answered(client, f"SELECT span FROM {name} ORDER BY span DESC") == [(2_000_000,), (None,)]
    told = client.create_table(bigquery.Table(f"{name}_told", [bigquery.SchemaField("j", "JSON")]))
    assert client.insert_rows_json(told, [{"j": '{"b": [1, "x"], "a": {"c": null}}'}]) == []
    assert answered(client, f"SELECT TO_JSON_STRING(j) FROM {name}_told") == [
        ('{"a":{"c":null},"b":[1,"x"]}',)
    ]
    assert client.insert_rows_json(told, [{"j": "{broken"}])[0]["errors"][0]["reason"] == "invalid"


def test_a_load_says_what_a_new_table_is_described_as(client: bigquery.Client, dataset: Any) -> None:
    name = f"{dataset.project}.{dataset.dataset_id}.described"
    config = bigquery.LoadJobConfig(schema=[bigquery.SchemaField("a", "INT64")])
    config.destination_table_description, config.destination_table_friendly_name = "of one column", "one"
    for _ in range(2):
        client.load_table_from_json([{"a": 1}], name, job_config=config).result()
        made = client.get_table(name)
        assert (made.description, made.friendly_name) == ("of one column", "one")
    assert made.num_rows == 2
    config.destination_table_description = "of another"
    with pytest.raises(exceptions.BadRequest, match="has other properties"):
        client.load_table_from_json([{"a": 1}], name, job_config=config).result()


def test_a_vector_index_is_of_a_column_that_the_client_calls_float64(
    client: bigquery.Client, dataset: Any
) -> None:
    name = f"{dataset.project}.{dataset.dataset_id}.vectors"
    client.create_table(bigquery.Table(name, [bigquery.SchemaField("v", "FLOAT64", mode="REPEATED")]))
    answered(client, f"CREATE VECTOR INDEX near ON {name}(v) OPTIONS (index_type = 'IVF')")
    view = f"{dataset.dataset_id}.INFORMATION_SCHEMA.VECTOR_INDEX_COLUMNS"
    assert answered(client, f"SELECT index_name, index_column_name FROM {view}") == [("near", "v")]
