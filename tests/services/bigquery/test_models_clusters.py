"""KMEANS, PCA and AUTOENCODER by the official client: equal to scikit-learn's, and odd rows are found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from sklearn import cluster, decomposition, metrics
from tests.services.bigquery.test_bigquery import answered, connected

ROWS = 600


def stars() -> pd.DataFrame:
    draw = np.random.default_rng(5)
    group = draw.integers(0, 3, ROWS)
    return pd.DataFrame(
        {
            "id": range(ROWS),
            "heat": np.array([10.0, 40.0, 80.0])[group] + draw.normal(0, 3, ROWS),
            "size": np.array([300.0, 100.0, 200.0])[group] + draw.normal(0, 10, ROWS),
            "colour": np.where(draw.random(ROWS) < 0.9, np.array(["red", "white", "blue"])[group], "red"),
            "first": np.isin(np.arange(ROWS), [list(group).index(one) for one in range(3)]),
        }
    )


def scaled(table: pd.DataFrame) -> np.ndarray[Any, Any]:
    """As BigQuery ML prepares heat, size and colour."""
    numbers = table[["heat", "size"]]
    order = list(table.colour.value_counts().index)
    hot = np.stack([(table.colour == one).astype(float) for one in order], axis=1)
    return np.concatenate([(numbers - numbers.mean()) / numbers.std(ddof=0), hot], axis=1)


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("sky")
    made.load_table_from_dataframe(stars(), "sky.stars").result()
    return made


@pytest.fixture(scope="module")
def clusters(client: bigquery.Client) -> str:
    client.query(
        """CREATE MODEL sky.clusters OPTIONS(model_type='kmeans', num_clusters=3, kmeans_init_method='CUSTOM',
        kmeans_init_col='first', early_stop=FALSE, max_iterations=8)
        AS SELECT heat, size, colour, first FROM sky.stars"""
    ).result()
    return "sky.clusters"


def test_clusters_are_scikit_learns(client: bigquery.Client, clusters: str) -> None:
    rows, table = scaled(stars()), stars()
    reference = cluster.KMeans(3, init=rows[table["first"]], n_init=1, max_iter=8, tol=0).fit(rows)
    told = list(
        client.query(
            f"""SELECT id, CENTROID_ID, NEAREST_CENTROIDS_DISTANCE AS near, size
            FROM ML.PREDICT(MODEL {clusters}, TABLE sky.stars) ORDER BY id"""
        ).result()
    )
    assert [one.CENTROID_ID - 1 for one in told] == list(reference.labels_)
    far = reference.transform(rows)
    for one in told[:20]:
        assert [each["CENTROID_ID"] - 1 for each in one.near] == list(np.argsort(far[one.id]))
        assert [each["DISTANCE"] for each in one.near] == pytest.approx(np.sort(far[one.id]), rel=1e-8)
    [measured] = client.query(f"SELECT * FROM ML.EVALUATE(MODEL {clusters})").result()
    assert measured.mean_squared_distance == pytest.approx(reference.inertia_ / ROWS)
    assert measured.davies_bouldin_index == pytest.approx(
        metrics.davies_bouldin_score(rows, reference.labels_)
    )
    assert tuple(measured.keys()) == ("davies_bouldin_index", "mean_squared_distance")
    [again] = client.query(
        f"SELECT * FROM ML.EVALUATE(MODEL {clusters}, (SELECT * FROM sky.stars WHERE id < 300))"
    ).result()
    assert again.mean_squared_distance == pytest.approx(np.mean(far[:300].min(axis=1) ** 2))
    centres = list(
        client.query(
            f"SELECT * FROM ML.CENTROIDS(MODEL {clusters}) WHERE centroid_id = 1 ORDER BY feature"
        ).result()
    )
    assert [one.feature for one in centres] == ["colour", "heat", "size"]
    mine = table[reference.labels_ == 0]
    assert centres[1].numerical_value == pytest.approx(mine.heat.mean()) and not centres[1].categorical_value
    assert {one["category"]: one["value"] for one in centres[0].categorical_value}["red"] == pytest.approx(
        (mine.colour == "red").mean()
    )


def test_training_and_the_api_tell_of_clusters(client: bigquery.Client, clusters: str) -> None:
    [(last,)] = answered(
        client, f"SELECT cluster_info FROM ML.TRAINING_INFO(MODEL {clusters}) WHERE iteration = 7"
    )
    assert sum(one["cluster_size"] for one in last) == ROWS and all(one["cluster_radius"] > 0 for one in last)
    run = client.get_model(clusters).training_runs[0]
    told = run["evaluationMetrics"]["clusteringMetrics"]
    assert sum(int(one["count"]) for one in told["clusters"]) == ROWS and told["daviesBouldinIndex"] > 0
    assert run["trainingOptions"]["numClusters"] == "3"
    assert [one for (one,) in answered(client, f"SELECT input FROM ML.FEATURE_INFO(MODEL {clusters})")] == [
        "heat", "size", "colour",
    ]  # fmt: skip


def test_far_rows_are_anomalies(client: bigquery.Client, clusters: str) -> None:
    share = f"""SELECT COUNTIF(is_anomaly), COUNT(DISTINCT CENTROID_ID) FROM
        ML.DETECT_ANOMALIES(MODEL {clusters}, STRUCT(0.02 AS contamination), TABLE sky.stars)"""
    assert answered(client, share) == [(ROWS * 0.02, 3)]
    [row] = client.query(
        f"""SELECT * FROM ML.DETECT_ANOMALIES(MODEL {clusters}, STRUCT(0.02 AS contamination),
        (SELECT 500.0 AS heat, 0.0 AS size, 'red' AS colour))"""
    ).result()
    assert row.is_anomaly and row.normalized_distance > 10
    assert tuple(row.keys())[:3] == ("is_anomaly", "normalized_distance", "CENTROID_ID")
    found = answered(
        client,
        f"""SELECT p.CENTROID_ID, p.NEAREST_CENTROIDS_DISTANCE, a.CENTROID_ID, a.normalized_distance
        FROM ML.PREDICT(MODEL {clusters}, TABLE sky.stars) AS p JOIN
        ML.DETECT_ANOMALIES(MODEL {clusters}, STRUCT(0.02 AS contamination), TABLE sky.stars) AS a USING (id)""",
    )
    [(last,)] = answered(
        client, f"SELECT cluster_info FROM ML.TRAINING_INFO(MODEL {clusters}) WHERE iteration = 7"
    )
    radii = {one["centroid_id"]: one["cluster_radius"] for one in last}
    for one, radius in radii.items():
        own = [near[0]["DISTANCE"] for nearest, near, _, _ in found if nearest == one]
        assert radius == pytest.approx(np.sqrt(np.mean(np.square(own))))
    for _, near, chosen, odd in found:
        shares = {one["CENTROID_ID"]: one["DISTANCE"] / radii[one["CENTROID_ID"]] for one in near}
        assert odd == pytest.approx(min(shares.values())) == shares[chosen]


def test_clusters_by_default_and_by_angle(client: bigquery.Client) -> None:
    client.query(
        """CREATE MODEL sky.angles OPTIONS(model_type='KMEANS', distance_type='COSINE', kmeans_init_method='kmeans++',
        standardize_features=FALSE) AS SELECT heat, size FROM sky.stars"""
    ).result()
    assert client.get_model("sky.angles").training_runs[0]["trainingOptions"]["numClusters"] == "2"
    told = answered(
        client,
        """SELECT CENTROID_ID, near.DISTANCE FROM
        ML.PREDICT(MODEL sky.angles, (SELECT 1.0 AS heat, 30.0 AS size UNION ALL SELECT 10.0, 300.0)),
        UNNEST(NEAREST_CENTROIDS_DISTANCE) AS near WITH OFFSET AS place WHERE place = 0""",
    )
    assert told[0] == pytest.approx(told[1]) and 0 <= told[0][1] < 0.3
    centres = answered(
        client, "SELECT numerical_value FROM ML.CENTROIDS(MODEL sky.angles) ORDER BY centroid_id, feature"
    )
    centre = np.array(centres).reshape(2, 2)[int(told[0][0]) - 1]
    alike = centre @ [1.0, 30.0] / np.linalg.norm(centre) / np.linalg.norm([1.0, 30.0])
    assert told[0][1] == pytest.approx(np.sqrt(1 - alike), abs=1e-6)


@pytest.fixture(scope="module")
def components(client: bigquery.Client) -> str:
    client.query(
        """CREATE MODEL sky.components OPTIONS(model_type='PCA', num_principal_components=2)
        AS SELECT heat, size, colour FROM sky.stars"""
    ).result()
    return "sky.components"


def test_components_are_scikit_learns(client: bigquery.Client, components: str) -> None:
    rows = scaled(stars())
    reference = decomposition.PCA(2).fit(rows)
    told = answered(
        client,
        f"""SELECT principal_component_1, principal_component_2, id FROM
        ML.PREDICT(MODEL {components}, TABLE sky.stars, STRUCT(TRUE AS keep_original_columns)) ORDER BY id""",
    )
    found, wanted = np.array(told)[:, :2], reference.transform(rows)
    signs = np.sign((found * wanted).sum(axis=0))
    assert found == pytest.approx(wanted * signs)
    infos = answered(client, f"SELECT * FROM ML.PRINCIPAL_COMPONENT_INFO(MODEL {components}) ORDER BY 1")
    ratios = reference.explained_variance_ratio_
    assert infos == [
        (place, *map(pytest.approx, (variance, ratio, together)))
        for place, (variance, ratio, together) in enumerate(
            zip(reference.explained_variance_, ratios, ratios.cumsum(), strict=True)
        )
    ]
    [(total,)] = answered(client, f"SELECT * FROM ML.EVALUATE(MODEL {components})")
    [(again,)] = answered(client, f"SELECT * FROM ML.EVALUATE(MODEL {components}, TABLE sky.stars)")
    assert total == pytest.approx(ratios.sum()) == again
    parts = {
        (one.principal_component_id, one.feature): one
        for one in client.query(f"SELECT * FROM ML.PRINCIPAL_COMPONENTS(MODEL {components})").result()
    }
    assert parts[0, "heat"].numerical_value == pytest.approx(reference.components_[0, 0] * signs[0])
    assert {one["category"] for one in parts[1, "colour"].categorical_value} == {"red", "white", "blue"}
    run = client.get_model(components).training_runs[0]
    assert run["evaluationMetrics"]["dimensionalityReductionMetrics"]["totalExplainedVarianceRatio"] == total


def test_components_embed_rows_and_find_odd_ones(client: bigquery.Client, components: str) -> None:
    [(embedding, first, second)] = answered(
        client,
        f"""SELECT e.ml_generate_embedding_result, p.principal_component_1, p.principal_component_2
        FROM ML.GENERATE_EMBEDDING(MODEL {components}, (SELECT * FROM sky.stars WHERE id = 3)) AS e,
        ML.PREDICT(MODEL {components}, (SELECT * FROM sky.stars WHERE id = 3)) AS p""",
    )
    assert embedding == [first, second]
    [row] = client.query(
        f"""SELECT * FROM ML.DETECT_ANOMALIES(MODEL {components}, STRUCT(0.05 AS contamination),
        (SELECT 90.0 AS heat, 900.0 AS size, 'red' AS colour))"""
    ).result()
    assert row.is_anomaly and tuple(row.keys())[:2] == ("is_anomaly", "mean_squared_error")
    client.query(
        """CREATE MODEL sky.most OPTIONS(model_type='PCA', pca_explained_variance_ratio=0.8, scale_features=FALSE,
        pca_solver='FULL') AS SELECT heat, size FROM sky.stars"""
    ).result()
    assert len(answered(client, "SELECT * FROM ML.PRINCIPAL_COMPONENT_INFO(MODEL sky.most)")) == 1


@pytest.fixture(scope="module")
def encoder(client: bigquery.Client) -> str:
    client.query(
        """CREATE MODEL sky.encoder OPTIONS(model_type='AUTOENCODER', hidden_units=[8, 2, 8], activation_fn='TANH',
        learn_rate=0.01, max_iterations=30, early_stop=FALSE, batch_size=16)
        AS SELECT heat, size, colour FROM sky.stars"""
    ).result()
    return "sky.encoder"


def test_a_network_says_its_input_again(client: bigquery.Client, encoder: str) -> None:
    [measured] = client.query(f"SELECT * FROM ML.EVALUATE(MODEL {encoder})").result()
    assert tuple(measured.keys()) == ("mean_absolute_error", "mean_squared_error", "mean_squared_log_error")
    assert measured.mean_squared_error < 0.4 * scaled(stars()).var(axis=0).mean()
    [(mean, rows)] = answered(
        client,
        f"SELECT AVG(mean_squared_error), COUNT(id) FROM ML.RECONSTRUCTION_LOSS(MODEL {encoder}, TABLE sky.stars)",
    )
    assert mean == pytest.approx(measured.mean_squared_error) and rows == ROWS
    [(first, second, embedding, id)] = answered(
        client,
        f"""SELECT p.latent_col_1, p.latent_col_2, e.ml_generate_embedding_result, p.id
        FROM ML.PREDICT(MODEL {encoder}, (SELECT * FROM sky.stars WHERE id = 5)) AS p
        JOIN ML.GENERATE_EMBEDDING(MODEL {encoder}, (SELECT * FROM sky.stars WHERE id = 5)) AS e ON p.id = e.id""",
    )
    assert embedding == [first, second] and id == 5
    [(odd, told)] = answered(
        client,
        f"""SELECT is_anomaly, mean_squared_error FROM ML.DETECT_ANOMALIES(MODEL {encoder},
        STRUCT(0.1 AS contamination), (SELECT 999.0 AS heat, 1.0 AS size, 'red' AS colour))""",
    )
    assert odd and told > 1
    run = client.get_model(encoder).training_runs[0]
    assert run["trainingOptions"]["hiddenUnits"] == ["8", "2", "8"] and len(run["results"]) == 30


@pytest.mark.parametrize("optimizer", ["ADAGRAD", "FTRL", "RMSPROP", "SGD"])
def test_every_optimizer_descends(client: bigquery.Client, optimizer: str) -> None:
    client.query(
        f"""CREATE OR REPLACE MODEL sky.descends OPTIONS(model_type='AUTOENCODER', optimizer='{optimizer}',
        learn_rate=0.02, activation_fn='SELU', max_iterations=4, early_stop=FALSE, dropout=0.1, l2_reg=0.001,
        l1_reg_activation=0.01) AS SELECT heat, size FROM sky.stars"""
    ).result()
    losses = answered(client, "SELECT loss FROM ML.TRAINING_INFO(MODEL sky.descends) ORDER BY iteration")
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CREATE MODEL sky.x OPTIONS(model_type='kmeans', num_clusters=1) AS SELECT 1 AS a", "NUM_CLUSTERS"),
        ("CREATE MODEL sky.x OPTIONS(model_type='kmeans', num_clusters=5) AS SELECT 1 AS a", "5"),
        (
            "CREATE MODEL sky.x OPTIONS(model_type='kmeans', kmeans_init_method='custom') AS SELECT 1 AS a",
            "KMEANS_INIT_COL",
        ),
        (
            "SELECT * FROM ML.DETECT_ANOMALIES(MODEL sky.clusters, TABLE sky.stars)",
            "contamination",
        ),
        ("SELECT * FROM ML.WEIGHTS(MODEL sky.clusters)", "KMEANS"),
        (
            "CREATE MODEL sky.x OPTIONS(model_type='AUTOENCODER', hidden_units=[3, 2]) AS SELECT 1 AS a",
            "odd number",
        ),
        (
            "CREATE MODEL sky.x OPTIONS(model_type='AUTOENCODER', hidden_units=['3']) AS SELECT 1 AS a",
            "HIDDEN_UNITS",
        ),
        ("CREATE MODEL sky.x OPTIONS(model_type='PCA') AS SELECT 1 AS a", "NUM_PRINCIPAL_COMPONENTS"),
        (
            "CREATE MODEL sky.x OPTIONS(model_type='PCA', num_principal_components=9) AS SELECT heat FROM sky.stars",
            "9",
        ),
        ("SELECT * FROM ML.PREDICT(MODEL sky.clusters, (SELECT 1.0 AS heat))", "size"),
    ],
)
def test_what_is_wrong_is_said(client: bigquery.Client, clusters: str, text: str, said: str) -> None:
    with pytest.raises((exceptions.BadRequest, exceptions.MethodNotImplemented), match=said):
        client.query(text).result()
