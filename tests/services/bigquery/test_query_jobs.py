"""What a query job says of itself and how it may run: cached results, no job at all, limits, its plan, its labels."""

from __future__ import annotations

import io
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery.enums import JobCreationMode
from tests.services.bigquery.test_bigquery import answered, connected

_MEBI = 1 << 20


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    return connected(portico)


@pytest.fixture(scope="module")
def dataset(client: bigquery.Client) -> Any:
    made = client.create_dataset("query_jobs", exists_ok=True)
    yield made
    client.delete_dataset(made, delete_contents=True, not_found_ok=True)


def ran(client: bigquery.Client, text: str, **options: Any) -> bigquery.QueryJob:
    job = client.query(text, job_config=bigquery.QueryJobConfig(**options))
    job.result()
    return job


def hits(client: bigquery.Client, text: str, **options: Any) -> bool:
    return bool(ran(client, text, **options).cache_hit)


def test_a_query_over_unchanged_tables_is_answered_from_the_cache(
    client: bigquery.Client, dataset: Any
) -> None:
    ran(client, "CREATE TABLE query_jobs.cached AS SELECT 1 AS id UNION ALL SELECT 2")
    ran(client, "CREATE VIEW query_jobs.seen AS SELECT id * 10 AS tens FROM query_jobs.cached")
    text = "SELECT SUM(id) AS total FROM query_jobs.cached"
    view = "SELECT SUM(tens) AS total FROM query_jobs.seen"
    first = ran(client, text)
    assert not first.cache_hit and first.total_bytes_processed == 16
    again = ran(client, text)
    assert again.cache_hit and again.total_bytes_processed == 0 and again.total_bytes_billed == 0
    assert [row.total for row in again.result()] == [3] and again.schema == first.schema
    assert client.query_and_wait(text).total_rows == 1
    assert not hits(client, text, use_query_cache=False)
    assert not hits(client, view) and hits(client, view)
    ran(client, "INSERT INTO query_jobs.cached (id) VALUES (3)")
    changed = ran(client, text)
    assert not changed.cache_hit and [row.total for row in changed.result()] == [6]
    assert not hits(client, view) and hits(client, view)
    assert client.insert_rows_json(f"{dataset.project}.query_jobs.cached", [{"id": 4}]) == []
    assert answered(client, text) == [(10,)]
    ran(client, "CREATE OR REPLACE VIEW query_jobs.seen AS SELECT id AS tens FROM query_jobs.cached")
    assert answered(client, view) == [(10,)]
    client.load_table_from_file(io.BytesIO(b"5\n"), "query_jobs.cached").result()
    assert answered(client, text) == [(15,)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT CURRENT_TIMESTAMP() AS t FROM query_jobs.volatile",
        "SELECT id, RAND() AS r FROM query_jobs.volatile",
        "SELECT GENERATE_UUID() AS u",
        "SELECT SESSION_USER() AS u",
        "SELECT id FROM query_jobs.now_view",
        "SELECT id FROM `query_jobs.vol*`",
        "SELECT table_name FROM query_jobs.INFORMATION_SCHEMA.TABLES",
        "SELECT query_jobs.seven() AS s",
        "SELECT id FROM query_jobs.volatile TABLESAMPLE SYSTEM (100 PERCENT)",
    ],
)
def test_what_may_change_by_itself_is_not_cached(client: bigquery.Client, dataset: Any, text: str) -> None:
    ran(client, "CREATE TABLE IF NOT EXISTS query_jobs.volatile AS SELECT 1 AS id")
    ran(
        client,
        "CREATE VIEW IF NOT EXISTS query_jobs.now_view AS "
        "SELECT id FROM query_jobs.volatile WHERE CURRENT_DATE() > '2000-01-01'",
    )
    ran(client, "CREATE FUNCTION IF NOT EXISTS query_jobs.seven() AS (7)")
    assert not hits(client, text) and not hits(client, text)


def test_only_a_cached_result_may_be_asked_for(client: bigquery.Client, dataset: Any) -> None:
    text = "SELECT 'only the cache' AS said"
    with pytest.raises(exceptions.NotFound):
        ran(client, text, create_disposition="CREATE_NEVER")
    ran(client, text)
    assert hits(client, text, create_disposition="CREATE_NEVER")
    target = f"{dataset.project}.query_jobs.kept"
    assert not hits(client, text, destination=target, write_disposition="WRITE_TRUNCATE")


def test_a_short_query_needs_no_job(client: bigquery.Client, portico: Any) -> None:
    optional = connected(portico)
    optional.default_job_creation_mode = JobCreationMode.JOB_CREATION_OPTIONAL
    found = optional.query_and_wait("SELECT 7 AS n")
    assert found.job_id is None and found.query_id and [row.n for row in found] == [7]
    body = {"query": "SELECT 1 AS a", "useLegacySql": False, "jobCreationMode": "JOB_CREATION_OPTIONAL"}
    path = f"/projects/{client.project}/queries"
    told = client._connection.api_request(method="POST", path=path, data=body)
    assert "jobReference" not in told and "jobCreationReason" not in told and told["totalSlotMs"].isdigit()
    assert not any(job.job_id == told["queryId"] for job in client.list_jobs(max_results=5))
    paged = client._connection.api_request(
        method="POST",
        path=path,
        data={**body, "query": "SELECT x FROM UNNEST([1, 2, 3]) AS x", "maxResults": 2},
    )
    assert paged["jobCreationReason"] == {"code": "LARGE_RESULTS"} and paged["pageToken"]
    assert client.get_job(paged["jobReference"]["jobId"]).state == "DONE"
    told = client._connection.api_request(method="POST", path=path, data={**body, "jobCreationMode": None})
    assert told["jobReference"]["jobId"] and told["jobCreationReason"] == {"code": "REQUESTED"}
    with pytest.raises(exceptions.BadRequest, match="nothing_of_this_name"):
        optional.query_and_wait("SELECT nothing_of_this_name")
    changed = optional.query_and_wait("CREATE SCHEMA IF NOT EXISTS query_jobs")
    assert client.get_job(changed.job_id).statement_type == "CREATE_SCHEMA"


def test_a_query_that_would_bill_too_much_fails(client: bigquery.Client, dataset: Any) -> None:
    ran(
        client, "CREATE TABLE query_jobs.billed AS SELECT x, REPEAT('a', 10) AS s FROM UNNEST([1, 2, 3]) AS x"
    )
    # Google's client knows no exception of its own for the reason bytesBilledLimitExceeded.
    text = "SELECT MAX(s) AS s FROM query_jobs.billed"
    with pytest.raises(
        exceptions.InternalServerError, match=f"bytes billed: 1000. {10 * _MEBI} or higher required"
    ) as caught:
        ran(client, text, maximum_bytes_billed=1000)
    assert caught.value.errors[0]["reason"] == "bytesBilledLimitExceeded"
    with pytest.raises(exceptions.InternalServerError, match="bytes billed"):
        ran(client, f"DECLARE a INT64; {text}", maximum_bytes_billed=1000)
    with pytest.raises(exceptions.InternalServerError, match="bytes billed"):
        ran(client, "UPDATE query_jobs.billed SET s = 'b' WHERE x = 1", maximum_bytes_billed=1000)
    job = ran(client, text, maximum_bytes_billed=10 * _MEBI)
    assert job.total_bytes_processed == 3 * 12 and job.total_bytes_billed == 10 * _MEBI
    assert ran(client, "SELECT 1 AS one", maximum_bytes_billed=1).total_bytes_billed == 0
    assert ran(client, "SELECT * FROM query_jobs.billed", dry_run=True).total_bytes_processed == 3 * (12 + 8)
    assert ran(client, "SELECT COUNT(*) FROM query_jobs.billed", dry_run=True).total_bytes_processed == 0


def test_a_job_tells_how_it_was_done(client: bigquery.Client, dataset: Any) -> None:
    ran(
        client,
        "CREATE TABLE query_jobs.planned AS SELECT x AS id, MOD(x, 7) AS g FROM UNNEST(GENERATE_ARRAY(1, 50000)) AS x",
    )
    job = ran(
        client,
        "SELECT a.g, COUNT(*) AS n FROM query_jobs.planned AS a JOIN query_jobs.planned AS b ON a.id = b.id "
        "WHERE a.g > 1 GROUP BY 1 ORDER BY n DESC",
    )
    assert job.slot_millis is not None and job.slot_millis > 0
    changed = ran(client, "UPDATE query_jobs.planned SET g = 8 WHERE g = 7")
    for one in (job, changed):
        [row] = ran(
            client,
            f"SELECT total_slot_ms FROM `region-us`.INFORMATION_SCHEMA.JOBS WHERE job_id = '{one.job_id}'",
        )
        assert row.total_slot_ms == one.slot_millis > 0
    timed = ran(
        client,
        "SELECT SUM(period_slot_ms) AS ms FROM `region-us`.INFORMATION_SCHEMA.JOBS_TIMELINE "
        f"WHERE job_id = '{job.job_id}'",
    )
    assert [row.ms for row in timed] == [job.slot_millis]
    kinds = {step.kind for stage in job.query_plan for step in stage.steps}
    assert {"READ", "JOIN", "AGGREGATE", "SORT"} <= kinds
    stages = {stage.entry_id: stage for stage in job.query_plan}
    reading = [stage for stage in job.query_plan if stage.name.endswith(": Input")]
    assert len(reading) == 2 and all(
        stage.status == "COMPLETE" and not stage.input_stages for stage in reading
    )
    assert max(stage.records_read for stage in reading) == 50_000
    last = job.query_plan[-1]
    assert last.name.endswith(": Output") and last.records_written == 5
    assert all(str(one) in stages for stage in job.query_plan for one in stage.input_stages)
    assert job.ended and all(stage.end <= job.ended for stage in job.query_plan)
    [sample] = job.timeline
    assert sample.completed_units == len(job.query_plan) and sample.pending_units == 0
    assert "$" not in str(job._properties["statistics"]["query"]["queryPlan"])


def test_a_job_ends_at_its_timeout(client: bigquery.Client) -> None:
    job = client.query(
        "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 500000)) AS a, UNNEST(GENERATE_ARRAY(1, 500000)) AS b "
        "WHERE MOD(a * b, 7) = 1",
        job_config=bigquery.QueryJobConfig(job_timeout_ms=300),
    )
    with pytest.raises(exceptions.GoogleAPICallError, match="timed out"):
        job.result()
    job.reload()
    assert job.error_result and job.error_result["reason"] == "stopped"


def test_labels_are_kept_and_checked(client: bigquery.Client) -> None:
    job = ran(client, "SELECT 1 AS one", labels={"team": "wölfe", "empty": ""})
    assert client.get_job(job.job_id).labels == {"team": "wölfe", "empty": ""}
    [(count,)] = answered(
        client,
        "SELECT COUNT(*) FROM `region-us`.INFORMATION_SCHEMA.JOBS, UNNEST(labels) AS l "
        f"WHERE job_id = '{job.job_id}' AND l.key = 'team'",
    )
    assert count == 1
    for labels in ({"Team": "a"}, {"1a": "b"}, {"a": "b" * 64}, {"a": "B"}, {f"k{i}": "" for i in range(65)}):
        with pytest.raises(exceptions.BadRequest, match="abel"):
            ran(client, "SELECT 1", labels=labels)


def test_a_default_dataset_completes_names(client: bigquery.Client, dataset: Any) -> None:
    ran(client, "CREATE OR REPLACE TABLE query_jobs.named AS SELECT 5 AS five")
    config = {"default_dataset": f"{dataset.project}.query_jobs"}
    assert [row.five for row in ran(client, "SELECT five FROM named", **config).result()] == [5]
    with pytest.raises(exceptions.BadRequest, match="must be qualified with a dataset"):
        ran(client, "SELECT five FROM named")
    with pytest.raises(exceptions.NotFound, match="Dataset"):
        ran(client, "SELECT five FROM named", default_dataset=f"{dataset.project}.not_there_at_all")


def test_what_makes_a_table_tells_its_columns(client: bigquery.Client, dataset: Any) -> None:
    made = ran(client, "CREATE TABLE query_jobs.told (id INT64 NOT NULL, name STRING)")
    shown = [(one.name, one.field_type, one.mode) for one in made.result().schema]
    assert shown == [("id", "INTEGER", "REQUIRED"), ("name", "STRING", "NULLABLE")]
    assert list(made.result()) == [] and made.ddl_operation_performed == "CREATE"
    skipped = ran(client, "CREATE TABLE IF NOT EXISTS query_jobs.told (other INT64)")
    assert skipped.ddl_operation_performed == "SKIP" and skipped.result().schema[0].name == "other"
    view = ran(client, "CREATE VIEW query_jobs.of_told AS SELECT name FROM query_jobs.told")
    assert [one.name for one in view.result().schema] == ["name"]
    function = ran(client, "CREATE FUNCTION query_jobs.plus(x INT64) AS (x + 1)")
    assert function.ddl_operation_performed == "CREATE" and function.ddl_target_routine is not None
    assert function.ddl_target_routine.routine_id == "plus"
    assert ran(client, "DROP FUNCTION IF EXISTS query_jobs.none").ddl_operation_performed == "SKIP"


def test_the_result_of_an_append_is_the_table(client: bigquery.Client, dataset: Any) -> None:
    ran(client, "CREATE TABLE query_jobs.grown AS SELECT 1 AS id")
    options: dict[str, Any] = {
        "destination": f"{dataset.project}.query_jobs.grown",
        "write_disposition": "WRITE_APPEND",
        "schema_update_options": ["ALLOW_FIELD_ADDITION"],
    }
    job = ran(client, "SELECT 2 AS id, 'b' AS name", **options)
    assert sorted(tuple(row.values()) for row in job.result()) == [(1, None), (2, "b")]
    with pytest.raises(exceptions.BadRequest, match="WRITE_APPEND"):
        ran(client, "SELECT 3 AS id", **{**options, "write_disposition": "WRITE_TRUNCATE"})


def test_what_can_not_be_named_is_refused(client: bigquery.Client, dataset: Any) -> None:
    with pytest.raises(exceptions.BadRequest, match="Invalid dataset ID"):
        ran(client, "SELECT * FROM `!!bad!!.t`")
    with pytest.raises(exceptions.Forbidden, match="perhaps it does not exist"):
        ran(client, "SELECT * FROM `nobodys-project.d.t`")
    with pytest.raises(exceptions.BadRequest, match="at most 4 columns"):
        place = f"{dataset.project}.query_jobs.clustered"
        ran(
            client,
            "SELECT 1 AS a, 2 AS b, 3 AS c, 4 AS d, 5 AS e",
            destination=place,
            clustering_fields=list("abcde"),
        )
    with pytest.raises(exceptions.BadRequest, match="No matching signature for function CONCAT"):
        ran(client, "SELECT CONCAT()")
    with pytest.raises(exceptions.BadRequest, match="Invalid input session id"):
        ran(client, "SELECT 1", connection_properties=[bigquery.ConnectionProperty("session_id", "none")])


def test_what_was_appended_is_told_and_never_cached(client: bigquery.Client, dataset: Any) -> None:
    ran(client, "CREATE TABLE query_jobs.log (n INT64)")
    table = client.get_table("query_jobs.log")
    client.load_table_from_json([{"n": 1}, {"n": 2}], table).result()
    text = "SELECT n, _CHANGE_TYPE FROM APPENDS(TABLE query_jobs.log, NULL, NULL) ORDER BY n"
    assert answered(client, text) == [(1, "INSERT"), (2, "INSERT")]
    assert client.insert_rows_json(table, [{"n": 3}]) == []
    ran(client, "UPDATE query_jobs.log SET n = 20 WHERE n = 2")
    assert answered(client, text) == [(1, "INSERT"), (2, "INSERT"), (3, "INSERT")]


def test_a_table_function_is_a_routine_with_a_table_for_an_argument(
    client: bigquery.Client, dataset: Any
) -> None:
    ran(client, "CREATE TABLE FUNCTION query_jobs.top(t TABLE<x FLOAT64>) AS SELECT MAX(x) AS most FROM t")
    [argument] = client.get_routine("query_jobs.top").arguments
    assert (argument.name, argument.kind) == ("t", "FIXED_TABLE")
    assert answered(client, "SELECT most FROM query_jobs.top((SELECT 'a' AS k, 1.5 AS x))") == [(1.5,)]


def test_a_model_is_billed_for_what_it_learns_from(client: bigquery.Client) -> None:
    client.query(
        "CREATE TABLE query_jobs.learnt AS SELECT x, 2 * x AS y, 'a' AS z FROM UNNEST([1, 2, 3, 4]) x"
    ).result()
    text = """CREATE OR REPLACE MODEL query_jobs.m OPTIONS(model_type='linear_reg', input_label_cols=['y'])
    AS SELECT x, y FROM query_jobs.learnt"""
    for job in (ran(client, text, dry_run=True), ran(client, text)):
        assert (job.statement_type, job.total_bytes_processed) == ("CREATE_MODEL", 4 * 16)
        assert [one.table_id for one in job.referenced_tables] == ["learnt"]
    with pytest.raises(exceptions.GoogleAPICallError, match="bytes billed"):
        ran(client, text, maximum_bytes_billed=1)


def test_a_scripts_statements_are_jobs_of_their_own(client: bigquery.Client) -> None:
    script = client.query(
        "DECLARE x INT64 DEFAULT 3; CREATE TEMP TABLE t AS SELECT x AS id; BEGIN TRANSACTION; "
        "INSERT INTO t VALUES (4), (5); COMMIT TRANSACTION; SELECT id FROM t ORDER BY id; SELECT 'last' AS word"
    )
    assert [tuple(row) for row in script.result()] == [("last",)] and script.num_child_jobs == 6
    children = {one.job_id: one for one in client.list_jobs(parent_job=script)}
    ordered = [children[key] for key in sorted(children)]
    assert [one.statement_type for one in ordered] == [
        "CREATE_TABLE_AS_SELECT", "BEGIN_TRANSACTION", "INSERT", "COMMIT_TRANSACTION", "SELECT", "SELECT",
    ]  # fmt: skip
    assert [tuple(row) for row in ordered[4].result()] == [(3,), (4,), (5,)]
    assert ordered[2].num_dml_affected_rows == 2 and {one.parent_job_id for one in ordered} == {script.job_id}
    [identity] = {one.transaction_info.transaction_id for one in ordered[1:4]}
    assert identity and ordered[4].transaction_info is None
    assert not children.keys() & {one.job_id for one in client.list_jobs(max_results=100)}
    client.delete_job_metadata(script)
    with pytest.raises(exceptions.NotFound):
        client.get_job(ordered[0].job_id)


def test_the_statements_of_a_script_that_failed_are_jobs_too(client: bigquery.Client) -> None:
    script = client.query(
        "CREATE TEMP TABLE t AS SELECT 1 AS id; INSERT INTO t VALUES (2); SELECT 1 / 0; SELECT 3"
    )
    with pytest.raises(exceptions.BadRequest, match=r"Query error: division by zero: 1 / 0 at \[1:"):
        script.result()
    script.reload()
    assert (script.state, script.num_child_jobs) == ("DONE", 3)
    made, inserted, failed = sorted(client.list_jobs(parent_job=script), key=lambda one: one.job_id)
    assert (made.error_result, inserted.error_result) == (None, None) and inserted.num_dml_affected_rows == 1
    assert failed.statement_type == "SELECT" and failed.error_result == {
        "reason": "invalidQuery", "location": "query", "message": "division by zero: 1 / 0",
    }  # fmt: skip
    with pytest.raises(exceptions.BadRequest, match="division by zero"):
        failed.result()
    handled = client.query("BEGIN SELECT ERROR('no'); EXCEPTION WHEN ERROR THEN SELECT 'caught' AS word; END")
    assert [tuple(row) for row in handled.result()] == [("caught",)]
    errors = [one.error_result for one in client.list_jobs(parent_job=handled)]
    assert len(errors) == 2 and sorted(one["message"] for one in errors if one) == ["no"]


def test_a_job_is_in_the_location_that_it_was_told(client: bigquery.Client) -> None:
    job = client.query("SELECT 1", location="EU")
    assert (job.location, job.priority) == ("EU", "INTERACTIVE") and list(job.result())
    assert client.get_job(job.job_id, location="eu").job_id == client.get_job(job.job_id).job_id
    for ask in (client.get_job, client.cancel_job, client.delete_job_metadata):
        with pytest.raises(exceptions.NotFound, match=f"Not found: Job test-project:US.{job.job_id}"):
            ask(job.job_id, location="US")
    assert client.query("SELECT 2").location == "US"


def test_a_job_finds_no_datasets_of_other_locations_than_its_own(client: bigquery.Client) -> None:
    place = bigquery.Dataset("test-project.in_europe")
    place.location = "EU"
    client.create_dataset(place)
    config = bigquery.LoadJobConfig(schema=[bigquery.SchemaField("id", "INTEGER")])
    client.load_table_from_file(
        io.BytesIO(b"1\n2\n"), "in_europe.t", location="EU", job_config=config
    ).result()
    text = "SELECT id FROM in_europe.t ORDER BY id"
    assert [row["id"] for row in client.query(text, location="EU").result()] == [1, 2]
    assert len(answered(client, text)) == 2  # who says no location means that of the data
    outside: list[Any] = [
        lambda: client.query(text, location="US"),
        lambda: client.query(text, location="US", job_config=bigquery.QueryJobConfig(dry_run=True)),
        lambda: client.query("DELETE FROM in_europe.t WHERE TRUE", location="US"),
        lambda: client.query("CREATE TABLE in_europe.u AS SELECT 1 AS a", location="US"),
        lambda: client.copy_table("in_europe.t", "in_europe.u", location="US"),
        lambda: client.extract_table("in_europe.t", "gs://nowhere/t.csv", location="US"),
        lambda: client.load_table_from_file(io.BytesIO(b"3\n"), "in_europe.t", location="us", job_config=config),
    ]  # fmt: skip
    for ask in outside:
        with pytest.raises(exceptions.NotFound, match=r"in_europe was not found in location (?i:US)"):
            ask().result()
    assert [one.table_id for one in client.list_tables("in_europe")] == ["t"] and len(
        answered(client, text)
    ) == 2
    client.query(
        "CREATE SCHEMA in_tokyo; CREATE TABLE in_tokyo.t AS SELECT 1 AS a", location="asia-northeast1"
    ).result()
    assert client.get_dataset("in_tokyo").location == "asia-northeast1"


@pytest.fixture
def places(client: bigquery.Client) -> Any:
    for name, location in (("of_us", None), ("of_eu", "eu")):
        made = bigquery.Dataset(f"{client.project}.{name}")
        made.location = location
        client.create_dataset(made)
        client.query(f"CREATE TABLE {name}.t AS SELECT 1 AS of_eu").result()
    yield
    for name in ("of_us", "of_eu", "made_there"):
        client.delete_dataset(name, delete_contents=True, not_found_ok=True)


def test_a_job_that_is_told_no_location_is_where_its_data_are(
    client: bigquery.Client, places: None, bucket: Any
) -> None:
    """https://cloud.google.com/bigquery/docs/locations#specify_locations"""
    assert client.get_dataset("of_eu").location == "EU"  # however it was written
    there = bigquery.DatasetReference(client.project, "of_eu")
    uri = f"gs://{bucket.name}/of_eu.csv"
    job = bigquery.QueryJobConfig
    dry = client.query("SELECT * FROM of_eu.t", job_config=job(dry_run=True))
    jobs: list[Any] = [
        dry,
        client.query("SELECT * FROM of_eu.t"),
        client.query(f"SELECT * FROM `{client.project}.of_eu.t`"),
        client.query(f"SELECT * FROM {client.project}.of_eu.t"),
        client.query("SELECT * FROM t", job_config=job(default_dataset=there)),
        client.query("SELECT 1 AS a", job_config=job(destination=there.table("u"))),
        client.query("CREATE SCHEMA made_there OPTIONS (location = 'EU')"),
        client.query("DECLARE x INT64; SET x = (SELECT COUNT(*) FROM of_eu.t); SELECT x, @@location"),
        client.query("SELECT * FROM `region-eu`.INFORMATION_SCHEMA.JOBS LIMIT 1"),
        client.extract_table("of_eu.t", uri),
        client.load_table_from_uri(uri, "of_eu.v", job_config=bigquery.LoadJobConfig(autodetect=True)),
        client.copy_table("of_eu.t", "of_eu.w"),
    ]
    for one in jobs:
        assert one is dry or one.result()
        assert one.location == "EU", one
    assert [tuple(row) for row in jobs[7].result()] == [(1, "EU")]
    assert client.query_and_wait("SELECT * FROM of_eu.t").location == "EU"
    for text in ("SELECT 1", "SELECT of_eu.of_eu FROM of_us.t AS of_eu", "SELECT * FROM of_us.t"):
        assert client.query(text).location == "US"
    with pytest.raises(exceptions.NotFound, match=f"Not found: Job {client.project}:US.{jobs[1].job_id}"):
        client.get_job(jobs[1].job_id, location="US")


def test_data_of_two_locations_do_not_meet(client: bigquery.Client, places: None) -> None:
    for text, other, place in (
        ("SELECT * FROM of_us.t JOIN of_eu.t USING (of_eu)", "of_eu", "US"),
        ("SELECT * FROM of_eu.t WHERE of_eu IN (SELECT of_eu FROM of_us.t)", "of_us", "EU"),
        ("INSERT INTO of_eu.t SELECT * FROM of_us.t", "of_us", "EU"),
    ):
        said = f"Not found: Dataset {client.project}:{other} was not found in location {place}"
        with pytest.raises(exceptions.NotFound, match=said):
            client.query(text).result()
    client.copy_table("of_us.t", "of_eu.copied").result()  # which alone may go from one to the other
    assert answered(client, "SELECT * FROM of_eu.copied") == [(1,)]


def test_a_location_that_does_not_exist_is_refused(client: bigquery.Client, dataset: Any) -> None:
    nowhere = bigquery.Dataset(f"{client.project}.nowhere")
    nowhere.location = "us-middle9"
    said = "Invalid value for location: us-middle9 is not a valid value"
    for ask in (
        lambda: client.create_dataset(nowhere),
        lambda: client.query("SELECT 1", location="us-middle9"),
        lambda: client.query_and_wait("SELECT 1", location="us-middle9"),
        lambda: client.query("CREATE SCHEMA nowhere OPTIONS (location = 'us-middle9')").result(),
        lambda: client.copy_table("query_jobs.a", "query_jobs.b", location="us-middle9"),
    ):
        with pytest.raises(exceptions.BadRequest, match=said):
            ask()
    with pytest.raises(exceptions.BadRequest, match="in location EU: the job runs in location US"):
        client.query("CREATE SCHEMA nowhere OPTIONS (location = 'EU')", location="US").result()
    here = client.get_dataset(dataset.reference)
    here._properties["location"] = "EU"
    with pytest.raises(exceptions.BadRequest, match="Cannot change the location of a dataset from US to EU"):
        client.update_dataset(here, ["location"])
    assert client.get_dataset(dataset.reference).location == "US"


def test_what_a_job_says_of_encryption_is_told_of_its_table(client: bigquery.Client, dataset: Any) -> None:
    key = bigquery.EncryptionConfiguration("projects/p/locations/us/keyRings/r/cryptoKeys/k")
    name = f"{dataset.project}.{dataset.dataset_id}.locked"
    config = bigquery.QueryJobConfig(destination=f"{name}_q", destination_encryption_configuration=key)
    client.query("SELECT 1 AS id", job_config=config).result()
    load = bigquery.LoadJobConfig(autodetect=True, destination_encryption_configuration=key)
    client.load_table_from_json([{"id": 1}], f"{name}_l", job_config=load).result()
    copied = bigquery.CopyJobConfig(destination_encryption_configuration=key)
    client.copy_table(f"{name}_q", f"{name}_c", job_config=copied).result()
    assert [client.get_table(f"{name}_{one}").encryption_configuration for one in "qlc"] == [key] * 3


def test_timestamps_are_written_as_they_are_asked_for(client: bigquery.Client, dataset: Any) -> None:
    """DataFormatOptions; of the official client, whose own calls know but two of them, its connection."""
    inner = "TIMESTAMP '1969-12-31 23:59:58.5+00' AS t"
    text = (
        f"SELECT {inner}, [STRUCT({inner})] AS s, RANGE(TIMESTAMP '2024-05-06 07:08:09.123456+00', NULL) AS r"
    )
    ran(client, f"CREATE OR REPLACE TABLE query_jobs.moments AS {text}")
    result = ran(client, "SELECT * FROM query_jobs.moments")
    project = f"/projects/{client.project}"
    asks: list[Any] = [
        lambda options: client._connection.api_request(
            method="POST", path=f"{project}/queries",
            data={"query": text, "useLegacySql": False, "formatOptions": options},
        ),
        lambda options: client._connection.api_request(
            method="GET", path=f"{project}/queries/{result.job_id}", query_params=_parameters(options)
        ),
        lambda options: client._connection.api_request(
            method="GET", path=f"{project}/datasets/query_jobs/tables/moments/data",
            query_params=_parameters(options),
        ),
    ]  # fmt: skip
    said = {
        "INT64": ("-1500000", "[1714979289123456, UNBOUNDED)"),
        "FLOAT64": ("-1.5", "[1714979289.123456, UNBOUNDED)"),
        "ISO8601_STRING": (
            "1969-12-31T23:59:58.500000000000Z", "[2024-05-06T07:08:09.123456000000Z, UNBOUNDED)",
        ),
    }  # fmt: skip
    alike = [({"timestampOutputFormat": kind}, told) for kind, told in said.items()]
    alike += [({"useInt64Timestamp": True}, said["INT64"]), ({}, said["FLOAT64"])]
    for ask in asks:
        for options, (time, span) in alike:
            [row] = ask(options)["rows"]
            v = {"v": time}
            assert row["f"] == [v, {"v": [{"v": {"f": [v]}}]}, {"v": span}], options
        with pytest.raises(exceptions.BadRequest, match="Cannot specify both use_int64_timestamp and"):
            ask({"useInt64Timestamp": True, "timestampOutputFormat": "INT64"})
        with pytest.raises(exceptions.BadRequest):
            ask({"timestampOutputFormat": "RFC822"})


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    return {f"formatOptions.{name}": value for name, value in options.items()}


def test_the_data_set_of_results_is_one_of_each_project_and_takes_tables(client: bigquery.Client) -> None:
    destination = ran(client, "SELECT 1 AS x").destination
    holder = f"{destination.project}.{destination.dataset_id}"
    assert client.create_dataset(holder, exists_ok=True).dataset_id == destination.dataset_id
    with pytest.raises(exceptions.Conflict, match="Already Exists"):
        client.create_dataset(holder)
    assert destination.dataset_id not in [one.dataset_id for one in client.list_datasets()]
    assert list(client.list_routines(holder)) == []
    made = client.create_table(bigquery.Table(f"{holder}.bqdf", [bigquery.SchemaField("a", "INT64")]))
    assert client.insert_rows_json(made, [{"a": 3}]) == []
    assert answered(client, f"SELECT a FROM `{holder}.bqdf`") == [(3,)]
    job = ran(client, "SELECT 7 AS b", destination=f"{holder}.bqdf_2")
    assert job.destination.table_id == "bqdf_2" and answered(client, f"SELECT b FROM `{holder}.bqdf_2`") == [
        (7,)
    ]
    assert [tuple(one) for one in client.list_rows(client.get_table(f"{holder}.bqdf_2"))] == [(7,)]
    assert [tuple(one) for one in client.list_rows(destination)] == [(1,)]
    for name in ("bqdf", "bqdf_2"):
        client.delete_table(f"{holder}.{name}")


def test_a_dry_run_is_no_job_and_a_script_without_a_last_query_has_no_destination(
    client: bigquery.Client, dataset: Any
) -> None:
    text = "CREATE OR REPLACE TABLE query_jobs.scripted (a INT64); INSERT INTO query_jobs.scripted VALUES (1)"
    for asked in ("SELECT 1 AS a", text):
        tried = client.query(asked, job_config=bigquery.QueryJobConfig(dry_run=True))
        assert tried.job_id is None and (tried.project, tried.location) == (client.project, "US")
    assert ran(client, text).destination is None
    assert ran(client, f"{text}; SELECT 1 AS b").destination is not None


def test_numbers_as_values_of_labels_are_texts(client: bigquery.Client) -> None:
    job = ran(client, "SELECT 1 AS a", labels={"args_count": 2, "wide": False})
    assert job.labels == {"args_count": "2", "wide": "false"}
