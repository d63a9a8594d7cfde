"""What passes through ML functions, and what is said of what does not: types, arguments, names, warnings."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("passing")
    made.query(
        "CREATE TABLE passing.t AS SELECT x, MOD(x, 7) AS k, 2.0 * x AS y FROM UNNEST(GENERATE_ARRAY(1, 600)) AS x"
    ).result()
    made.query(
        "CREATE MODEL passing.m OPTIONS(model_type='linear_reg', input_label_cols=['y']) AS SELECT x, y FROM passing.t"
    ).result()
    made.query(
        """CREATE MODEL passing.shaped TRANSFORM(x * 2 AS x, y) OPTIONS(model_type='linear_reg',
        input_label_cols=['y']) AS SELECT x, y FROM passing.t"""
    ).result()
    return made


def warnings(client: bigquery.Client, text: str) -> str:
    job = client.query(text)
    job.result()
    return " ".join(one["message"] for one in job._properties["status"].get("errors", ()))


@pytest.mark.parametrize("model", ["m", "shaped"])
def test_columns_keep_their_types(client: bigquery.Client, model: str) -> None:
    found = client.query(
        f"""SELECT * FROM ML.PREDICT(MODEL passing.{model}, (SELECT 1 AS x, JSON '{{"a": 1}}' AS j, [JSON '[1]'] AS js,
        STRUCT(JSON '2' AS a, 'x' AS b) AS s, [STRUCT(JSON 'true' AS z)] AS deep, ST_GEOGPOINT(1, 2) AS g, b'ab' AS b,
        BIGNUMERIC '1.5' AS n, DATETIME '2024-01-01' AS d, RANGE(DATE '2024-01-01', DATE '2024-02-01') AS r))"""
    ).result()
    kinds = {one.name: (one.field_type, one.mode) for one in found.schema}
    assert kinds["j"] == ("JSON", "NULLABLE") and kinds["js"] == ("JSON", "REPEATED")
    assert kinds["g"] == ("GEOGRAPHY", "NULLABLE") and kinds["b"] == ("BYTES", "NULLABLE")
    assert [one.field_type for one in found.schema if one.name == "s" for one in one.fields] == [
        "JSON",
        "STRING",
    ]
    assert (kinds["n"][0], kinds["d"][0], kinds["r"][0]) == ("BIGNUMERIC", "DATETIME", "RANGE")
    [row] = found
    assert row.j == {"a": 1} and row.js == [[1]] and row.s == {"a": 2, "b": "x"} and row.deep == [{"z": True}]
    assert row.g == "POINT(1 2)" and row.b == b"ab"
    told = answered(
        client,
        f"""SELECT JSON_VALUE(j, '$.a'), ROUND(ST_X(g), 6) FROM ML.PREDICT(MODEL passing.{model},
        (SELECT 1 AS x, JSON '{{"a": 5}}' AS j, ST_GEOGPOINT(3, 4) AS g))""",
    )
    assert told == [("5", 3.0)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT p.* FROM passing.t AS t, ML.PREDICT(MODEL passing.m, (SELECT t.x AS x)) AS p",
        "SELECT (SELECT predicted_y FROM ML.PREDICT(MODEL passing.m, (SELECT t.x AS x))) FROM passing.t AS t",
        "SELECT x FROM passing.t AS t WHERE EXISTS (SELECT 1 FROM ML.PREDICT(MODEL passing.m, (SELECT t.k AS x)))",
    ],
)
def test_an_argument_reads_nothing_of_the_query_around_it(client: bigquery.Client, text: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="Unrecognized name: t; the input of"):
        client.query(text).result()


def test_arguments_read_their_own(client: bigquery.Client) -> None:
    assert answered(
        client,
        """WITH t AS (SELECT 5 AS x) SELECT t.x, ROUND(p.predicted_y) FROM passing.t AS o JOIN
        ML.PREDICT(MODEL passing.m, (SELECT t.x, s.a FROM t, UNNEST([STRUCT(1 AS a)]) AS s)) AS p ON o.x = p.x
        CROSS JOIN t""",
    ) == [(5, 10.0)]


@pytest.mark.parametrize("name", ["ML__PREDICT", "`ML__PREDICT`", "ml__Predict"])
def test_the_inner_form_of_a_function_is_none(client: bigquery.Client, name: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="Function not found"):
        client.query(f"SELECT * FROM {name}('passing.m', (SELECT 1 AS x))").result()
    assert answered(client, f"SELECT '{name}(' AS a, 1 AS ML__x") == [(f"{name}(", 1)]


@pytest.mark.parametrize("call", ["RAND()", "LENGTH(GENERATE_UUID())", "LENGTH(SESSION_USER())"])
def test_transform_takes_nothing_that_changes_by_itself(client: bigquery.Client, call: str) -> None:
    with pytest.raises(exceptions.BadRequest, match="something else each time"):
        client.query(
            f"""CREATE MODEL passing.no TRANSFORM(x + {call} AS x, y) OPTIONS(model_type='linear_reg',
            input_label_cols=['y']) AS SELECT x, y FROM passing.t"""
        ).result()


def test_warnings_tell_of_infinite_values_and_of_unused_options(client: bigquery.Client) -> None:
    query = "SELECT IF(MOD(x, 200) = 0, CAST('inf' AS FLOAT64), x) AS x, {} FROM passing.t"
    told = warnings(
        client,
        "CREATE OR REPLACE MODEL passing.w OPTIONS(model_type='linear_reg', data_split_eval_fraction=0.5) AS "
        + query.format("y AS label"),
    )
    assert "Column x has 3 infinite values or NaN" in told and "DATA_SPLIT_EVAL_FRACTION is not used" in told
    told = warnings(
        client,
        "CREATE OR REPLACE MODEL passing.w OPTIONS(model_type='linear_reg', data_split_method='RANDOM', "
        "data_split_eval_fraction=0.5) AS SELECT k AS x, y AS label FROM passing.t",
    )
    assert "is not used" not in told and "infinite" not in told
    told = warnings(
        client,
        "CREATE OR REPLACE MODEL passing.w OPTIONS(model_type='kmeans', num_clusters=2) AS "
        + query.format("k"),
    )
    assert "Column x has 3 infinite values" in told


WORDS = """(SELECT 1 AS id, ['I', 'like', 'pie', 'pie', 'pie', NULL] AS f UNION ALL
    SELECT 2, ['yum', 'yum', 'pie', NULL] UNION ALL SELECT 3, ['I', 'yum', 'pie', NULL] UNION ALL
    SELECT 4, ['you', 'like', 'pie', NULL])"""


def test_tf_idf_weighs_terms(client: bigquery.Client) -> None:
    text = f"SELECT ML.{{}}(f, 3, 1) OVER () FROM {WORDS} ORDER BY id"
    bag = [
        {one["index"]: one["value"] for one in row[0]}
        for row in answered(client, text.format("BAG_OF_WORDS"))
    ]
    assert bag[:2] == [{0: 1, 1: 1, 2: 1, 3: 3}, {0: 3, 3: 1}]  # by the documents with a term: I, like, pie
    found = [
        {one["index"]: one["value"] for one in row[0]} for row in answered(client, text.format("TF_IDF"))
    ]
    assert found[0] == pytest.approx({0: 0.12679902142647365, 1: 0.1412163100645339, 2: 0.1412163100645339,
                                      3: 0.29389333245105953})  # fmt: skip
    assert found[1] == pytest.approx({0: 0.5705955964191315, 3: 0.14694666622552977})
    assert found[2] == pytest.approx({0: 0.380397064279421, 1: 0.21182446509680086, 3: 0.14694666622552977})
    client.query(
        f"""CREATE OR REPLACE MODEL passing.words TRANSFORM(ML.TF_IDF(f, 3, 1) OVER () AS f, id)
        OPTIONS(model_type='linear_reg', input_label_cols=['id'], l2_reg=1) AS SELECT * FROM {WORDS}"""
    ).result()
    [(told,)] = answered(
        client, "SELECT f FROM ML.TRANSFORM(MODEL passing.words, (SELECT ['pie', 'other'] AS f))"
    )
    assert {one["index"]: one["value"] for one in told} == pytest.approx({0: 0.3803970643, 3: 0.2938933325})


def test_what_is_no_function_is_said(client: bigquery.Client) -> None:
    with pytest.raises(exceptions.GoogleAPICallError, match="needs OVER"):
        client.query("SELECT ML.TF_IDF(['a'], 1, 1)").result()
    with pytest.raises(exceptions.GoogleAPICallError, match="TF_IDF takes"):
        client.query("SELECT ML.TF_IDF(f, 'x') OVER () FROM (SELECT ['a'] AS f)").result()
