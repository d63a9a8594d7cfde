"""ML.TREND and ML.SEASONALITY, by the official client."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

WEEK = (0, 3, -2, 5, 1, -4, -3)
VISITS = """(SELECT DATE_ADD(DATE '2024-01-01', INTERVAL x DAY) AS day, who,
    2 * x + [0, 3, -2, 5, 1, -4, -3][MOD(x, 7)] * 10 AS visits
    FROM UNNEST(GENERATE_ARRAY(0, 83)) AS x, UNNEST(['a', 'b']) AS who WHERE who = 'a' OR x < 2)"""
ONE = f"(SELECT day, visits FROM {VISITS} WHERE who = 'a')"
COLUMNS = "data_col => 'visits', timestamp_col => 'day'"


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    return connected(portico)


def test_a_trend_is_what_seasons_leave(client: bigquery.Client) -> None:
    found = client.query(f"SELECT * FROM ML.TREND({ONE}, {COLUMNS}, horizon => 7) ORDER BY day").result()
    assert [(one.name, one.field_type) for one in found.schema] == [
        ("day", "DATE"), ("time_series_type", "STRING"), ("visits", "FLOAT"), ("trend", "FLOAT"), ("status", "STRING"),
    ]  # fmt: skip
    rows = list(found)
    assert [row.time_series_type for row in rows] == ["history"] * 84 + ["forecast"] * 7
    assert rows[0].day == dt.date(2024, 1, 1) and rows[-1].day == dt.date(2024, 3, 31)
    for place, row in list(enumerate(rows))[10:]:
        assert row.trend == pytest.approx(2 * place, abs=5)
    assert rows[50].visits == 100 + 10 * WEEK[1] and rows[0].status == ""
    bare = f"SELECT COUNT(*) FROM ML.TREND({ONE}, {COLUMNS}, smoothing_window_size => 1)"
    assert answered(client, bare) == [(84,)]


def test_seasons_are_columns(client: bigquery.Client) -> None:
    rows = list(client.query(f"SELECT * FROM ML.SEASONALITY({ONE}, {COLUMNS}) ORDER BY day").result())
    assert list(rows[0].keys()) == [
        "day", "time_series_type", "visits", "yearly", "quarterly", "monthly", "weekly", "daily", "status",
    ]  # fmt: skip
    for place, row in list(enumerate(rows))[14:70]:
        assert row.weekly == pytest.approx(10 * WEEK[place % 7], abs=5) and row.yearly is row.daily is None
    asked = f"SELECT * FROM ML.SEASONALITY({ONE}, {COLUMNS}, seasonalities => ['WEEKLY'], horizon => 1)"
    told = client.query(asked).result()
    assert [one.name for one in told.schema] == ["day", "time_series_type", "visits", "weekly", "status"]
    assert told.total_rows == 85


def test_each_series_is_taken_apart_by_itself(client: bigquery.Client) -> None:
    asked = f"SELECT who, COUNT(trend), MAX(status) FROM ML.TREND({VISITS}, {COLUMNS}, id_cols => ['who']) GROUP BY who"
    (one, other) = sorted(answered(client, asked))
    assert one == ("a", 84, "") and other[:2] == ("b", 0) and other[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"ML.TREND({ONE}, data_col => 'visits')", "ML.TREND needs timestamp_col"),
        (f"ML.TREND({ONE}, data_col => 'none', timestamp_col => 'day')", "none"),
        (f"ML.TREND({ONE}, {COLUMNS}, horizon => 10001)", "from 0 to 10000"),
        (f"ML.SEASONALITY({ONE}, {COLUMNS}, seasonalities => ['HOURLY'])", "not 'hourly'"),
        (f"ML.SEASONALITY({ONE}, {COLUMNS}, wrong => 1)", "no argument wrong"),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, text: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        client.query(f"SELECT * FROM {text}").result()
