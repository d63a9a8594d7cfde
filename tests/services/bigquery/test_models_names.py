"""Functions that BigQuery ML has and Portico has not, or that nobody has: what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import connected


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("named")
    made.query("CREATE TABLE named.t AS SELECT DATE '2024-01-01' AS day, 1.0 AS x").result()
    made.query(
        "CREATE MODEL named.m OPTIONS(model_type='linear_reg', input_label_cols=['x']) AS SELECT day, x FROM named.t"
    ).result()
    return made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT AI.GENERATE('hi', endpoint => 'gemini-2.0-flash')", "AI.GENERATE needs Gemini"),
        ("SELECT AI.GENERATE_BOOL('hi').result", "Gemini"),
        ("SELECT AI.SIMILARITY('a', 'b', endpoint => 'text-embedding-005')", "embedding model"),
        ("SELECT * FROM AI.GENERATE_TEXT(MODEL named.m, (SELECT 'x' AS prompt))", "Gemini"),
        (
            "SELECT * FROM ML.UNDERSTAND_TEXT(MODEL named.m, TABLE named.t, STRUCT('x' AS nlu_option))",
            "service",
        ),
        (
            "SELECT * FROM AI.FORECAST(TABLE named.t, data_col => 'x', timestamp_col => 'day', model => 'TimesFM 2.0')",
            "TimesFM, which is not on this machine; an ARIMA_PLUS model forecasts by ML.FORECAST",
        ),
        (
            "UPDATE named.t SET x = AI.GENERATE_DOUBLE('x').result WHERE AI.IF(('is ', x))",
            "AI.IF|AI.GENERATE_DOUBLE",
        ),
        (
            "FROM named.t |> WHERE AI.IF(('good? ', CAST(x AS STRING)), connection_id => 'us.c')",
            "AI.IF needs Gemini",
        ),
        (
            "SELECT day FROM named.t ORDER BY AI.SCORE(('rate ', CAST(x AS STRING))) LIMIT 3",
            "AI.SCORE needs Gemini",
        ),
        (
            "SELECT * FROM named.t JOIN AI.DETECT_ANOMALIES(TABLE named.t, TABLE named.t, data_col => 'x', "
            "timestamp_col => 'day') USING (day)",
            "AI.DETECT_ANOMALIES needs TimesFM",
        ),
        ("SELECT ML.DECODE_IMAGE(b'x')", "ML.DECODE_IMAGE is not built in Portico"),
    ],
)
def test_what_is_not_built_is_unimplemented(client: bigquery.Client, text: str, said: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match=said):
        client.query(text).result()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT ML.NONSENSE(1)", "Function not found: ML.NONSENSE"),
        ("SELECT * FROM ML.NONSENSE(MODEL named.m)", "Table-valued function not found: ML.NONSENSE"),
        ("SELECT ML.PREDICT(MODEL named.m, TABLE named.t)", "stands in FROM"),
        ("SELECT * FROM ML.PREDICT(TABLE named.t)", "ML.PREDICT needs a model"),
        (
            "SELECT * FROM ML.WEIGHTS(MODEL named.m, STRUCT(TRUE AS keep_original_columns))",
            "ML.WEIGHTS has no argument keep_original_columns",
        ),
        (
            "SELECT * FROM ML.PREDICT(MODEL named.m, TABLE named.t, STRUCT('x' AS keep_original_columns))",
            "KEEP_ORIGINAL_COLUMNS must be TRUE or FALSE",
        ),
        (
            "SELECT * FROM ML.TRANSFORM(MODEL named.m, TABLE named.t, STRUCT(1 AS a))",
            "ML.TRANSFORM has no argument a",
        ),
    ],
)
def test_what_nobody_has_is_not_found(client: bigquery.Client, text: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        client.query(text).result()
