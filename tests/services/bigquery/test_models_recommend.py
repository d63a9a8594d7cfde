"""MATRIX_FACTORIZATION by the official client, on ratings that are drawn as MovieLens's look: half of them held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from tests.services.bigquery.test_bigquery import answered, connected

USERS, FILMS, RATINGS = 200, 60, 5_000


def ratings() -> pd.DataFrame:
    draw = np.random.default_rng(7)
    taste, kind = draw.normal(0, 0.7, (USERS, 3)), draw.normal(0, 0.7, (FILMS, 3))
    kindness, quality = draw.normal(0, 0.4, USERS), draw.normal(0, 0.4, FILMS)
    user = draw.integers(0, USERS, RATINGS)
    film = draw.integers(0, FILMS, RATINGS)
    liked = 3.5 + kindness[user] + quality[film] + (taste[user] * kind[film]).sum(axis=1)
    stars = np.clip(np.round(liked + draw.normal(0, 0.4, RATINGS)), 1, 5)
    table = pd.DataFrame({"user_id": user, "film": [f"f{one}" for one in film], "stars": stars})
    table = table.drop_duplicates(["user_id", "film"], ignore_index=True)
    return table.assign(held=draw.random(len(table)) < 0.2)


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("films")
    made.load_table_from_dataframe(ratings(), "films.ratings").result()
    return made


@pytest.fixture(scope="module")
def model(client: bigquery.Client) -> str:
    client.query(
        """CREATE MODEL films.stars OPTIONS(model_type='MATRIX_FACTORIZATION', user_col='user_id', item_col='film',
        rating_col='stars', num_factors=4, l2_reg=2.0, data_split_method='NO_SPLIT')
        AS SELECT user_id, film, stars FROM films.ratings WHERE NOT held"""
    ).result()
    return "films.stars"


def test_predictions_beat_the_films_means(client: bigquery.Client, model: str) -> None:
    [(found, means, rows)] = answered(
        client,
        f"""SELECT AVG(POW(p.predicted_stars - p.stars, 2)), AVG(POW(m.mean - p.stars, 2)), COUNT(*)
        FROM ML.RECOMMEND(MODEL {model}, (SELECT * FROM films.ratings WHERE held)) AS p
        JOIN (SELECT film, AVG(stars) AS mean FROM films.ratings WHERE NOT held GROUP BY film) AS m USING (film)""",
    )
    assert rows == ratings().held.sum() and found < 0.6 * means
    [measured] = client.query(
        f"SELECT * FROM ML.EVALUATE(MODEL {model}, (SELECT * EXCEPT (held) FROM films.ratings WHERE held))"
    ).result()
    assert measured.mean_squared_error == pytest.approx(found) and measured.r2_score > 0.5
    shown = client.get_model(model)
    assert [one.name for one in shown.feature_columns] == ["user_id", "film"]
    assert shown.training_runs[0]["evaluationMetrics"]["regressionMetrics"]["meanSquaredError"] < found
    losses = [
        one
        for (one,) in answered(client, f"SELECT loss FROM ML.TRAINING_INFO(MODEL {model}) ORDER BY iteration")
    ]
    assert losses == sorted(losses, reverse=True)


def test_all_pairs_users_alone_and_strangers(client: bigquery.Client, model: str) -> None:
    [(rows,)] = answered(client, f"SELECT COUNT(*) FROM ML.RECOMMEND(MODEL {model})")
    assert rows == USERS * FILMS
    ranked = list(
        client.query(
            f"""SELECT * FROM ML.RECOMMEND(MODEL {model}, (SELECT user_id FROM UNNEST([3, 99999]) AS user_id))
            ORDER BY user_id, predicted_stars DESC"""
        ).result()
    )
    assert len(ranked) == 2 * FILMS and tuple(ranked[0].keys()) == ("predicted_stars", "user_id", "film")
    weights = {
        (one.processed_input, one.feature): one
        for one in client.query(f"SELECT * FROM ML.WEIGHTS(MODEL {model})").result()
    }
    mean = weights[None, "global__INTERCEPT__"].intercept
    own, film = weights["user_id", "3"], weights["film", ranked[0].film]
    product = sum(
        one["weight"] * other["weight"]
        for one, other in zip(own.factor_weights, film.factor_weights, strict=True)
    )
    assert ranked[0].predicted_stars == pytest.approx(mean + own.intercept + film.intercept + product)
    stranger = ranked[FILMS]
    assert stranger.user_id == 99999
    assert stranger.predicted_stars == pytest.approx(mean + weights["film", stranger.film].intercept)
    [(embedding,)] = answered(
        client,
        f"""SELECT ml_generate_embedding_result FROM ML.GENERATE_EMBEDDING(MODEL {model})
        WHERE processed_input = 'user_id' AND feature = '3'""",
    )
    assert embedding == [one["weight"] for one in own.factor_weights] + [own.intercept]
    assert answered(client, f"SELECT input, category_count FROM ML.FEATURE_INFO(MODEL {model})") == [
        ("user_id", USERS),
        ("film", FILMS),
    ]


def test_implicit_feedback_ranks_what_is_watched(client: bigquery.Client) -> None:
    client.query(
        """CREATE MODEL films.watched OPTIONS(model_type='MATRIX_FACTORIZATION', feedback_type='IMPLICIT',
        user_col='user_id', item_col='film', rating_col='stars', wals_alpha=1, num_factors=6)
        AS SELECT user_id, film, stars FROM films.ratings WHERE stars >= 4"""
    ).result()
    [measured] = client.query("SELECT * FROM ML.EVALUATE(MODEL films.watched)").result()
    assert tuple(measured.keys()) == (
        "mean_average_precision", "mean_squared_error", "normalized_discounted_cumulative_gain", "average_rank",
    )  # fmt: skip
    assert measured.average_rank < 0.5 and 0 < measured.mean_average_precision < 1
    [(low, high)] = answered(
        client,
        """SELECT MIN(predicted_stars_confidence), MAX(predicted_stars_confidence)
        FROM ML.RECOMMEND(MODEL films.watched)""",
    )
    assert -1 < low < 0.1 and 0.5 < high < 2
    told = client.get_model("films.watched").training_runs[0]["evaluationMetrics"]["rankingMetrics"]
    assert told["averageRank"] == measured.average_rank


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT * FROM ML.PREDICT(MODEL films.stars, TABLE films.ratings)", "ML.RECOMMEND"),
        ("SELECT * FROM ML.RECOMMEND(MODEL films.stars, (SELECT 1 AS other))", "user_id"),
        (
            "CREATE MODEL films.x OPTIONS(model_type='MATRIX_FACTORIZATION') AS SELECT 1 AS user, 2 AS item",
            "RATING_COL",
        ),
        (
            """CREATE MODEL films.x OPTIONS(model_type='MATRIX_FACTORIZATION', wals_alpha=2)
            AS SELECT 1 AS user, 2 AS item, 3.0 AS rating""",
            "WALS_ALPHA",
        ),
        (
            """CREATE MODEL films.x OPTIONS(model_type='MATRIX_FACTORIZATION', feedback_type='IMPLICIT')
            AS SELECT 1 AS user, 2 AS item, -3.0 AS rating""",
            "from 0",
        ),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, model: str, text: str, said: str) -> None:
    with pytest.raises(exceptions.BadRequest, match=said):
        client.query(text).result()
