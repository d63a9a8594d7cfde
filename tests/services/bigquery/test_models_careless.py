"""BigQuery ML in careless and hostile hands: what can't be right is refused in words, and nothing is dropped."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("rough")
    made.query(
        """CREATE TABLE rough.rows AS SELECT x,
        CAST(MOD(x, 5) AS STRING) AS s, IF(MOD(x * 7, 11) > 4, 'a', 'b') AS kind,
        3.0 * x + MOD(x, 5) AS y FROM UNNEST(GENERATE_ARRAY(1, 200)) AS x"""
    ).result()
    made.query(model("known", "linear_reg", "y", "SELECT x, s, y FROM rough.rows")).result()
    return made


def model(name: str, kind: str, label: str, query: str, options: str = "") -> str:
    return (
        f"CREATE OR REPLACE MODEL rough.{name} OPTIONS(model_type='{kind}', input_label_cols=['{label}']{options}) "
        f"AS {query}"
    )


def refused(client: bigquery.Client, text: str) -> str:
    with pytest.raises(exceptions.BadRequest) as caught:
        client.query(text).result()
    return str(caught.value)


@pytest.mark.parametrize("columns", ["x, x, y", "x, s AS X, y", "x, y, y AS Y"])
def test_two_columns_of_one_name_are_neither_trained_on_nor_predicted(
    client: bigquery.Client, columns: str
) -> None:
    assert "Duplicate column name" in refused(
        client, model("two", "linear_reg", "y", f"SELECT {columns} FROM rough.rows")
    )
    query = "SELECT 5.0 AS x, 6 AS X, '1' AS s"
    assert "Duplicate column name" in refused(
        client, f"SELECT * FROM ML.PREDICT(MODEL rough.known, ({query}))"
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("max_iterations = CAST('inf' AS FLOAT64)", "finite"),
        ("l2_reg = CAST('nan' AS FLOAT64)", "finite"),
        ("expiration_timestamp = 'tomorrow'", "EXPIRATION_TIMESTAMP must be a TIMESTAMP"),
        ("labels = [('A b', 'x')]", "lower-case"),
        ("labels = [('a', 'x'), ('a', 'y')]", "twice"),
        ("description = REPLACE(REPEAT('x', 1000000), 'x', 'xxxxxxxxxxxxxxxxxxxx')", "bytes"),
        ("instance_weight_col = 's'", "must be numbers"),
        ("instance_weight_col = 'y'", "is the label"),
        ("instance_weight_col = 'none'", "not all of them 0"),
        ("data_split_col = 'x'", "needs DATA_SPLIT_METHOD"),
        ("data_split_method = 'CUSTOM', data_split_col = 's'", "TRAIN, EVAL or TEST"),
        ("num_trials = 2, l2_reg = HPARAM_RANGE('a', 'b')", "two numbers"),
        ("num_trials = 2, l2_reg = HPARAM_CANDIDATES(5)", "array"),
        ("num_trials = 2, l2_reg = HPARAM_CANDIDATES(GENERATE_ARRAY(1, 3000000))", "bytes"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(client: bigquery.Client, option: str, said: str) -> None:
    query = "SELECT x, s, y, 0 AS `none` FROM rough.rows"
    assert said in refused(client, model("odd", "linear_reg", "y", query, f", {option}"))


@pytest.mark.parametrize("weights", ["('a', -1.0)", "('a', CAST('nan' AS FLOAT64))", "('a', 0.0), ('b', 0)"])
def test_weights_of_classes_are_numbers_from_0(client: bigquery.Client, weights: str) -> None:
    query, option = "SELECT x, kind FROM rough.rows", f", class_weights = [{weights}]"
    assert "CLASS_WEIGHTS must be finite" in refused(
        client, model("odd", "logistic_reg", "kind", query, option)
    )


@pytest.mark.parametrize(
    "label", ["[x]", "STRUCT(x AS a)", "b'a'", "INTERVAL x DAY", "IF(x < 9, CAST('nan' AS FLOAT64), 1)"]
)
def test_what_is_no_class_is_refused(client: bigquery.Client, label: str) -> None:
    query = f"SELECT x, {label} AS kind FROM rough.rows"
    assert "Label column kind" in refused(client, model("odd", "logistic_reg", "kind", query))


def test_what_is_no_feature_is_refused(client: bigquery.Client) -> None:
    query = "SELECT INTERVAL x DAY AS i, y FROM rough.rows"
    assert "no feature" in refused(client, model("odd", "linear_reg", "y", query))


def test_a_model_expires_and_alter_reads_as_create_does(client: bigquery.Client) -> None:
    at = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
    option = ", expiration_timestamp = TIMESTAMP '2100-01-01'"
    client.query(model("brief", "linear_reg", "y", "SELECT x, y FROM rough.rows", option)).result()
    assert client.get_model("rough.brief").expires == at
    for wrong in ("expiration_timestamp = 5", "description = 5", "labels = 5"):
        assert "must be" in refused(client, f"ALTER MODEL rough.brief SET OPTIONS ({wrong})")
    client.query(
        "ALTER MODEL rough.brief SET OPTIONS (expiration_timestamp = NULL, labels = [('a', 'b')])"
    ).result()
    found = client.get_model("rough.brief")
    assert found.expires is None and found.labels == {"a": "b"}


def test_a_field_of_a_struct_and_a_column_of_its_name_are_two_features(client: bigquery.Client) -> None:
    query = "SELECT x * x AS a_b, STRUCT(x AS b) AS a, 1.0 * x * x - 4 * x AS y FROM rough.rows"
    client.query(model("struct", "linear_reg", "y", query)).result()
    [(found,)] = answered(
        client,
        "SELECT predicted_y FROM ML.PREDICT(MODEL rough.struct, (SELECT 49 AS a_b, STRUCT(7 AS b) AS a))",
    )
    assert found == pytest.approx(49 - 28)


def test_an_array_that_is_longer_than_in_training_is_refused(client: bigquery.Client) -> None:
    client.query(model("arrays", "linear_reg", "y", "SELECT [x, x * x] AS a, y FROM rough.rows")).result()
    for array in ("[1, 2, 3]", "[1]"):
        assert "Column a[" in refused(
            client, f"SELECT * FROM ML.PREDICT(MODEL rough.arrays, (SELECT {array} AS a))"
        )


@pytest.mark.parametrize(("one", "other"), [("a b", "a_b"), ("A", "a"), ("expected_label", "x"), ("é", "ü")])
def test_a_confusion_matrix_has_a_column_for_every_class(
    client: bigquery.Client, one: str, other: str
) -> None:
    query = f"SELECT x, IF(x < 80, '{one}', '{other}') AS kind FROM rough.rows"
    client.query(model("names", "logistic_reg", "kind", query, ", data_split_method='NO_SPLIT'")).result()
    rows = answered(client, "SELECT * FROM ML.CONFUSION_MATRIX(MODEL rough.names)")
    assert {row[0]: sum(row[1:]) for row in rows} == {one: 79, other: 121}
    assert {len(row) for row in rows} == {3}


def test_a_numeric_class_is_what_it_is_cast_to(client: bigquery.Client) -> None:
    query = "SELECT x, IF(x < 80, NUMERIC '1.5', 20) AS kind FROM rough.rows"
    client.query(model("numeric", "logistic_reg", "kind", query)).result()
    assert answered(
        client,
        "SELECT predicted_kind FROM ML.PREDICT(MODEL rough.numeric, (SELECT x FROM UNNEST([1, 200]) AS x)) ORDER BY 1",
    ) == [("1.5",), ("20",)]
    for label in ("1.5", "NUMERIC '1.5'", "BIGNUMERIC '1.5'", "'1.5'", "20"):
        answered(
            client,
            f"SELECT * FROM ML.EVALUATE(MODEL rough.numeric, (SELECT 1 AS x, {label} AS kind))",
        )


@pytest.mark.parametrize(
    ("function", "setting", "said"),
    [
        ("PREDICT", "0.4 AS threshold", "only for models of two classes"),
        ("EVALUATE", "0.4 AS threshold", "only for models of two classes"),
        ("EXPLAIN_PREDICT", "0.4 AS threshold", "only for models of two classes"),
        ("EXPLAIN_PREDICT", "TRUE AS approx_feature_contrib", "no argument approx_feature_contrib"),
        (
            "EXPLAIN_PREDICT",
            "9 AS integrated_gradients_num_steps",
            "no argument integrated_gradients_num_steps",
        ),
        ("EXPLAIN_PREDICT", "9 AS max_output_tokens", "no argument max_output_tokens"),
    ],
)
def test_a_setting_that_a_model_has_no_use_for_is_refused(
    client: bigquery.Client, function: str, setting: str, said: str
) -> None:
    query = f"SELECT * FROM ML.{function}(MODEL rough.known, TABLE rough.rows, STRUCT({setting}))"
    assert said in refused(client, query)


def test_a_whole_label_beyond_doubles_is_evaluated(client: bigquery.Client) -> None:
    query = "SELECT 1 AS x, '1' AS s, 9007199254740993 AS y"
    [(error,)] = answered(
        client, f"SELECT mean_absolute_error FROM ML.EVALUATE(MODEL rough.known, ({query}))"
    )
    assert error == pytest.approx(9007199254740989)


def test_more_numbers_than_the_machine_holds_are_refused_before_they_are_made(
    client: bigquery.Client,
) -> None:
    query = "SELECT CAST(MOD(x, 90000) AS STRING) AS s, x AS y FROM UNNEST(GENERATE_ARRAY(1, 2000000)) AS x"
    assert "GiB" in refused(client, model("wide", "linear_reg", "y", query, ", data_split_method='NO_SPLIT'"))


def test_a_transform_replaces_columns_of_a_star(client: bigquery.Client) -> None:
    made = model("starred", "linear_reg", "y", "SELECT x, s, y FROM rough.rows")
    client.query(made.replace("OPTIONS", "TRANSFORM(* EXCEPT (s) REPLACE (x * 2 AS x)) OPTIONS")).result()
    query = "SELECT x, y FROM ML.TRANSFORM(MODEL rough.starred, (SELECT 5 AS x, 'a' AS s, 1.5 AS y))"
    assert answered(client, query) == [(10, 1.5)]
    assert "EXCEPT and REPLACE" in refused(
        client, made.replace("OPTIONS", "TRANSFORM(* REPLACE (1 AS z)) OPTIONS")
    )


@pytest.mark.parametrize("thresholds", ["['a']", "[NULL, 0.5]", "[CAST('nan' AS FLOAT64)]"])
def test_thresholds_are_numbers(client: bigquery.Client, thresholds: str) -> None:
    client.query(model("curve", "logistic_reg", "kind", "SELECT x, kind FROM rough.rows")).result()
    assert "array of numbers" in refused(
        client, f"SELECT * FROM ML.ROC_CURVE(MODEL rough.curve, TABLE rough.rows, {thresholds})"
    )
    assert answered(client, "SELECT * FROM ML.ROC_CURVE(MODEL rough.curve, TABLE rough.rows, [0.2, 0.5])")
