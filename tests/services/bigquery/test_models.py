"""BigQuery ML by the official client: models are made by SQL, asked by SQL, and shown and changed by the API."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from sklearn.linear_model import LogisticRegression
from tests.services.bigquery.test_bigquery import answered, connected

ROWS = 900


def penguins() -> pd.DataFrame:
    draw = np.random.default_rng(3)
    species = draw.choice(["adelie", "chinstrap", "gentoo"], ROWS)
    length = draw.normal(45, 5, ROWS)
    depth = draw.normal(17, 2, ROWS)
    mass = 1200 + 60 * length + 20 * depth + 300 * (species == "gentoo") + draw.normal(0, 90, ROWS)
    heavy = np.where(mass + draw.normal(0, 300, ROWS) > 4300, "heavy", "light")
    return pd.DataFrame({"species": species, "length": length, "depth": depth, "mass": mass, "kind": heavy})


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("birds")
    made.load_table_from_dataframe(penguins(), "birds.penguins").result()
    return made


@pytest.fixture(scope="module")
def mass(client: bigquery.Client) -> str:
    job = client.query(
        """CREATE OR REPLACE MODEL birds.mass
        OPTIONS(model_type='LINEAR_REG', input_label_cols=['mass'], category_encoding_method='DUMMY_ENCODING',
                calculate_p_values=TRUE, enable_global_explain=TRUE, data_split_method='NO_SPLIT',
                description='grams', labels=[('team', 'zoo')])
        AS SELECT species, length, depth, mass FROM birds.penguins"""
    )
    job.result()
    assert job.statement_type == "CREATE_MODEL" and job.ddl_operation_performed == "CREATE"
    assert job.destination.table_id == "mass"
    told = client.get_job(job.job_id)._properties["statistics"]["query"]["mlStatistics"]
    assert (told["modelType"], told["trainingType"]) == ("LINEAR_REGRESSION", "SINGLE_TRAINING")
    assert [one["index"] for one in told["iterationResults"]] == list(range(len(told["iterationResults"])))
    assert told["iterationResults"][-1]["trainingLoss"] > 0 and "hparamTrials" not in told
    return "birds.mass"


def test_weights_errors_and_p_values_are_statsmodels(client: bigquery.Client, mass: str) -> None:
    import statsmodels.api as sm

    table = penguins()
    order = list(table.species.value_counts().sort_index().sort_values(ascending=False, kind="stable").index)
    design = pd.DataFrame({one: (table.species == one).astype(float) for one in order[1:]})
    design["length"], design["depth"], design["const"] = table.length, table.depth, 1.0
    reference = sm.OLS(table.mass, design).fit()
    found = {
        (row.processed_input, row.category): row
        for row in client.query(f"SELECT * FROM ML.ADVANCED_WEIGHTS(MODEL {mass})").result()
    }
    for name, key in (
        ("length", ("length", None)), ("depth", ("depth", None)), *((one, ("species", one)) for one in order[1:])
    ):  # fmt: skip
        row = found[key]
        assert row.weight == pytest.approx(reference.params[name], rel=1e-6)
        assert row.standard_error == pytest.approx(reference.bse[name], rel=1e-6)
        assert row.p_value == pytest.approx(reference.pvalues[name], rel=1e-6, abs=1e-12)
    baseline, intercept = found["species", order[0]], found["__INTERCEPT__", None]
    assert (baseline.weight, baseline.standard_error) == (0, 0) and np.isnan(baseline.p_value)
    assert intercept.weight == pytest.approx(reference.params["const"], rel=1e-6)
    assert (intercept.standard_error, intercept.p_value) == (None, None)  # of the standardized features only
    for name in ("length", "depth"):
        design[name] = (design[name] - design[name].mean()) / design[name].std(ddof=0)
    scaled = sm.OLS(table.mass, design).fit()
    [intercept] = client.query(
        f"""SELECT * FROM ML.ADVANCED_WEIGHTS(MODEL {mass}, STRUCT(TRUE AS standardize))
        WHERE processed_input = '__INTERCEPT__'"""
    ).result()
    assert intercept.standard_error == pytest.approx(scaled.bse["const"], rel=1e-6)
    assert intercept.p_value == pytest.approx(scaled.pvalues["const"], abs=1e-12)
    [(told,)] = answered(
        client, f"SELECT category_weights FROM ML.WEIGHTS(MODEL {mass}) WHERE processed_input = 'species'"
    )
    assert [one["category"] for one in told] == order and told[0]["weight"] == 0


def test_an_intercept_alone_with_numbers_has_a_p_value(client: bigquery.Client) -> None:
    import statsmodels.api as sm

    client.query(
        """CREATE OR REPLACE MODEL birds.plain OPTIONS(model_type='LINEAR_REG', input_label_cols=['mass'],
        category_encoding_method='DUMMY_ENCODING', calculate_p_values=TRUE, data_split_method='NO_SPLIT')
        AS SELECT length, depth, mass FROM birds.penguins"""
    ).result()
    table = penguins()
    reference = sm.OLS(table.mass, sm.add_constant(table[["length", "depth"]])).fit()
    [(error, p_value)] = answered(
        client,
        "SELECT standard_error, p_value FROM ML.ADVANCED_WEIGHTS(MODEL birds.plain) WHERE weight IS NOT NULL "
        "AND processed_input = '__INTERCEPT__'",
    )
    assert error == pytest.approx(reference.bse["const"], rel=1e-6)
    assert p_value == pytest.approx(reference.pvalues["const"], rel=1e-6, abs=1e-15)


def test_a_prediction_adds_up_and_keeps_the_columns(client: bigquery.Client, mass: str) -> None:
    rows = list(
        client.query(
            f"""WITH chosen AS (SELECT * FROM birds.penguins WHERE length > 50)
            SELECT e.*, p.predicted_mass AS again
            FROM ML.EXPLAIN_PREDICT(MODEL {mass}, TABLE chosen, STRUCT(3 AS top_k_features)) AS e
            JOIN ML.PREDICT(MODEL {mass}, (SELECT * FROM chosen)) AS p ON p.length = e.length"""
        ).result()
    )
    assert rows and {"species", "mass", "length"} <= set(rows[0].keys())
    for row in rows:
        told = sum(one["attribution"] for one in row.top_feature_attributions)
        assert row.baseline_prediction_value + told == pytest.approx(row.predicted_mass) == row.again
        assert row.prediction_value == pytest.approx(row.predicted_mass) and row.approximation_error == 0
    told = answered(client, f"SELECT feature FROM ML.GLOBAL_EXPLAIN(MODEL {mass})")
    assert told[0] == ("length",)


def test_log_odds_are_scikit_learns_at_the_same_penalty(client: bigquery.Client) -> None:
    client.query(
        """CREATE OR REPLACE MODEL birds.heavy OPTIONS(model_type='logistic_reg', input_label_cols=['kind'],
        l2_reg=2.0, data_split_method='NO_SPLIT') AS SELECT length, depth, kind FROM birds.penguins"""
    ).result()
    table = penguins()
    values = table[["length", "depth"]]
    scaled = (values - values.mean()) / values.std(ddof=0)
    reference = LogisticRegression(C=1 / 2.0, tol=1e-10).fit(scaled, table.kind)
    found = dict(
        answered(
            client,
            "SELECT processed_input, weight FROM ML.WEIGHTS(MODEL birds.heavy, STRUCT(TRUE AS standardize))",
        )
    )
    assert found["length"] == pytest.approx(reference.coef_[0][0], abs=1e-5)
    assert found["depth"] == pytest.approx(reference.coef_[0][1], abs=1e-5)
    [row] = client.query("SELECT * FROM ML.EVALUATE(MODEL birds.heavy)").result()
    assert row.accuracy == pytest.approx(reference.score(scaled, table.kind), abs=0.01) and row.roc_auc > 0.8
    [first] = client.query(
        "SELECT * FROM ML.PREDICT(MODEL birds.heavy, (SELECT 60.0 AS length, 20.0 AS depth), STRUCT(0.9 AS threshold))"
    ).result()
    assert first.predicted_kind in ("heavy", "light")
    assert next(one["label"] for one in first.predicted_kind_probs) == "heavy"
    matrix = answered(client, "SELECT * FROM ML.CONFUSION_MATRIX(MODEL birds.heavy)")
    assert sum(sum(one[1:]) for one in matrix) == ROWS


def test_attributions_are_weights_times_values_and_of_the_class_that_is_predicted(
    client: bigquery.Client,
) -> None:
    client.query(
        """CREATE OR REPLACE MODEL birds.weighed OPTIONS(model_type='logistic_reg', input_label_cols=['kind'],
        l2_reg=1.0, data_split_method='NO_SPLIT') AS SELECT species, length, depth, kind FROM birds.penguins"""
    ).result()
    weights = {
        row.processed_input: row
        for row in client.query(
            "SELECT * FROM ML.WEIGHTS(MODEL birds.weighed, STRUCT(TRUE AS standardize))"
        ).result()
    }
    table = penguins()
    rows = client.query(
        "SELECT * FROM ML.EXPLAIN_PREDICT(MODEL birds.weighed, (SELECT * FROM birds.penguins LIMIT 50))"
    ).result()
    seen = set()
    for row in rows:
        side = 1 if row.predicted_kind == "light" else -1  # the positive class is the last one
        seen.add(side)
        told = {one["feature"]: one["attribution"] for one in row.top_feature_attributions}
        scaled = (row.length - table.length.mean()) / table.length.std(ddof=0)
        assert told["length"] == pytest.approx(side * weights["length"].weight * scaled)
        [own] = [
            one["weight"] for one in weights["species"].category_weights if one["category"] == row.species
        ]
        assert told["species"] == pytest.approx(side * own)
        assert row.baseline_prediction_value == pytest.approx(side * weights["__INTERCEPT__"].weight)
        assert row.baseline_prediction_value + sum(told.values()) == pytest.approx(row.prediction_value)
        assert 1 / (1 + np.exp(-row.prediction_value)) == pytest.approx(row.probability)
        assert row.approximation_error == 0
    assert seen == {1, -1}


def test_the_api_shows_and_changes_what_sql_made(client: bigquery.Client, mass: str) -> None:
    model = client.get_model(mass)
    assert (
        model.model_type == "LINEAR_REGRESSION"
        and model.description == "grams"
        and model.labels == {"team": "zoo"}
    )
    assert [one.name for one in model.feature_columns] == ["species", "length", "depth"]
    assert [one.name for one in model.label_columns] == ["mass"]
    metrics = model.training_runs[0]["evaluationMetrics"]["regressionMetrics"]
    [row] = client.query(f"SELECT * FROM ML.EVALUATE(MODEL {mass})").result()
    assert metrics["rSquared"] == pytest.approx(row.r2_score)
    model.description, model.labels = "mass in grams", {"team": "lab"}
    assert client.update_model(model, ["description", "labels"]).description == "mass in grams"
    client.query(f"ALTER MODEL {mass} SET OPTIONS(friendly_name='Mass')").result()
    assert client.get_model(mass).friendly_name == "Mass"
    assert mass.split(".")[1] in [one.model_id for one in client.list_models("birds")]
    client.query(
        "CREATE MODEL birds.gone OPTIONS(model_type='linear_reg') AS SELECT 1 AS x, 2 AS label"
    ).result()
    client.delete_model("birds.gone")
    with pytest.raises(exceptions.NotFound):
        client.get_model("birds.gone")
    client.query("DROP MODEL IF EXISTS birds.gone").result()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "CREATE MODEL birds.x OPTIONS(model_type='linear_reg', depth=3) AS SELECT 1 AS a, 2 AS label",
            "DEPTH",
        ),
        ("CREATE MODEL birds.x OPTIONS(model_type='nonsense') AS SELECT 1 AS a, 2 AS label", "NONSENSE"),
        (
            "CREATE MODEL birds.x OPTIONS(model_type='linear_reg', l2_reg=-1) AS SELECT 1 AS a, 2 AS label",
            "L2_REG",
        ),
        ("CREATE MODEL birds.x OPTIONS(model_type='linear_reg') AS SELECT 1 AS a, 'b' AS label", "label"),
        ("CREATE MODEL birds.x OPTIONS(model_type='linear_reg') AS SELECT 1 AS a", "INPUT_LABEL_COLS"),
        ("SELECT * FROM ML.PREDICT(MODEL birds.missing, (SELECT 1 AS a))", "birds.missing"),
        (
            "CREATE MODEL birds.x OPTIONS(model_type='linear_reg', l1_reg=1, optimize_strategy='NORMAL_EQUATION') "
            "AS SELECT 1 AS a, 2 AS label",
            "leave one of them out",
        ),
        (
            "CREATE MODEL birds.x OPTIONS(model_type='logistic_reg', input_label_cols=['kind'], "
            "class_weights=[('heavy', 1.0)]) AS SELECT length, kind FROM birds.penguins",
            "none for 'light'",
        ),
        ("SELECT * FROM ML.CENTROIDS(MODEL birds.mass)", "LINEAR_REG"),
        ("SELECT * FROM ML.PREDICT(MODEL birds.mass, (SELECT 1 AS a))", "species"),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, mass: str, text: str, said: str) -> None:
    with pytest.raises((exceptions.BadRequest, exceptions.NotFound), match=said):
        client.query(text).result()


def test_a_view_of_a_model_is_written_as_sql(client: bigquery.Client, mass: str) -> None:
    source = "(SELECT 'gentoo' AS species, 45.0 AS length, 17.0 AS depth)"
    client.query(
        f"CREATE OR REPLACE VIEW birds.v AS SELECT * FROM ML.PREDICT(MODEL {mass}, {source})"
    ).result()
    assert "ML.PREDICT(MODEL `birds.mass`, (SELECT" in client.get_table("birds.v").view_query
    [row] = client.query("SELECT * FROM birds.v").result()
    assert row.predicted_mass > 3000
    [shown] = client.query(
        "SELECT model_type FROM birds.INFORMATION_SCHEMA.MODELS WHERE model_name = 'mass'"
    ).result()
    assert shown.model_type == "LINEAR_REGRESSION"


def test_a_model_of_a_client_among_results_is_copied(client: bigquery.Client, mass: str) -> None:
    """As BigQuery DataFrames keeps a model until `to_gbq`."""
    job = client.query("SELECT 1")
    job.result()
    temporary = f"{client.project}.{job.destination.dataset_id}.bqml_1"
    client.query(f"CREATE MODEL `{temporary}` OPTIONS(model_type='linear_reg', input_label_cols=['mass']) AS "
                 "SELECT length, mass FROM birds.penguins").result()  # fmt: skip
    client.copy_table(temporary, f"{client.project}.birds.copied").result()
    assert client.get_model("birds.copied").model_type == "LINEAR_REGRESSION"
    client.delete_model("birds.copied")


def test_a_model_expires(client: bigquery.Client) -> None:
    text = """CREATE OR REPLACE MODEL birds.brief OPTIONS(model_type='linear_reg', expiration_timestamp=TIMESTAMP '{}')
    AS SELECT 1 AS x, 2 AS label"""
    client.query(text.format("2090-01-01")).result()
    assert client.get_model("birds.brief").expires.year == 2090
    client.query(text.format("2020-01-01")).result()
    with pytest.raises(exceptions.NotFound):
        client.get_model("birds.brief")


def test_an_ml_function_reads_what_another_answers(client: bigquery.Client, mass: str) -> None:
    [(twice, once)] = answered(
        client,
        f"""SELECT COUNT(*), (SELECT COUNT(*) FROM birds.penguins) FROM ML.PREDICT(MODEL {mass}, (
        SELECT p.* EXCEPT (predicted_mass) FROM birds.penguins AS b
        JOIN (SELECT * FROM ML.PREDICT(MODEL {mass}, TABLE birds.penguins)) AS p USING (length, depth, mass)))""",
    )
    assert twice == once


def test_labels_as_names_are_the_label_columns_of_older_statements(
    client: bigquery.Client, mass: str
) -> None:
    job = client.query(
        """CREATE OR REPLACE MODEL birds.older OPTIONS(model_type='LOGISTIC_REG', labels=['kind'], max_iterations=3)
        AS SELECT length, depth, kind FROM birds.penguins"""
    )
    job.result()
    model = client.get_model("birds.older")
    assert [one.name for one in model.label_columns] == ["kind"] and model.labels == {}
    with pytest.raises(exceptions.BadRequest, match="give one of them"):
        client.query(
            """CREATE OR REPLACE MODEL birds.older
            OPTIONS(model_type='LOGISTIC_REG', labels=['kind'], input_label_cols=['kind'])
            AS SELECT length, depth, kind FROM birds.penguins"""
        ).result()
