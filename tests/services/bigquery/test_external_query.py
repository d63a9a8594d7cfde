"""EXTERNAL_QUERY: connections by Google's client, and what a PostgreSQL database answers over them to BigQuery's."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from tests.postgresql import Server
from tests.services.bigquery.test_bigquery import answered, connected
from tests.waiting import until

INSTANCE = "test-project:europe-west1:shop"
PARENT = "projects/test-project/locations/us"
BODY = {
    "friendlyName": "The shop",
    "cloudSql": {
        "instanceId": INSTANCE, "type": "POSTGRES", "database": "shop",
        "credential": {"username": "portico", "password": "s3cret"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def server(new_portico: Any, postgresql: Server) -> Iterator[Any]:
    postgresql.execute("CREATE DATABASE shop TEMPLATE template0")
    postgresql.execute(
        "CREATE TABLE orders (id bigint, kind text, paid numeric(12, 2), at timestamptz, extra jsonb, gone uuid); "
        "INSERT INTO orders VALUES (1, 'tea', 2.50, '2024-01-02 03:04:05+02', '{\"a\": 1}', NULL), "
        "(2, 'milk', NULL, NULL, NULL, NULL)",
        "shop",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTICO_CLOUD_SQL", f"other:a:b=localhost:1, {INSTANCE}={postgresql.folder}")
        started = new_portico().start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def connections(server: Any) -> Any:
    api = build(
        "bigqueryconnection", "v1", credentials=AnonymousCredentials(), static_discovery=True,
        client_options={"api_endpoint": f"{server.url}/apis/bigqueryconnection/"},
    )  # fmt: skip
    return api.projects().locations().connections()


@pytest.fixture(scope="module")
def client(server: Any, connections: Any) -> bigquery.Client:
    connections.create(parent=PARENT, connectionId="shop", body=BODY).execute()
    return connected(server)


def ask(client: bigquery.Client, query: str, options: str = "") -> list[tuple[Any, ...]]:
    more = f", '''{options}'''" if options else ""
    return answered(client, f"SELECT * FROM EXTERNAL_QUERY('us.shop', '''{query}'''{more})")


def test_a_connection_keeps_its_credential_to_itself(connections: Any, client: bigquery.Client) -> None:
    found = connections.get(name=f"{PARENT}/connections/shop").execute()
    assert found["hasCredential"] and found["friendlyName"] == "The shop" and int(found["creationTime"]) > 0
    assert found["cloudSql"] == {"instanceId": INSTANCE, "type": "POSTGRES", "database": "shop"}
    assert [one["name"] for one in connections.list(parent=PARENT).execute()["connections"]] == [
        found["name"]
    ]
    patched = connections.patch(
        name=found["name"], updateMask="description", body={"description": "of the shop"}
    ).execute()
    assert patched["description"] == "of the shop" and patched["hasCredential"]
    policy = connections.getIamPolicy(resource=found["name"], body={}).execute()
    assert not policy.get("bindings")
    made = connections.create(parent=PARENT, connectionId="brief", body=BODY).execute()
    connections.delete(name=made["name"]).execute()
    with pytest.raises(HttpError, match="does not exist"):
        connections.get(name=made["name"]).execute()


@pytest.mark.parametrize(("change", "said"), [
    ({"type": "MYSQL"}, "MYSQL"), ({"instanceId": "shop"}, "PROJECT:REGION:INSTANCE"), ({"database": ""}, "database"),
    ({"credential": {}}, "username"),
])  # fmt: skip
def test_what_is_no_connection_is_refused(connections: Any, change: dict[str, Any], said: str) -> None:
    body = {"cloudSql": {**BODY["cloudSql"], **change}}  # type: ignore[dict-item]
    with pytest.raises(HttpError, match=said):
        connections.create(parent=PARENT, connectionId="wrong", body=body).execute()
    with pytest.raises(HttpError, match="aws"):
        connections.create(parent=PARENT, connectionId="wrong", body={"aws": {}}).execute()


def test_rows_come_in_bigquerys_types(client: bigquery.Client) -> None:
    text = (
        "SELECT id, kind, paid, at, extra, true AS b, 1.5::real AS r, '\\\\x00ff'::bytea AS y, "
        "DATE '2024-02-29' AS d, TIME '10:20:30.5' AS t, TIMESTAMP '2024-01-01 12:00:00' AS u, 7::smallint AS s "
        "FROM orders"
    )
    job = client.query(f'SELECT * FROM EXTERNAL_QUERY("test-project.us.shop", """{text}""") AS o ORDER BY id')
    first, second = [tuple(row.values()) for row in job.result()]
    utc = dt.UTC
    assert first == (
        1, "tea", decimal.Decimal("2.5"), dt.datetime(2024, 1, 2, 1, 4, 5, tzinfo=utc), '{"a": 1}', True, 1.5,
        b"\x00\xff", dt.date(2024, 2, 29), dt.time(10, 20, 30, 500000), dt.datetime(2024, 1, 1, 12, tzinfo=utc), 7,
    )  # fmt: skip
    assert second[:5] == (2, "milk", None, None, None)
    assert [one.field_type for one in job.result().schema] == [
        "INTEGER", "STRING", "NUMERIC", "TIMESTAMP", "STRING", "BOOLEAN", "FLOAT", "BYTES", "DATE", "TIME", "TIMESTAMP",
        "INTEGER",
    ]  # fmt: skip
    dry = client.query(
        f"SELECT kind FROM EXTERNAL_QUERY('{PARENT}/connections/shop', 'SELECT * FROM (SELECT kind FROM orders) o')",
        job_config=bigquery.QueryJobConfig(dry_run=True),
    )
    assert [one.name for one in dry.schema] == ["kind"]


def test_they_join_with_tables(client: bigquery.Client) -> None:
    client.create_dataset("federated")
    answered(client, "CREATE TABLE federated.names AS SELECT 'tea' AS kind, 'Tea, loose' AS name")
    query = "EXTERNAL_QUERY('us.shop', 'SELECT kind, count(*) AS n FROM orders GROUP BY 1')"
    text = f"SELECT name, o.n FROM federated.names JOIN {query} AS o USING (kind)"
    assert answered(client, text) == [("Tea, loose", 1)]
    answered(client, f"CREATE VIEW federated.seen AS SELECT * FROM {query}")
    assert answered(client, "SELECT SUM(n) FROM federated.seen") == [(2,)]
    options = '{"default_type_for_decimal_columns": "float64"}'
    assert ask(client, "SELECT paid FROM orders WHERE id = 1", options) == [(2.5,)]
    assert ask(client, "SELECT 1.25 AS x", options.replace("float64", "string")) == [("1.25",)]


def test_nothing_else_can_be_done_over_a_connection(client: bigquery.Client, postgresql: Server) -> None:
    for query in (
        "INSERT INTO orders VALUES (3)", "DELETE FROM orders RETURNING id", "SELECT 1; DELETE FROM orders",
        "COMMIT; DELETE FROM orders", "COPY orders TO PROGRAM $$cat$$", "SELECT nextval($$s$$)",
        "SELECT 1 AS a, 2 AS a",
        "SELECT gone FROM orders", "SELECT count(*) FROM none", "SELECT 1 + 1", "SELECT $$nan$$::numeric AS n", "",
        "SELECT set_config($$transaction_read_only$$, $$off$$, false) AS s",
    ):  # fmt: skip
        with pytest.raises(exceptions.BadRequest, match="EXTERNAL_QUERY"):
            ask(client, query)
    assert postgresql.execute("SELECT count(*) FROM orders", "shop") == [(2,)]
    with pytest.raises(exceptions.BadRequest, match=r"unsupported PostgreSQL type.*gone"):
        ask(client, "SELECT gone FROM orders")
    with pytest.raises(exceptions.NotFound, match="Connection"):
        answered(client, "SELECT * FROM EXTERNAL_QUERY('us.none', 'SELECT 1 AS a')")
    for text in (
        "SELECT EXTERNAL_QUERY('us.shop', 'SELECT 1 AS a')", "SELECT * FROM EXTERNAL_QUERY('us.shop')",
        "SELECT * FROM EXTERNAL_QUERY('us.shop', CONCAT('SELECT', ' 1'))",
        "SELECT * FROM EXTERNAL_QUERY('us.shop', 'SELECT 1 AS a', '{\"what\": 1}')",
        "SELECT * FROM EXTERNAL_QUERY('/etc/passwd', 'SELECT 1 AS a')",
    ):  # fmt: skip
        with pytest.raises(exceptions.BadRequest, match="EXTERNAL_QUERY"):
            answered(client, text)


def test_an_instance_must_be_known(connections: Any, client: bigquery.Client) -> None:
    for instance, said in (("a:b:c", "PORTICO_CLOUD_SQL"), ("other:a:b", "Failed to connect")):
        body = {"cloudSql": {**BODY["cloudSql"], "instanceId": instance}}  # type: ignore[dict-item]
        name = instance.replace(":", "-")
        connections.create(parent=PARENT, connectionId=name, body=body).execute()
        with pytest.raises(exceptions.BadRequest, match=said):
            answered(client, f"SELECT * FROM EXTERNAL_QUERY('us.{name}', 'SELECT 1 AS a')")


def test_a_job_that_waits_for_another_database_is_cancelled(
    client: bigquery.Client, postgresql: Server
) -> None:
    job = client.query("SELECT * FROM EXTERNAL_QUERY('us.shop', 'SELECT 1 AS a FROM pg_sleep(600)')")
    asks = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'portico' AND wait_event = 'PgSleep'"
    )
    until(lambda: postgresql.execute(asks)[0][0] == 1, "the database works")
    job.cancel()
    with pytest.raises(exceptions.GoogleAPICallError, match="cancelled"):
        job.result(retry=None, timeout=240)
    assert job.error_result["reason"] == "stopped"
    until(lambda: postgresql.execute(asks)[0][0] == 0, "the database rests")
