"""Sessions of queries by BigQuery's official client: what one job leaves for the next, and how a session ends."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    return connected(portico)


@pytest.fixture(scope="module")
def dataset(client: bigquery.Client) -> Any:
    made = client.create_dataset("in_sessions", exists_ok=True)
    yield made
    client.delete_dataset(made, delete_contents=True, not_found_ok=True)


class Session:
    def __init__(self, client: bigquery.Client, text: str = "SELECT 1 AS one") -> None:
        self._client = client
        first = client.query(text, job_config=bigquery.QueryJobConfig(create_session=True))
        first.result()
        assert first.session_info is not None and first.session_info.session_id
        self.id = first.session_info.session_id

    def run(self, text: str, **options: Any) -> bigquery.QueryJob:
        properties = [bigquery.ConnectionProperty("session_id", self.id)]
        job = self._client.query(
            text, job_config=bigquery.QueryJobConfig(connection_properties=properties, **options)
        )
        job.result()
        return job

    def rows(self, text: str, **options: Any) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.run(text, **options).result()]


def test_what_a_job_declares_the_next_one_sees(client: bigquery.Client, dataset: Any) -> None:
    session = Session(client, "CREATE TEMP TABLE t AS SELECT 1 AS id")
    assert session.run("INSERT INTO t (id) VALUES (2)").session_info.session_id == session.id
    assert session.rows("SELECT SUM(id) FROM t") == [(3,)] and session.rows(
        "SELECT COUNT(*) FROM _SESSION.t"
    ) == [(2,)]
    session.run("DECLARE n INT64 DEFAULT 10")
    session.run("SET n = n + 5")
    assert session.rows("SELECT n + MAX(id) FROM t") == [(17,)]
    session.run("CREATE TEMP FUNCTION twice(x INT64) AS (x * 2)")
    assert session.rows("SELECT twice(n), @@session_id") == [(30, session.id)]
    session.run(f"SET @@dataset_id = '{dataset.dataset_id}'")
    session.run("CREATE OR REPLACE TABLE lasting AS SELECT 4 AS four")
    assert session.rows("SELECT four + @p FROM lasting", query_parameters=[
        bigquery.ScalarQueryParameter("p", "INT64", 1)]) == [(5,)]  # fmt: skip
    with pytest.raises(exceptions.BadRequest, match="nowhere"):
        session.run("SELECT nowhere FROM t")
    assert session.run("SELECT * FROM t").query_plan
    other = Session(client)
    for text in ("SELECT * FROM t", "SELECT n", "SELECT twice(1)"):
        with pytest.raises(exceptions.BadRequest):
            other.run(text)
        with pytest.raises(exceptions.BadRequest):
            answered(client, text)
    assert not any("_script" in one.dataset_id for one in client.list_datasets())


def test_a_transaction_spans_jobs_and_keeps_nobody_from_writing(
    client: bigquery.Client, dataset: Any
) -> None:
    answered(client, "CREATE OR REPLACE TABLE in_sessions.a AS SELECT 1 AS id")
    answered(client, "CREATE OR REPLACE TABLE in_sessions.b AS SELECT 1 AS id")
    count = "SELECT COUNT(*) FROM in_sessions.a"
    session = Session(client, "BEGIN TRANSACTION")
    session.run("INSERT INTO in_sessions.a (id) VALUES (2)")
    assert session.rows(count) == [(2,)] and answered(client, count) == [(1,)]
    answered(client, "INSERT INTO in_sessions.b (id) VALUES (2)")
    session.run("ROLLBACK TRANSACTION")
    assert session.rows(count) == [(1,)]
    session.run("BEGIN TRANSACTION; INSERT INTO in_sessions.a (id) VALUES (3)")
    session.run("COMMIT TRANSACTION")
    assert answered(client, count) == [(2,)]
    with pytest.raises(exceptions.BadRequest, match="no active transaction"):
        session.run("COMMIT TRANSACTION")
    other = Session(client, "BEGIN TRANSACTION")
    other.run("DELETE FROM in_sessions.a WHERE id = 1")
    session.run("BEGIN TRANSACTION")
    with pytest.raises(exceptions.BadRequest, match="concurrent"):
        session.run("DELETE FROM in_sessions.a WHERE id = 3")
    with pytest.raises(exceptions.BadRequest, match="concurrent"):
        answered(client, "UPDATE in_sessions.a SET id = 9 WHERE TRUE")
    with pytest.raises(exceptions.BadRequest, match="ended by an error"):
        session.run("INSERT INTO in_sessions.b (id) VALUES (3)")
    session.run("ROLLBACK TRANSACTION")
    other.run("COMMIT TRANSACTION")
    assert answered(client, "SELECT id FROM in_sessions.a") == [(3,)]


def test_a_session_ends_when_it_is_aborted(client: bigquery.Client, dataset: Any) -> None:
    answered(client, "CREATE OR REPLACE TABLE in_sessions.c AS SELECT 1 AS id")
    session = Session(client, "BEGIN TRANSACTION; INSERT INTO in_sessions.c (id) VALUES (2)")
    session.run("CALL BQ.ABORT_SESSION()")
    with pytest.raises(exceptions.BadRequest, match="session"):
        session.run("SELECT 1")
    assert answered(client, "SELECT COUNT(*) FROM in_sessions.c") == [(1,)]
    answered(client, "INSERT INTO in_sessions.c (id) VALUES (2)")
    other = Session(client)
    answered(client, f"CALL BQ.ABORT_SESSION('{other.id}')")
    with pytest.raises(exceptions.BadRequest, match="session"):
        other.run("SELECT 1")
    with pytest.raises(exceptions.BadRequest, match="ABORT_SESSION"):
        answered(client, "CALL BQ.ABORT_SESSION()")


def test_temporary_tables_are_where_their_job_is(client: bigquery.Client, dataset: Any) -> None:
    config = bigquery.QueryJobConfig(create_session=True)
    made = client.query("CREATE TEMP TABLE here AS SELECT 1 AS id", config, location="EU")
    rows = made.result()
    assert made.location == rows.location == client.get_table(made.destination).location == "EU"
    [where] = client.query("SELECT @@location AS it", location="EU").result()
    assert where.it == "EU" and answered(client, "SELECT @@location AS it") == [("US",)]


def test_connection_properties_are_honoured_or_refused(client: bigquery.Client, dataset: Any) -> None:
    def run(key: str, value: str, **options: Any) -> bigquery.QueryJob:
        config = bigquery.QueryJobConfig(
            connection_properties=[bigquery.ConnectionProperty(key, value)], **options
        )
        job = client.query("SELECT 1 AS one", job_config=config)
        job.result()
        return job

    assert run("query_label", "team:one,tier:2").labels == {"team": "one", "tier": "2"}
    assert run("time_zone", "UTC").state == "DONE"
    with pytest.raises(exceptions.BadRequest, match="session"):
        run("session_id", "nonesuch")
    with pytest.raises(exceptions.BadRequest, match="connection property"):
        run("colour", "red")
    with pytest.raises(exceptions.BadRequest, match="createSession"):
        run("session_id", "nonesuch", create_session=True)
    dry = client.query("SELECT 1", job_config=bigquery.QueryJobConfig(create_session=True, dry_run=True))
    assert dry.session_info is None
