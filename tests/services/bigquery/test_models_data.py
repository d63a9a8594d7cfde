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


def test_statistics_are_tensorflows(client: bigquery.Client) -> None:
    rows = client.query(
        "SELECT * FROM ML.TFDV_DESCRIBE(TABLE watched.before, STRUCT(1 AS num_rank_histogram_buckets, "
        "4 AS num_quantiles_histogram_buckets, 2 AS num_histogram_buckets))"
    ).result()
    assert [(one.name, one.field_type) for one in rows.schema] == [
        ("dataset_feature_statistics_list", "JSON")
    ]
    [[told]] = rows
    [dataset] = told["datasets"]
    assert dataset["num_examples"] == "1000"
    x, kind, y, pair = (dict(one) for one in dataset["features"])
    assert [one["name"] for one in (x, kind, y, pair)] == ["x", "kind", "y", "pair"]
    assert [one.get("type") for one in (x, kind, y, pair)] == [None, "STRING", "FLOAT", None]
    numbers = x["num_stats"]
    assert (numbers["mean"], numbers["min"], numbers["max"], numbers["median"]) == (500.5, 1.0, 1000.0, 500.5)
    assert numbers["histograms"][0] == {
        "buckets": [
            {"low_value": 1.0, "high_value": 500.5, "sample_count": 500.0},
            {"low_value": 500.5, "high_value": 1000.0, "sample_count": 500.0},
        ]
    }
    quantiles = numbers["histograms"][1]
    assert quantiles["type"] == "QUANTILES"
    assert [one["high_value"] for one in quantiles["buckets"]] == [250, 500, 750, 1000]
    texts = kind["string_stats"]
    assert texts["unique"] == "2" and texts["avg_length"] == 1.0
    assert texts["top_values"] == [{"value": "b", "frequency": 500.0}, {"value": "a", "frequency": 500.0}]
    assert texts["rank_histogram"] == {"buckets": [{"label": "b", "sample_count": 500.0}]}
    common = y["num_stats"]["common_stats"]
    assert (common["num_missing"], common["num_non_missing"], common["max_num_values"]) == ("100", "900", "1")
    assert pair["num_stats"]["common_stats"]["tot_num_values"] == "2000"


def test_anomalies_are_tensorflows(client: bigquery.Client) -> None:
    text = """DECLARE before JSON; DECLARE after JSON;
        SET before = (SELECT * FROM ML.TFDV_DESCRIBE(TABLE watched.before));
        SET after = (SELECT * FROM ML.TFDV_DESCRIBE((SELECT x, kind, y FROM watched.after)));
        SELECT ML.TFDV_VALIDATE(before, after, 'SKEW', .2, 'L_INFTY', .3, 'JENSEN_SHANNON_DIVERGENCE', [('y', 0.0)])"""
    rows = client.query(text).result()
    assert [one.field_type for one in rows.schema] == ["JSON"]
    [[told]] = rows
    assert told["baseline"]["feature"] == [
        {"name": "x", "type": "INT", "skew_comparator": {"jensen_shannon_divergence": {"threshold": 0.3}}},
        {"name": "kind", "type": "BYTES", "skew_comparator": {"infinity_norm": {"threshold": 0.2}}},
        {"name": "y", "type": "FLOAT", "skew_comparator": {"jensen_shannon_divergence": {"threshold": 0.0}}},
    ]
    found = {one["path"]["step"][0]: one["skew_measurements"][0] for one in told["drift_skew_info"]}
    assert found["kind"] == {"type": "L_INFTY", "value": pytest.approx(0.4), "threshold": 0.2}
    assert found["y"]["value"] == 0.0
    # both histograms have ten buckets of about 100 rows; a fifth of either is where the other lies
    assert found["x"]["value"] == pytest.approx(0.8, abs=0.01)
    assert sorted(told["anomaly_info"]) == ["kind", "x"]
    said = (
        "The Linfty distance between training and serving is 0.4 (up to six significant digits), above the threshold "
        "0.2. The feature value with maximum difference is: b"
    )
    short = "High Linfty distance between training and serving"
    assert told["anomaly_info"]["kind"] == {
        "path": {"step": ["kind"]}, "description": said, "severity": "ERROR", "short_description": short,
        "reason": [{"type": "COMPARATOR_L_INFTY_HIGH", "short_description": short, "description": said}],
    }  # fmt: skip
    [[drifted]] = client.query(
        """SELECT ML.TFDV_VALIDATE((SELECT dataset_feature_statistics_list FROM ML.TFDV_DESCRIBE(TABLE watched.before)),
        (SELECT * FROM ML.TFDV_DESCRIBE(TABLE watched.after)), 'DRIFT')"""
    ).result()
    measured = {one["path"]["step"][0]: one["drift_measurements"][0] for one in drifted["drift_skew_info"]}
    assert measured["kind"]["value"] == pytest.approx(0.4)
    same = dict(
        answered(
            client,
            "SELECT input, value FROM ML.VALIDATE_DATA_DRIFT(TABLE watched.before, TABLE watched.after)",
        )
    )
    assert same == {name: one["value"] for name, one in measured.items()}


def test_statistics_of_numbers_that_are_none_and_of_structs(client: bigquery.Client) -> None:
    [[told]] = client.query(
        """SELECT * FROM ML.TFDV_DESCRIBE((SELECT STRUCT(x AS n, b'ab' AS raw) AS s,
        IF(x = 1, IEEE_DIVIDE(1, 0), x) AS f, [STRUCT(7 AS place, 0.5 * x AS weight)] AS sparse,
        IF(x = 2, CAST('nan' AS FLOAT64), 0) AS g, DATE '2024-01-01' AS d FROM UNNEST([1, 2, 3]) AS x))"""
    ).result()
    features = {one["name"]: one for one in told["datasets"][0]["features"]}
    assert list(features) == ["s.n", "s.raw", "f", "sparse", "g", "d"]
    assert features["s.raw"]["bytes_stats"]["avg_num_bytes"] == 2
    assert features["f"]["num_stats"]["max"] == "Infinity"
    assert features["sparse"]["num_stats"]["mean"] == 1.0
    assert features["g"]["num_stats"]["histograms"][0] == {"buckets": [{"sample_count": 2.0}], "num_nan": "1"}
    assert features["d"]["string_stats"]["top_values"] == [{"value": "2024-01-01", "frequency": 3.0}]


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
        ("SELECT * FROM ML.TFDV_DESCRIBE((SELECT [STRUCT('a' AS b)] AS c))", "column c is not supported"),
        (
            "SELECT * FROM ML.TFDV_DESCRIBE((SELECT 1 AS c), STRUCT(0 AS num_histogram_buckets))",
            "from 1 to 1000",
        ),
        (
            "SELECT ML.TFDV_VALIDATE(JSON '{}', JSON '{}')",
            "400 statistics must be a DatasetFeatureStatisticsList",
        ),
        ("SELECT ML.TFDV_VALIDATE(JSON '{}')", "ML.TFDV_VALIDATE takes"),
        ("SELECT ML.TFDV_VALIDATE(JSON '{}', JSON '{}', 'BOTH')", "DETECTION_TYPE is 'BOTH'"),
        ("SELECT ML.TFDV_VALIDATE(JSON '{}', JSON '{}', 'SKEW', 2)", "from 0 to 1"),
        ("SELECT * FROM AI.FORECAST(TABLE watched.before, data_col => 'x')", "AI.FORECAST"),
        ("CREATE MODEL watched.z OPTIONS(model_type='TRANSFORM_ONLY') AS SELECT 1 AS x", "TRANSFORM"),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, text: str, said: str) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match=said):
        client.query(text).result()
