"""TRANSFORM and the manual preprocessing functions of BigQuery ML, by the official client."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("prep")
    made.query(
        """CREATE TABLE prep.t AS SELECT x, MOD(x, 3) AS k, ['red', 'green', 'blue'][OFFSET(MOD(x, 3))] AS colour,
        3.0 * x + IF(MOD(x, 3) = 1, 100, 0) AS y FROM UNNEST(GENERATE_ARRAY(1, 600)) AS x"""
    ).result()
    return made


def column(client: bigquery.Client, expression: str, source: str) -> list[Any]:
    return [
        one[0]
        for one in answered(
            client, f"SELECT {expression} AS o FROM UNNEST({source}) AS f WITH OFFSET i ORDER BY i"
        )
    ]


# Google's reference has these results, and those of the next test.
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ML.STANDARD_SCALER(f) OVER ()", [-1.26491106407, -0.63245553203, 0, 0.63245553203, 1.26491106407]),
        ("ML.MIN_MAX_SCALER(f) OVER ()", [0, 0.25, 0.5, 0.75, 1]),
        ("ML.MAX_ABS_SCALER(f) OVER ()", [0.2, 0.4, 0.6, 0.8, 1]),
        ("ML.ROBUST_SCALER(f) OVER ()", [-1, -0.5, 0, 0.5, 1]),
        ("ML.QUANTILE_BUCKETIZE(f, 2) OVER ()", ["bin_1", "bin_1", "bin_2", "bin_2", "bin_2"]),
        ("ML.BUCKETIZE(f, [2, 4])", ["bin_1", "bin_2", "bin_2", "bin_3", "bin_3"]),
        ("ML.BUCKETIZE(f, [1, 3, 5], TRUE)", ["bin_1", "bin_1", "bin_2", "bin_2", "bin_2"]),
    ],
)  # fmt: skip
def test_numbers_are_scaled_and_bucketed(
    client: bigquery.Client, expression: str, expected: list[Any]
) -> None:
    found = column(client, expression, "[1, 2, 3, 4, 5]")
    assert found == pytest.approx(expected) if isinstance(expected[0], float | int) else found == expected


def test_categories_are_encoded(client: bigquery.Client) -> None:
    source = "[NULL, 'a', 'b', 'b', 'c', 'c', 'c', 'd', 'd']"
    assert column(client, "ML.LABEL_ENCODER(f, 2, 2) OVER ()", source) == [0, 0, 1, 1, 2, 2, 2, 0, 0]
    hot = column(client, "ML.ONE_HOT_ENCODER(f, 'most_frequent', 2, 2) OVER ()", source)
    assert hot[2] == [{"index": 1, "value": 1.0}] and hot[4] == [{"index": 2, "value": 0.0}]
    assert hot[0] == [{"index": 0, "value": 1.0}]
    assert column(client, "ML.IMPUTER(f, 'mean') OVER ()", "[NULL, -3, -3, -3, 1, 2]")[0] == pytest.approx(
        -1.2
    )
    [row] = answered(
        client,
        "SELECT ML.POLYNOMIAL_EXPAND(STRUCT(2 AS f1, 3 AS f2)), ML.FEATURE_CROSS(STRUCT('a' AS x, 'b' AS y)), "
        "ML.NGRAMS(['a', 'b', 'c'], [2, 3], '#'), ML.NORMALIZER([4.0, 1, 2, 2]), ML.LP_NORM([3.0, 4.0], 2), "
        "ML.DISTANCE([0.0, 3.0], [4.0, 0.0], 'EUCLIDEAN')",
    )
    assert row == (
        {"f1": 2.0, "f1_f1": 4.0, "f1_f2": 6.0, "f2": 3.0, "f2_f2": 9.0}, {"x_y": "a_b"},
        ["a#b", "a#b#c", "b#c"], [0.8, 0.2, 0.4, 0.4], 5.0, 5.0,
    )  # fmt: skip


def test_a_transform_keeps_what_it_saw_in_training(client: bigquery.Client) -> None:
    client.query(
        """CREATE OR REPLACE MODEL prep.m
        TRANSFORM(ML.STANDARD_SCALER(x) OVER () AS x, ML.ONE_HOT_ENCODER(colour) OVER () AS colour,
                  IF(x > 300, 1, 0) AS late, y)
        OPTIONS(model_type='linear_reg', input_label_cols=['y'], data_split_method='NO_SPLIT')
        AS SELECT x, colour, y FROM prep.t"""
    ).result()
    [row] = client.query(
        "SELECT * FROM ML.PREDICT(MODEL prep.m, (SELECT 301 AS x, 'green' AS colour, 'kept' AS other))"
    ).result()
    assert row.predicted_y == pytest.approx(1003.0) and (row.x, row.colour, row.other) == (
        301,
        "green",
        "kept",
    )
    [row] = client.query(
        "SELECT * FROM ML.TRANSFORM(MODEL prep.m, (SELECT 301 AS x, 'green' AS colour))"
    ).result()
    assert row.x == pytest.approx(0.5 / 173.349, rel=1e-3) and row.late == 1
    [row] = client.query("SELECT r2_score FROM ML.EVALUATE(MODEL prep.m, TABLE prep.t)").result()
    assert row.r2_score == pytest.approx(1.0)
    shown = client.get_model("prep.m")
    told = shown._properties["transformColumns"]
    assert [one["name"] for one in told] == ["x", "colour", "late", "y"]
    assert told[0]["type"] == {"typeKind": "FLOAT64"}
    assert told[1]["type"]["arrayElementType"]["structType"]["fields"][0] == {
        "name": "index", "type": {"typeKind": "INT64"},
    }  # fmt: skip
    assert [(one.name, one.type.type_kind) for one in shown.feature_columns] == [
        ("x", "INT64"), ("colour", "STRING"),
    ]  # fmt: skip


def test_feature_info_is_of_what_a_transform_reads(client: bigquery.Client) -> None:
    for kind in ("model_type='linear_reg', input_label_cols=['y']", "model_type='transform_only'"):
        client.query(
            f"""CREATE OR REPLACE MODEL prep.info TRANSFORM(ML.MIN_MAX_SCALER(x) OVER () AS x,
            ML.LABEL_ENCODER(colour) OVER () AS code, y) OPTIONS({kind})
            AS SELECT IF(x > 590, NULL, x) AS x, colour, k, y FROM prep.t"""
        ).result()
        rows = answered(
            client, "SELECT input, min, max, category_count, null_count FROM ML.FEATURE_INFO(MODEL prep.info)"
        )
        assert rows[0] == ("x", 1.0, 590.0, None, 10) and rows[1] == ("colour", None, None, 3, 0)
        assert [one[0] for one in rows] == ["x", "colour", *(["y"] if "only" in kind else [])]


def test_columns_that_a_transform_does_not_make_pass(client: bigquery.Client) -> None:
    client.query(
        """CREATE OR REPLACE MODEL prep.passing TRANSFORM(ML.MIN_MAX_SCALER(x) OVER () AS x,
        ML.LABEL_ENCODER(colour) OVER () AS code, y) OPTIONS(model_type='transform_only')
        AS SELECT IF(x > 590, NULL, x) AS x, colour, y FROM prep.t"""
    ).result()
    [row] = client.query(
        "SELECT * FROM ML.TRANSFORM(MODEL prep.passing, (SELECT 7 AS id, 590 AS x, 'red' AS colour, 1.5 AS y))"
    ).result()
    assert dict(row.items()) == {"x": 1.0, "code": 3, "y": 1.5, "id": 7, "colour": "red"}


def test_an_array_of_numbers_is_one_feature(client: bigquery.Client) -> None:
    client.query(
        """CREATE OR REPLACE MODEL prep.vectors
        OPTIONS(model_type='linear_reg', input_label_cols=['y'], data_split_method='NO_SPLIT')
        AS SELECT [x, 2.0 * x] AS v, y FROM prep.t"""
    ).result()
    [row] = client.query("SELECT * FROM ML.FEATURE_INFO(MODEL prep.vectors)").result()
    assert (row.input, row.min, row.max, row.dimension) == ("v", 1.0, 1200.0, 2)
    assert row.mean == pytest.approx(450.75)


def test_stars_are_written_out(client: bigquery.Client) -> None:
    client.query(
        """CREATE OR REPLACE MODEL prep.s TRANSFORM(* EXCEPT (k), ML.BUCKETIZE(x, [100, 200]) AS bucket)
        OPTIONS(model_type='linear_reg', input_label_cols=['y']) AS SELECT * FROM prep.t"""
    ).result()
    shown = client.get_model("prep.s")
    assert [one.name for one in shown.feature_columns] == ["x", "colour"]
    assert [one["name"] for one in shown._properties["transformColumns"]] == ["x", "colour", "y", "bucket"]


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("SUM(x) AS x, y", "Aggregation functions are not supported in TRANSFORM clause"),
        ("ROW_NUMBER() OVER () AS r, y", "OVER"),
        ("ML.STANDARD_SCALER(x) AS x, y", "OVER"),
        ("nothing AS x, y", "nothing"),
        ("x, x AS X, y", "Duplicate column aliases are disallowed in TRANSFORM clause"),
        ("x + 1, y", "Anonymous columns are disallowed in TRANSFORM clause. Please provide a column name"),
        ("x - AVG(x) AS x, y", r"Aggregation functions are not supported in TRANSFORM clause: AVG\(x\)"),
        ("(SELECT 1) AS x, y", "subquer"),
        ("ML.DECODE_IMAGE(x) AS x, y", "DECODE_IMAGE"),
    ],
)
def test_what_a_transform_can_not_do_is_said(client: bigquery.Client, clause: str, said: str) -> None:
    options = "OPTIONS(model_type='linear_reg', input_label_cols=['y'])"
    text = f"CREATE MODEL prep.x TRANSFORM({clause}) {options} AS SELECT * FROM prep.t"
    with pytest.raises(
        (exceptions.BadRequest, exceptions.MethodNotImplemented, exceptions.GoogleAPICallError), match=said
    ):
        client.query(text).result()


def test_tf_idf_of_googlesql_tells_terms(client: bigquery.Client) -> None:
    documents = "SELECT 1 AS id, ['I', 'pie', 'pie'] AS f UNION ALL SELECT 2, ['yum', 'pie']"
    [(one,), (two,)] = answered(client, f"SELECT TF_IDF(f, 2, 1) OVER () FROM ({documents}) ORDER BY id")
    [(same,), _] = answered(client, f"SELECT ML.TF_IDF(f, 2, 1) OVER () FROM ({documents}) ORDER BY id")
    assert [each["term"] for each in one] == ["I", "pie"] and [each["term"] for each in two] == [None, "pie"]
    assert [each["tf_idf"] for each in one] == [each["value"] for each in same]


def test_distances_of_sparse_vectors_match_what_is_named(client: bigquery.Client) -> None:
    vectors = "[STRUCT('a' AS k, 1.0 AS v), ('b', 2.0)], [STRUCT('b' AS k, 2.0 AS v), ('c', 1.0)]"
    numbered = "[(7, NUMERIC '1'), (8, 2)], [(8, NUMERIC '2'), (9, 1)]"
    [row] = answered(
        client,
        f"SELECT ML.DISTANCE({vectors}), ML.DISTANCE({vectors}, 'MANHATTAN'), ML.DISTANCE({numbered}, 'COSINE'), "
        "ML.DISTANCE([NUMERIC '1', 2], [NUMERIC '2.5', 2]), ML.DISTANCE([1, 2], [1.5, 2.0]), "
        "ML.DISTANCE(CAST(NULL AS ARRAY<FLOAT64>), [1.0])",
    )
    assert row == (pytest.approx(2**0.5), 2.0, pytest.approx(0.2), 1.5, 0.5, None)


# Google's reference has these results.
def test_ranges_are_written_as_googles(client: bigquery.Client) -> None:
    text = "ML.QUANTILE_BUCKETIZE(f, 3, '{}') OVER ()"
    assert column(client, text.format("bucket_ranges"), "[1, 2, 3, 4, 5]") == [
        "(-inf, 2)", "[2, 4)", "[2, 4)", "[4, +inf)", "[4, +inf)",
    ]  # fmt: skip
    told = column(client, text.format("bucket_ranges_json"), "[1, 2, 3, 4, 5]")
    assert (told[0], told[4]) == ('{"start": "-Infinity", "end": "2"}', '{"start": "4", "end": "Infinity"}')
    assert column(client, "ML.BUCKETIZE(f, [1, 2.5, 3], FALSE, 'bucket_ranges')", "[2.5, 0]") == [
        "[2.5, 3)", "(-inf, 1)",
    ]  # fmt: skip
    assert column(client, "ML.BUCKETIZE(f, GENERATE_ARRAY(1, 3, 1), TRUE)", "[0, 2]") == ["bin_1", "bin_2"]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("ML.DISTANCE([1.0], [1.0, 2.0])", "two arrays of one length, and they have 1 and 2"),
        ("ML.DISTANCE([('a', 1), ('a', 2)], [('b', 1)])", "Duplicate index found in the input array"),
        ("ML.NGRAMS(['a'], 2)", r"ML.NGRAMS takes \(an array of strings, an array \[low, high\]"),
        ("ML.BUCKETIZE(1, [2, 1])", "points in order"),
        ("ML.IMPUTER(1.0) OVER ()", "'mean', 'median' or 'most_frequent'"),
        ("TF_IDF(['a']) OVER (ORDER BY 1)", r"TF_IDF takes nothing within OVER \(\)"),
    ],
)
def test_what_a_function_takes_is_said(client: bigquery.Client, expression: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        client.query(f"SELECT {expression}").result()
