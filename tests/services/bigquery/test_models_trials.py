"""Hyperparameter tuning of BigQuery ML by the official client: trials, the best of them, and what is said of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

ROWS = 600


def fruits() -> pd.DataFrame:
    draw = np.random.default_rng(8)
    weight, sugar = draw.normal(150, 30, ROWS), draw.normal(12, 3, ROWS)
    price = 0.01 * weight + 0.1 * sugar**2 / 12 + draw.normal(0, 0.1, ROWS)
    ripe = np.where(sugar + draw.normal(0, 1, ROWS) > 12, "ripe", "green")
    return pd.DataFrame(
        {"number": np.arange(ROWS), "weight": weight, "sugar": sugar, "price": price, "ripe": ripe}
    )


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("fruit")
    made.load_table_from_dataframe(fruits(), "fruit.fruits").result()
    return made


def trained(client: bigquery.Client, name: str, kind: str, label: str, options: str) -> str:
    job = client.query(
        f"""CREATE OR REPLACE MODEL fruit.{name} OPTIONS(model_type='{kind}', input_label_cols=['{label}'], {options})
        AS SELECT weight, sugar, {label} FROM fruit.fruits ORDER BY number"""
    )
    job.result()
    told = job._properties["statistics"]["query"]["mlStatistics"]
    trials = client.get_model(f"fruit.{name}")._properties.get("hparamTrials", [])
    for one in trials:
        one.pop("evaluationMetrics", None)
    tunes = "num_trials" in options
    assert told["trainingType"] == ("HPARAM_TUNING" if tunes else "SINGLE_TRAINING")
    assert (
        told.get("hparamTrials", []) == trials and bool(trials) == (told["iterationResults"] == []) == tunes
    )
    return f"fruit.{name}"


@pytest.fixture(scope="module")
def ripe(client: bigquery.Client) -> str:
    return trained(
        client, "ripe", "BOOSTED_TREE_CLASSIFIER", "ripe",
        """num_trials=6, max_parallel_trials=2, max_tree_depth=HPARAM_RANGE(1, 5), max_iterations=4,
        learn_rate=HPARAM_RANGE(0.01, 1.0), booster_type=HPARAM_CANDIDATES(['GBTREE', 'DART']),
        hparam_tuning_objectives=['LOG_LOSS']""",
    )  # fmt: skip


def test_the_best_trial_is_the_model(client: bigquery.Client, ripe: str) -> None:
    rows = list(client.query(f"SELECT * FROM ML.TRIAL_INFO(MODEL {ripe}) ORDER BY trial_id").result())
    assert list(rows[0].keys()) == [
        "trial_id", "hyperparameters", "hparam_tuning_evaluation_metrics", "training_loss", "eval_loss", "status",
        "error_message", "is_optimal",
    ]  # fmt: skip
    assert [row.trial_id for row in rows] == [1, 2, 3, 4, 5, 6] and {row.status for row in rows} == {
        "SUCCEEDED"
    }
    assert all(1 <= row.hyperparameters["max_tree_depth"] <= 5 for row in rows)
    assert {row.hyperparameters["booster_type"] for row in rows} <= {"GBTREE", "DART"}
    losses = [row.hparam_tuning_evaluation_metrics["log_loss"] for row in rows]
    [best] = [row for row in rows if row.is_optimal]
    assert best.hparam_tuning_evaluation_metrics["log_loss"] == min(losses)
    assert best.eval_loss == pytest.approx(min(losses), rel=1e-4)
    [first] = client.query(f"SELECT * FROM ML.PREDICT(MODEL {ripe}, (SELECT 150.0 AS weight, 20.0 AS sugar))")
    assert first.trial_id == best.trial_id and first.predicted_ripe == "ripe"


def test_functions_are_asked_of_a_trial(client: bigquery.Client, ripe: str) -> None:
    evaluated = answered(client, f"SELECT trial_id, log_loss FROM ML.EVALUATE(MODEL {ripe})")
    assert [one for one, _ in evaluated] == [1, 2, 3, 4, 5, 6]
    told = client.query(f"SELECT * FROM ML.EVALUATE(MODEL {ripe}, STRUCT(2 AS trial_id))").result()
    assert [(row.trial_id, row.log_loss) for row in told] == [evaluated[1]]
    probs = [
        next(iter(answered(client, f"""SELECT trial_id, predicted_ripe_probs[0].prob FROM ML.PREDICT(MODEL {ripe},
        (SELECT 150.0 AS weight, 20.0 AS sugar), STRUCT({number} AS trial_id))""")))
        for number in (1, 2)
    ]  # fmt: skip
    assert [one[0] for one in probs] == [1, 2] and probs[0][1] != probs[1][1]
    counted = answered(client, f"SELECT * FROM ML.CONFUSION_MATRIX(MODEL {ripe}, STRUCT(1 AS trial_id))")
    assert sum(sum(row[2:]) for row in counted) == ROWS // 10  # of the rows to test on
    assert {
        one for (one,) in answered(client, f"SELECT trial_id FROM ML.TRAINING_INFO(MODEL {ripe})")
    } == set(range(1, 7))
    assert len(answered(client, f"SELECT input FROM ML.FEATURE_INFO(MODEL {ripe})")) == 2
    with pytest.raises(exceptions.BadRequest, match="trial_id is 9"):
        client.query(f"SELECT * FROM ML.EVALUATE(MODEL {ripe}, STRUCT(9 AS trial_id))").result()


def test_the_api_shows_trials(client: bigquery.Client, ripe: str) -> None:
    shown = client.get_model(ripe)
    raw = shown.to_api_repr()
    assert [one["trialId"] for one in raw["hparamTrials"]] == ["1", "2", "3", "4", "5", "6"]
    assert raw["optimalTrialIds"] == [raw["defaultTrialId"]]
    spaces = raw["hparamSearchSpaces"]
    assert spaces["maxTreeDepth"] == {"range": {"min": "1", "max": "5"}}
    assert spaces["learnRate"] == {"range": {"min": 0.01, "max": 1.0}}
    assert spaces["boosterType"] == {"candidates": ["GBTREE", "DART"]}
    assert len(shown.training_runs) == 6
    first = raw["hparamTrials"][0]
    assert first["hparams"]["numTrials"] == "6" and "maxTreeDepth" in first["hparams"]
    told = first["hparamTuningEvaluationMetrics"]["binaryClassificationMetrics"]
    assert "logLoss" in told["aggregateClassificationMetrics"]


def test_without_spaces_the_default_ones_are_searched(client: bigquery.Client) -> None:
    for name in ("price", "again"):
        trained(client, name, "LINEAR_REG", "price", "num_trials=4, data_split_method='RANDOM', l1_reg=0.0")
    rows = list(client.query("SELECT * FROM ML.TRIAL_INFO(MODEL fruit.price) ORDER BY trial_id").result())
    assert [set(row.hyperparameters) for row in rows] == [{"l2_reg"}] * 4
    assert all(0 < row.hyperparameters["l2_reg"] <= 10 for row in rows)
    [best] = [row for row in rows if row.is_optimal]
    assert best.hparam_tuning_evaluation_metrics["r2_score"] == max(
        row.hparam_tuning_evaluation_metrics["r2_score"] for row in rows
    )
    again = client.query("SELECT * FROM ML.TRIAL_INFO(MODEL fruit.again) ORDER BY trial_id").result()
    assert [row.hyperparameters for row in again] == [row.hyperparameters for row in rows]
    assert (
        len(answered(client, "SELECT * FROM ML.WEIGHTS(MODEL fruit.price, STRUCT(TRUE AS standardize))"))
        == 12
    )


def test_a_grid_is_searched_whole(client: bigquery.Client) -> None:
    model = trained(
        client, "grid", "LOGISTIC_REG", "ripe",
        """num_trials=10, hparam_tuning_algorithm='GRID_SEARCH', l1_reg=HPARAM_CANDIDATES([0, 1]),
        l2_reg=HPARAM_CANDIDATES([0.1, 10])""",
    )  # fmt: skip
    told = answered(client, f"SELECT hyperparameters FROM ML.TRIAL_INFO(MODEL {model}) ORDER BY trial_id")
    assert [tuple(one.values()) for (one,) in told] == [(0, 0.1), (0, 10), (1, 0.1), (1, 10)]


def test_a_trial_that_can_not_be_is_told(client: bigquery.Client) -> None:
    model = trained(
        client, "some", "BOOSTED_TREE_REGRESSOR", "price",
        """num_trials=4, hparam_tuning_algorithm='GRID_SEARCH', max_iterations=2, dropout=0.5,
        booster_type=HPARAM_CANDIDATES(['GBTREE', 'DART'])""",
    )  # fmt: skip
    told = answered(
        client, f"SELECT status, error_message FROM ML.TRIAL_INFO(MODEL {model}) ORDER BY trial_id"
    )
    assert [one for one, _ in told] == ["INFEASIBLE", "SUCCEEDED"] and "DROPOUT" in told[0][1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("l1_reg=HPARAM_RANGE(0, 1)", "NUM_TRIALS"),
        ("num_trials=2, min_rel_progress=HPARAM_RANGE(0, 1)", "MIN_REL_PROGRESS can't be tuned"),
        ("num_trials=2, l1_reg=HPARAM_RANGE(-1, 1)", "L1_REG"),
        ("num_trials=2, l1_reg=HPARAM_RANGE(2, 1)", "L1_REG"),
        ("num_trials=2, l1_reg=0, l2_reg=0", "HPARAM_RANGE"),
        ("num_trials=2, hparam_tuning_objectives=['ROC_AUC']", "R2_SCORE"),
        ("num_trials=2, hparam_tuning_algorithm='GRID_SEARCH', l1_reg=HPARAM_RANGE(0, 1)", "GRID_SEARCH"),
    ],
)
def test_wrong_searches_are_said(client: bigquery.Client, options: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        trained(client, "wrong", "LINEAR_REG", "price", options)


def test_a_model_without_trials_says_so(client: bigquery.Client) -> None:
    trained(client, "plain", "LINEAR_REG", "price", "l2_reg=1")
    with pytest.raises(exceptions.BadRequest, match="NUM_TRIALS"):
        client.query("SELECT * FROM ML.TRIAL_INFO(MODEL fruit.plain)").result()


@pytest.mark.parametrize(
    ("name", "options", "objective", "searched"),
    [
        ("deep", "model_type='DNN_REGRESSOR', input_label_cols=['price'], max_iterations=2, "
         "hidden_units=HPARAM_CANDIDATES([STRUCT([4]), STRUCT([8, 4])]), optimizer=HPARAM_CANDIDATES(['ADAM', 'SGD'])",
         "r2_score", {"hidden_units", "optimizer"}),
        ("wide", "model_type='DNN_LINEAR_COMBINED_CLASSIFIER', input_label_cols=['ripe'], max_iterations=2, "
         "learn_rate=HPARAM_RANGE(0.001, 0.1), hidden_units=[4]", "roc_auc", {"learn_rate"}),
        ("near", "model_type='KMEANS'", "davies_bouldin_index", {"num_clusters"}),
        ("again", "model_type='AUTOENCODER', max_iterations=2, "
         "hidden_units=HPARAM_CANDIDATES([STRUCT([2]), STRUCT([3])]), "
         "dropout=HPARAM_RANGE(0, 0.5), hparam_tuning_objectives=['MEAN_ABSOLUTE_ERROR']",
         "mean_absolute_error", {"hidden_units", "dropout"}),
    ],
)  # fmt: skip
def test_networks_and_clusters_are_tuned(
    client: bigquery.Client, name: str, options: str, objective: str, searched: set[str]
) -> None:
    columns = "weight, sugar" + (", price" if name == "deep" else ", ripe" if name == "wide" else "")
    client.query(
        f"CREATE OR REPLACE MODEL fruit.{name} OPTIONS({options}, num_trials=3) AS SELECT {columns} FROM fruit.fruits"
    ).result()
    rows = list(client.query(f"SELECT * FROM ML.TRIAL_INFO(MODEL fruit.{name}) ORDER BY trial_id").result())
    assert len(rows) == 3 and {row.status for row in rows} == {"SUCCEEDED"}
    assert set(rows[0].hyperparameters) == searched
    values = [row.hparam_tuning_evaluation_metrics[objective] for row in rows]
    [best] = [place for place, row in enumerate(rows) if row.is_optimal]
    assert values[best] == (max if objective in ("r2_score", "roc_auc") else min)(values)
    assert len(list(client.query(f"SELECT * FROM ML.EVALUATE(MODEL fruit.{name})").result())) == 3
    row = f"(SELECT 150.0 AS weight, 12.0 AS sugar), STRUCT({3 - best} AS trial_id)"
    assert len(list(client.query(f"SELECT * FROM ML.PREDICT(MODEL fruit.{name}, {row})").result())) == 1
    shown = client.get_model(f"fruit.{name}")
    assert len(shown._properties["hparamTrials"]) == 3 and shown.best_trial_id in (None, best + 1)


@pytest.mark.parametrize(
    ("feedback", "objective"), [("EXPLICIT", "mean_squared_error"), ("IMPLICIT", "mean_average_precision")]
)
def test_factorisations_are_tuned(client: bigquery.Client, feedback: str, objective: str) -> None:
    client.query(
        f"""CREATE OR REPLACE MODEL fruit.{feedback} OPTIONS(model_type='MATRIX_FACTORIZATION', num_trials=3,
        feedback_type='{feedback}', num_factors=HPARAM_CANDIDATES([2, 3, 5]), max_iterations=2) AS
        SELECT MOD(a, 40) AS user, MOD(a * 7 + DIV(a, 40), 30) AS item, 1.0 + MOD(a, 5) AS rating
        FROM UNNEST(GENERATE_ARRAY(1, 900)) AS a"""
    ).result()
    rows = list(client.query(f"SELECT * FROM ML.TRIAL_INFO(MODEL fruit.{feedback})").result())
    values = {
        row.hyperparameters["num_factors"]: row.hparam_tuning_evaluation_metrics[objective] for row in rows
    }
    assert len(rows) == 3 and all(value is not None for value in values.values())
    [best] = [row for row in rows if row.is_optimal]
    chosen = (min if feedback == "EXPLICIT" else max)(values.values())
    assert best.hparam_tuning_evaluation_metrics[objective] == chosen
    told = answered(
        client, f"SELECT COUNT(*) FROM ML.RECOMMEND(MODEL fruit.{feedback}, STRUCT({1} AS trial_id))"
    )
    assert told == [(40 * 30,)]


def test_objectives_of_other_types_are_refused(client: bigquery.Client) -> None:
    for options in ("model_type='KMEANS', hparam_tuning_objectives=['ROC_AUC']", "model_type='AUTOENCODER', "
                    "hparam_tuning_objectives=['R2_SCORE']"):  # fmt: skip
        with pytest.raises(exceptions.BadRequest, match="HPARAM_TUNING_OBJECTIVES must be one of"):
            client.query(
                f"CREATE MODEL fruit.no OPTIONS({options}, num_trials=2) AS SELECT weight FROM fruit.fruits"
            ).result()
