"""ML.METRICS, ML.CORRELATION and AI.KEY_DRIVERS by the official client: what is said of data without a model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from scipy import stats
from sklearn import metrics
from tests.services.bigquery.test_bigquery import answered, connected

# Google's reference has this table, and its results.
SAMPLE = """
    SELECT 'USA' AS country, 'New York' AS city, 'Electronics' AS product, 100 AS ad_spend, 150 AS budget,
        1000 AS revenue
    UNION ALL SELECT 'USA', 'New York', 'Electronics', 150, 200, 1500
    UNION ALL SELECT 'USA', 'New York', 'Apparel', 200, 250, 1800
    UNION ALL SELECT 'USA', 'Seattle', 'Apparel', 220, 240, 2400
    UNION ALL SELECT 'USA', 'Seattle', 'Apparel', 300, 320, 2700
    UNION ALL SELECT NULL, 'London', 'Electronics', 100, 120, 500
    UNION ALL SELECT NULL, 'London', 'Electronics', 200, 220, 900
    UNION ALL SELECT NULL, NULL, 'Apparel', 200, 200, 1000
    UNION ALL SELECT NULL, NULL, 'Apparel', 250, 250, 1200
"""


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("free")
    made.query(f"CREATE TABLE free.sample AS {SAMPLE}").result()
    made.query(
        """CREATE TABLE free.said AS SELECT n, 10.0 + n AS truth, 10.0 + n + MOD(n * 7, 5) - 2 AS guess,
        ['a', 'b', 'c'][OFFSET(MOD(n, 3))] AS class, ['a', 'b', 'c'][OFFSET(MOD(n * n, 3))] AS guessed,
        MOD(n, 4) = 0 AS yes, MOD(n, 5) = 0 AS perhaps FROM UNNEST(GENERATE_ARRAY(1, 60)) AS n
        UNION ALL SELECT NULL, NULL, 1.0, NULL, 'a', NULL, TRUE"""
    ).result()
    return made


def test_correlations_are_those_of_googles_reference(client: bigquery.Client) -> None:
    rows = answered(
        client,
        """SELECT country, segment, ROUND(correlation, 3), segment_size FROM ML.CORRELATION(TABLE free.sample,
        target_col => 'revenue', target_correlation_cols => 'ad_spend', dimension_cols => ['country'])""",
    )
    assert [(one, three, four) for one, _, three, four in rows] == [
        (None, 0.698, 9), ("USA", 0.968, 5), (None, 0.990, 4),
    ]  # fmt: skip
    assert rows[0][1] == []
    told = [(one["dimension_col"], json.dumps(one["dimension_value"])) for row in rows for one in row[1]]
    assert told == [("country", '"USA"'), ("country", "null")]
    found = client.query(
        """SELECT * FROM ML.CORRELATION((SELECT * FROM free.sample WHERE country = 'USA'), target_col => 'revenue',
        target_correlation_cols => ['ad_spend', 'budget'], dimension_cols => ['city', 'product'])"""
    ).result()
    assert [one.name for one in found.schema] == [
        "segment", "city", "product", "target_col", "corr_col", "correlation", "segment_size", "segment_proportion",
    ]  # fmt: skip
    shown = list(found)
    assert [(one.corr_col, round(one.correlation, 3), one.segment_proportion) for one in shown[:2]] == [
        ("ad_spend", 0.968, 1.0), ("budget", 0.924, 1.0),
    ]  # fmt: skip
    assert len(shown) == 2 * (1 + 2 + 2 + 3)


def test_ranks_are_correlated_as_bigquery_ranks(client: bigquery.Client) -> None:
    xs, ys = (
        np.array(answered(client, f"SELECT {one} FROM free.sample")).ravel()
        for one in ("ad_spend", "revenue")
    )
    text = """SELECT correlation FROM ML.CORRELATION(TABLE free.sample, target_col => 'revenue',
    target_correlation_cols => ['ad_spend'], method => '{}')"""
    [(found,)] = answered(client, text.format("kendall"))
    assert found == pytest.approx(stats.kendalltau(xs, ys).statistic)
    [(found,)] = answered(client, text.format("SPEARMAN"))
    ranks = [stats.rankdata(one, "min") for one in (xs, ys)]
    assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_metrics_are_scikit_learns(client: bigquery.Client) -> None:
    rows = answered(
        client, "SELECT truth, guess, class, guessed, yes, perhaps FROM free.said WHERE n IS NOT NULL"
    )
    truth, guess, classes, guessed, yes, perhaps = (np.array(one) for one in zip(*rows, strict=True))
    text = "SELECT * FROM ML.METRICS(TABLE free.said, actual_col => '{}', predicted_col => '{}', task_type => '{}')"
    [row] = client.query(text.format("truth", "guess", "regression")).result()
    assert row.mean_squared_error == pytest.approx(metrics.mean_squared_error(truth, guess))
    assert row.median_absolute_error == pytest.approx(metrics.median_absolute_error(truth, guess))
    assert row.r2_score == pytest.approx(metrics.r2_score(truth, guess))
    [row] = client.query(text.format("class", "guessed", "Classification")).result()
    assert row.f1_score == pytest.approx(metrics.f1_score(classes, guessed, average="macro", zero_division=0))
    assert row.accuracy == pytest.approx(metrics.accuracy_score(classes, guessed))
    [row] = client.query(text.format("yes", "perhaps", "classification")).result()
    assert row.precision == pytest.approx(metrics.precision_score(yes, perhaps))
    assert row.recall == pytest.approx(metrics.recall_score(yes, perhaps))


def test_key_drivers_are_a_models_insights(client: bigquery.Client) -> None:
    client.query(
        """CREATE OR REPLACE MODEL free.model OPTIONS(model_type='CONTRIBUTION_ANALYSIS', is_test_col='usa',
        contribution_metric='SUM(revenue)', dimension_id_cols=['city', 'product'], min_apriori_support=0.1,
        pruning_method='PRUNE_REDUNDANT_INSIGHTS')
        AS SELECT city, product, revenue, IFNULL(country, '') = 'USA' AS usa FROM free.sample WHERE city IS NOT NULL"""
    ).result()
    insights = answered(client, "SELECT * FROM ML.GET_INSIGHTS(MODEL free.model)")
    found = client.query(
        """SELECT * FROM AI.KEY_DRIVERS((SELECT *, IFNULL(country, '') = 'USA' AS usa FROM free.sample
        WHERE city IS NOT NULL), metric_col => 'sum(revenue)', dimension_cols => ['city', 'product'],
        interest_label_col => 'usa')"""
    ).result()
    assert [one.name for one in found.schema] == [
        "drivers", "city", "product", "metric_interest", "metric_reference", "difference", "relative_difference",
        "unexpected_difference", "relative_unexpected_difference", "apriori_support", "contribution",
    ]  # fmt: skip
    rows = list(found)
    assert [tuple(one.values()) for one in rows] == insights
    [whole] = [one for one in rows if one.drivers == ["all"]]
    assert whole.unexpected_difference == whole.difference == 9400 - 1400
    assert whole.relative_unexpected_difference == pytest.approx(whole.relative_difference)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ML.METRICS(TABLE free.said, actual_col => 'truth', task_type => 'regression')", "predicted_col"),
        (
            "ML.METRICS(TABLE free.said, actual_col => 'class', predicted_col => 'yes', task_type => 'classification')",
            "two columns of STRING or two of BOOL",
        ),
        (
            "ML.CORRELATION(TABLE free.sample, target_col => 'city', target_correlation_cols => ['budget'])",
            "numbers",
        ),
        ("ML.CORRELATION(TABLE free.sample, target_col => 'revenue')", "target_correlation_cols"),
        (
            "AI.KEY_DRIVERS(TABLE free.sample, metric_col => 'revenue', dimension_cols => ['city'], "
            "interest_label_col => 'product')",
            "must be BOOL",
        ),
        (
            "AI.KEY_DRIVERS(TABLE free.sample, metric_col => 'revenue', dimension_cols => ['city'], "
            "interest_label_col => 'product', top_k => 3, min_apriori_support => 0.1)",
            "not both",
        ),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, text: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        client.query(f"SELECT * FROM {text}").result()
