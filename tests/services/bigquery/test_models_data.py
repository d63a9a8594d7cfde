"""What data are like and how they moved, and a model of nothing but a TRANSFORM, by the official client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("watched")
    made.query(
        """CREATE TABLE watched.before AS SELECT x, IF(MOD(x, 2) = 0, 'a', 'b') AS kind,
        IF(MOD(x, 10) = 0, NULL, 1.0 * x) AS y, [x, x + 1] AS pair FROM UNNEST(GENERATE_ARRAY(1, 1000)) AS x;
        CREATE TABLE watched.after AS SELECT x + 800 AS x, IF(MOD(x, 10) = 0, 'a', 'b') AS kind, y, pair
        FROM watched.before"""
    ).result()
    return made


def test_data_are_described(client: bigquery.Client) -> None:
    rows = {
        row.name: row
        for row in client.query(
            "SELECT * FROM ML.DESCRIBE_DATA(TABLE watched.before, STRUCT(4 AS num_quantiles, 1 AS top_k))"
        ).result()
    }
    assert list(rows) == ["kind", "pair", "x", "y"]
    assert rows["x"].quantiles == [1, 250, 500, 750, 1000] and rows["x"].mean == pytest.approx(500.5)
    assert (rows["y"].num_nulls, rows["y"].num_values, rows["y"].max) == (100, 900, "999.0")
    assert rows["kind"].top_values == [{"value": "a", "count": 500}] and rows["kind"].unique == 2
    assert (rows["pair"].min_array_length, rows["pair"].total_array_length) == (2, 2000)


def test_features_are_those_of_a_time(client: bigquery.Client) -> None:
    answered(
        client,
        """CREATE OR REPLACE TABLE watched.features AS
        SELECT '2' AS entity_id, 5 AS f1, 8 AS f2, TIMESTAMP '2022-06-10 09:00:00' AS feature_timestamp UNION ALL
        SELECT '2', 2, 4, '2022-06-10 12:00:00' UNION ALL SELECT '2', 7, NULL, '2022-06-11 10:00:00' UNION ALL
        SELECT '3', 1, 1, '2022-06-12 00:00:00'""",
    )
    told = (
        "SELECT entity_id, f1, f2, STRING(feature_timestamp) FROM ML.FEATURES_AT_TIME(TABLE watched.features, "
        "time => '2022-06-11 10:00:00+00', num_rows => 1, ignore_feature_nulls => {})"
    )
    assert answered(client, told.format("TRUE")) == [("2", 7, 4, "2022-06-11 10:00:00+00")]
    assert answered(client, told.format("FALSE")) == [("2", 7, None, "2022-06-11 10:00:00+00")]
    asked = (
        "SELECT '2' AS entity_id, TIMESTAMP '2022-06-10 10:00:00' AS time UNION ALL SELECT '4', '2022-06-10'"
    )
    found = answered(
        client, f"SELECT entity_id, f1 FROM ML.ENTITY_FEATURES_AT_TIME(TABLE watched.features, ({asked}))"
    )
    assert found == [("2", 5)]
    with pytest.raises(exceptions.BadRequest, match="needs a column feature_timestamp"):
        answered(client, "SELECT * FROM ML.FEATURES_AT_TIME((SELECT 1 AS x))")


def test_what_moved_is_found(client: bigquery.Client) -> None:
    text = """SELECT input, metric, value, is_anomaly FROM ML.VALIDATE_DATA_DRIFT(
        TABLE watched.before, TABLE watched.after, STRUCT(0.2 AS categorical_default_threshold,
        [STRUCT('y' AS name, 0.0 AS threshold)] AS thresholds))"""
    found = {row[0]: row[1:] for row in answered(client, text)}
    assert found["kind"] == ("L_INFTY", pytest.approx(0.4), True)
    assert found["x"][0] == "JENSEN_SHANNON_DIVERGENCE" and found["x"][2] and not found["y"][2]
    same = answered(
        client, "SELECT value FROM ML.VALIDATE_DATA_DRIFT(TABLE watched.before, TABLE watched.before)"
    )
    assert all(row[0] == 0 for row in same)


def test_a_model_knows_what_it_was_trained_on(client: bigquery.Client) -> None:
    client.query(
        """CREATE MODEL watched.m OPTIONS(model_type='linear_reg', input_label_cols=['y'])
        AS SELECT x, kind, y FROM watched.before"""
    ).result()
    found = {
        row[0]: row[1]
        for row in answered(
            client,
            "SELECT input, is_anomaly FROM ML.VALIDATE_DATA_SKEW(MODEL watched.m, (SELECT x, kind FROM watched.after))",
        )
    }
    assert found == {"x": True, "kind": True}


def test_a_transform_alone_is_a_model(client: bigquery.Client) -> None:
    client.query(
        """CREATE MODEL watched.only TRANSFORM(ML.MIN_MAX_SCALER(x) OVER () AS x, kind)
        OPTIONS(model_type='TRANSFORM_ONLY') AS SELECT * FROM watched.before"""
    ).result()
    assert client.get_model("watched.only").model_type == "TRANSFORM_ONLY"
    [row] = answered(
        client, "SELECT x FROM ML.TRANSFORM(MODEL watched.only, (SELECT 1000 AS x, 'a' AS kind))"
    )
    assert row == (1.0,)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT * FROM ML.DESCRIBE_DATA(TABLE watched.before, STRUCT(3 AS wrong))", "wrong"),
        ("SELECT * FROM ML.VALIDATE_DATA_DRIFT(TABLE watched.before)", "two tables"),
        ("SELECT * FROM ML.PREDICT(TABLE watched.before)", "MODEL"),
        ("SELECT * FROM AI.FORECAST(TABLE watched.before, data_col => 'x')", "AI.FORECAST"),
        ("CREATE MODEL watched.z OPTIONS(model_type='TRANSFORM_ONLY') AS SELECT 1 AS x", "TRANSFORM"),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, text: str, said: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=said):
        client.query(text).result()
