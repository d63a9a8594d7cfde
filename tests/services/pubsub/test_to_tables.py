"""Subscriptions whose messages become rows of BigQuery's tables."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from tests.waiting import until

PROJECT = "messages"


@pytest.fixture(scope="module")
def sql(portico: Any) -> bigquery.Client:
    options = {"api_endpoint": portico.url}
    return bigquery.Client(PROJECT, AnonymousCredentials(), client_options=options)


@pytest.fixture(scope="module")
def dataset(sql: bigquery.Client) -> str:
    name = f"d{time.time_ns()}"
    sql.create_dataset(name)
    return name


def rows(sql: bigquery.Client, query: str, count: int) -> list[tuple[Any, ...]]:
    def found() -> list[tuple[Any, ...]]:
        got = [tuple(row.values()) for row in sql.query(query).result()]
        return got if len(got) >= count else []

    return until(found, "the rows are there", 60)


def test_messages_become_rows_with_what_is_known_of_them(sql, dataset, publisher, subscribed, topic):
    table = f"{dataset}.t{time.time_ns()}"
    sql.query(
        f"CREATE TABLE {table} (data BYTES, subscription_name STRING, message_id STRING, publish_time TIMESTAMP, "
        "attributes JSON)"
    ).result()
    subscription = subscribed(bigquery_config={"table": f"{PROJECT}.{table}", "write_metadata": True})
    messages = [{"data": b"\x00\xff", "attributes": {"k": "v"}}, {"attributes": {"k": "w"}}]
    ids = publisher.publish(topic=topic, messages=messages).message_ids
    asked = (
        "SELECT data, subscription_name, message_id, JSON_VALUE(attributes.k), publish_time <= CURRENT_TIMESTAMP() "
        f"FROM {table} ORDER BY message_id"
    )
    assert rows(sql, asked, 2) == [
        (b"\x00\xff", subscription, ids[0], "v", True), (b"", subscription, ids[1], "w", True),
    ]  # fmt: skip


def test_messages_fill_the_columns_that_they_name(
    sql, dataset, publisher, subscriber, subscribed, topic, name
):
    table = f"{dataset}.t{time.time_ns()}"
    sql.query(f"CREATE TABLE {table} (city STRING, n INT64)").result()
    dead = publisher.create_topic(name=name("topics")).name
    bin = subscriber.create_subscription(name=name("subscriptions"), topic=dead).name
    config = {"table": f"{PROJECT}:{table}", "use_table_schema": True, "drop_unknown_fields": True}
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
    subscribed(bigquery_config=config, dead_letter_policy=policy)
    good = [{"data": b'{"city": "Rome", "n": 3, "other": 1}'}, {"data": b'{"city": "Oslo", "n": 4}'}]
    publisher.publish(topic=topic, messages=[*good, {"data": b"no row"}])
    assert rows(sql, f"SELECT city, n FROM {table} ORDER BY n", 2) == [("Rome", 3), ("Oslo", 4)]
    until(
        lambda: [one.message.data for one in subscriber.pull(subscription=bin, max_messages=5).received_messages],
        "what is no row is a dead letter", 60,
    )  # fmt: skip


def test_a_table_that_does_not_fit_is_refused(sql, dataset, subscribed):
    table = f"{dataset}.t{time.time_ns()}"
    sql.query(f"CREATE TABLE {table} (data INT64)").result()
    with pytest.raises(exceptions.BadRequest, match="needs a column data"):
        subscribed(bigquery_config={"table": f"{PROJECT}.{table}"})
    with pytest.raises(exceptions.NotFound, match="Not found: Table"):
        subscribed(bigquery_config={"table": f"{PROJECT}.{dataset}.none"})
    with pytest.raises(exceptions.BadRequest, match=r"PROJECT\.DATASET\.TABLE"):
        subscribed(bigquery_config={"table": "x"})
    with pytest.raises(exceptions.MethodNotImplemented, match="useTopicSchema is not built"):
        subscribed(bigquery_config={"table": f"{PROJECT}.{table}", "use_topic_schema": True})
