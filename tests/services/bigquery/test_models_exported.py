"""EXPORT MODEL and extract jobs of models by the official clients: what was exported, imported again, says the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from google.api_core import exceptions
from google.cloud import bigquery, storage
from tests.services.bigquery.test_bigquery import answered, connected

ROWS = 300
ROW = "(SELECT 3.5 AS x, CAST(NULL AS FLOAT64) AS y, 'blue' AS colour)"
GIVEN = "(SELECT 3.5 AS x, CAST('nan' AS FLOAT64) AS y, 'blue' AS colour)"


def table() -> pd.DataFrame:
    draw = np.random.default_rng(4)
    made = pd.DataFrame({"x": draw.normal(3, 2, ROWS), "y": draw.normal(0, 1, ROWS)})
    made["colour"] = draw.choice(["red", "green", "blue"], ROWS)
    made["sum"] = made.x + 2 * made.y + (made.colour == "red")
    made["kind"] = np.where(made["sum"] + draw.normal(0, 1, ROWS) > 4, "large", "small")
    made["size"] = pd.cut(made["sum"] + draw.normal(0, 1, ROWS), [-99, 2, 5, 99], labels=False)
    return made


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("exports")
    made.load_table_from_dataframe(table(), "exports.rows").result()
    return made


def trained(client: bigquery.Client, name: str, options: str, columns: str) -> None:
    client.query(
        f"CREATE OR REPLACE MODEL exports.{name} OPTIONS({options}) AS SELECT {columns} FROM exports.rows"
    ).result()


def again(client: bigquery.Client, bucket: storage.Bucket, name: str) -> str:
    """Exports a model and imports it as another."""
    job = client.query(
        f"EXPORT MODEL exports.{name} OPTIONS(URI='gs://{bucket.name}/{name}', add_serving_default_signature=TRUE)"
    )
    job.result()
    assert job.statement_type == "EXPORT_MODEL"
    client.query(
        f"""CREATE OR REPLACE MODEL exports.{name}_again
        OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH='gs://{bucket.name}/{name}/model.onnx')"""
    ).result()
    return f"exports.{name}_again"


@pytest.mark.parametrize("encoding", ["ONE_HOT_ENCODING", "DUMMY_ENCODING"])
def test_regressions_say_the_same(client: bigquery.Client, bucket: storage.Bucket, encoding: str) -> None:
    coded = f"category_encoding_method='{encoding}'"
    trained(
        client, "line", f"model_type='LINEAR_REG', input_label_cols=['sum'], {coded}", "x, y, colour, sum"
    )
    [(wanted,)] = answered(client, f"SELECT predicted_sum FROM ML.PREDICT(MODEL exports.line, {ROW})")
    [(told,)] = answered(
        client, f"SELECT predicted_sum FROM ML.PREDICT(MODEL {again(client, bucket, 'line')}, {GIVEN})"
    )
    assert told == [pytest.approx(wanted)]
    for label in ("kind", "size"):
        trained(
            client,
            "odds",
            f"model_type='LOGISTIC_REG', input_label_cols=['{label}'], {coded}",
            f"x, y, colour, {label}",
        )
        [(chosen, probs)] = answered(
            client,
            f"SELECT predicted_{label}, predicted_{label}_probs FROM ML.PREDICT(MODEL exports.odds, {ROW})",
        )
        [(told, shares)] = answered(
            client,
            f"""SELECT predicted_{label}, predicted_{label}_probs
            FROM ML.PREDICT(MODEL {again(client, bucket, "odds")}, {GIVEN})""",
        )
        assert told == chosen
        assert shares == pytest.approx([one["prob"] for one in sorted(probs, key=lambda one: one["label"])])


@pytest.mark.parametrize(("kind", "activation"), [("DNN", "RELU6"), ("DNN_LINEAR_COMBINED", "CRELU")])
def test_networks_say_the_same(
    client: bigquery.Client, bucket: storage.Bucket, kind: str, activation: str
) -> None:
    more = f"hidden_units=[5, 4], activation_fn='{activation}', max_iterations=3"
    for made, label, columns in (
        (f"{kind}_REGRESSOR", "sum", "predicted_sum"),
        (f"{kind}_CLASSIFIER", "size", "predicted_size, predicted_size_probs"),
    ):
        trained(
            client,
            "deep",
            f"model_type='{made}', input_label_cols=['{label}'], {more}",
            f"x, y, colour, {label}",
        )
        [(wanted, *probs)] = answered(client, f"SELECT {columns} FROM ML.PREDICT(MODEL exports.deep, {ROW})")
        [(told, *shares)] = answered(
            client, f"SELECT {columns} FROM ML.PREDICT(MODEL {again(client, bucket, 'deep')}, {GIVEN})"
        )
        assert np.ravel(told) == pytest.approx(np.ravel(wanted), abs=1e-5)
        for one, other in zip(probs, shares, strict=True):
            ordered = [part["prob"] for part in sorted(one, key=lambda part: part["label"])]
            assert other == pytest.approx(ordered, abs=1e-5)


def test_models_without_a_label_say_the_same(client: bigquery.Client, bucket: storage.Bucket) -> None:
    for kind in ("EUCLIDEAN", "COSINE"):
        trained(
            client, "near", f"model_type='KMEANS', num_clusters=3, distance_type='{kind}'", "x, y, colour"
        )
        [(nearest, distances)] = answered(
            client,
            f"SELECT CENTROID_ID, NEAREST_CENTROIDS_DISTANCE FROM ML.PREDICT(MODEL exports.near, {ROW})",
        )
        [(told, far)] = answered(
            client,
            f"SELECT CENTROID_ID, DISTANCES FROM ML.PREDICT(MODEL {again(client, bucket, 'near')}, {GIVEN})",
        )
        assert told == nearest
        assert sorted(far) == pytest.approx([one["DISTANCE"] for one in distances])
    trained(client, "parts", "model_type='PCA', num_principal_components=2", "x, y, colour")
    [wanted] = answered(client, f"SELECT * FROM ML.PREDICT(MODEL exports.parts, {ROW})")
    [(found,)] = answered(
        client,
        f"SELECT principal_components FROM ML.PREDICT(MODEL {again(client, bucket, 'parts')}, {GIVEN})",
    )
    assert found == pytest.approx(list(wanted))
    for activation, width in (("RELU6", 2), ("SELU", 2), ("CRELU", 4)):
        trained(
            client,
            "net",
            f"model_type='AUTOENCODER', hidden_units=[2], activation_fn='{activation}'",
            "x, y, colour",
        )
        columns = ", ".join(f"latent_col_{place + 1}" for place in range(width))
        [wanted] = answered(client, f"SELECT {columns} FROM ML.PREDICT(MODEL exports.net, {ROW})")
        [(found,)] = answered(
            client, f"SELECT latent FROM ML.PREDICT(MODEL {again(client, bucket, 'net')}, {GIVEN})"
        )
        assert found == pytest.approx(list(wanted), abs=1e-5)


def test_the_image_for_googles_export_serves_ours(
    client: bigquery.Client, bucket: storage.Bucket, aiplatform: Any
) -> None:
    trained(client, "served", "model_type='LINEAR_REG', input_label_cols=['sum']", "x, y, colour, sum")
    client.query(f"EXPORT MODEL exports.served OPTIONS(URI='gs://{bucket.name}/served')").result()
    model = aiplatform.Model.upload(
        display_name="exported", artifact_uri=f"gs://{bucket.name}/served",
        serving_container_image_uri="us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-8:latest",
    )  # fmt: skip
    endpoint = model.deploy(machine_type="n1-standard-2")
    [(wanted,)] = answered(
        client,
        """SELECT predicted_sum FROM ML.PREDICT(MODEL exports.served,
        (SELECT 3.5 AS x, 0.5 AS y, 'blue' AS colour))""",
    )
    [told] = endpoint.predict([{"x": 3.5, "y": 0.5, "colour": "blue"}]).predictions
    assert told == pytest.approx(wanted)
    endpoint.delete(force=True)


def test_trees_are_xgboosts_own_file(client: bigquery.Client, bucket: storage.Bucket) -> None:
    trained(
        client,
        "trees",
        "model_type='BOOSTED_TREE_REGRESSOR', input_label_cols=['sum'], max_iterations=5",
        "x, y, sum",
    )
    source = bigquery.ModelReference.from_string("test-project.exports.trees")
    options = bigquery.ExtractJobConfig(destination_format="ML_XGBOOST_BOOSTER")
    job = client.extract_table(source, f"gs://{bucket.name}/trees", source_type="Model", job_config=options)
    job.result()
    assert job.destination_uri_file_counts == [3]  # with how to feed it, and a program that does
    booster = xgboost.Booster()
    booster.load_model(bytearray(bucket.blob("trees/model.bst").download_as_bytes()))
    told = json.loads(bucket.blob("trees/assets/model_metadata.json").download_as_bytes())
    assert told["model_type"] == "boosted_tree_regressor" and told["label_col"] == "sum"
    assert told["feature_names"] == ["x", "y"]
    [(wanted,)] = answered(
        client, "SELECT predicted_sum FROM ML.PREDICT(MODEL exports.trees, (SELECT 1.0 AS x, 0.5 AS y))"
    )
    names = booster.feature_names
    assert booster.predict(xgboost.DMatrix([[1.0, 0.5]], feature_names=names))[0] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("kind", "label", "own", "file"),
    [
        ("BOOSTED_TREE", "kind", "max_iterations=3, booster_type='DART', dropout=0.5", "label"),
        (
            "RANDOM_FOREST",
            "size",
            "category_encoding_method='ONE_HOT_ENCODING', num_parallel_tree=9",
            "one_hot",
        ),
        (
            "RANDOM_FOREST",
            "size",
            "category_encoding_method='TARGET_ENCODING', num_parallel_tree=9",
            "target",
        ),
    ],
)
def test_classes_of_exported_trees_are_read_as_googles(
    client: bigquery.Client, bucket: storage.Bucket, kind: str, own: str, file: str, label: str
) -> None:
    """As Google's reader takes them: every class has a probability, and a place without a value is missing."""
    trained(
        client,
        "wood",
        f"model_type='{kind}_CLASSIFIER', input_label_cols=['{label}'], {own}",
        f"x, colour, y, {label}",
    )
    client.query(f"EXPORT MODEL exports.wood OPTIONS(URI='gs://{bucket.name}/wood')").result()
    read = lambda name: bucket.blob(f"wood/{name}").download_as_bytes()  # noqa: E731
    told = json.loads(read("assets/model_metadata.json"))
    kinds = [told["features"][name]["encode_type"] for name in told["feature_names"]]
    assert told["feature_names"] == ["x", "colour", "y"]
    assert kinds == ["numerical_identity", f"categorical_{file}", "numerical_identity"]
    lines = read(f"assets/1_categorical_{file}.txt").decode().splitlines()
    booster = xgboost.Booster()
    booster.load_model(bytearray(read("model.bst")))
    nan = float("nan")
    given = [(3.5, "blue", 0.5), (1.0, "red", nan), (nan, "none", 0.1)]
    for x, colour, y in given:
        if file == "one_hot":
            places = [1.0 if line == colour else nan for line in lines]
        elif file == "target":
            known = {line.split(",")[0]: [float(one) for one in line.split(",")[1:]] for line in lines}
            places = known.get(colour, [nan] * (len(told["class_names"]) if label == "size" else 1))
        else:
            places = [float(lines.index(colour)) if colour in lines else nan]
        [found] = booster.predict(xgboost.DMatrix([[x, *places, y]], missing=nan))
        query = f"SELECT CAST('{x}' AS FLOAT64) AS x, '{colour}' AS colour, CAST('{y}' AS FLOAT64) AS y"
        [(wanted,)] = answered(
            client, f"SELECT predicted_{label}_probs FROM ML.PREDICT(MODEL exports.wood, ({query}))"
        )
        assert dict(zip(told["class_names"], found, strict=True)) == pytest.approx(
            {one["label"]: one["prob"] for one in wanted}, rel=1e-5
        )


@pytest.mark.slow
def test_googles_image_for_xgboost_serves_exported_trees(
    client: bigquery.Client, bucket: storage.Bucket, aiplatform: Any
) -> None:
    trained(client, "grown", "model_type='BOOSTED_TREE_CLASSIFIER', input_label_cols=['kind']", "x, y, kind")
    client.query(f"EXPORT MODEL exports.grown OPTIONS(URI='gs://{bucket.name}/grown')").result()
    model = aiplatform.Model.upload(
        display_name="grown", artifact_uri=f"gs://{bucket.name}/grown",
        serving_container_image_uri="us-docker.pkg.dev/vertex-ai/prediction/xgboost-cpu.2-1:latest",
    )  # fmt: skip
    endpoint = model.deploy(machine_type="n1-standard-2")
    [(wanted,)] = answered(
        client,
        "SELECT predicted_kind_probs FROM ML.PREDICT(MODEL exports.grown, (SELECT 3.5 AS x, 0.5 AS y))",
    )
    [told] = endpoint.predict([[3.5, 0.5]]).predictions
    assert told == pytest.approx(
        [one["prob"] for one in sorted(wanted, key=lambda one: one["label"])], rel=1e-5
    )
    endpoint.delete(force=True)


def test_a_trial_is_exported(client: bigquery.Client, bucket: storage.Bucket) -> None:
    trained(
        client,
        "tried",
        "model_type='LINEAR_REG', input_label_cols=['sum'], num_trials=2, l2_reg=HPARAM_CANDIDATES([0.0, 1e6])",
        "x, sum",
    )
    predicted = "SELECT predicted_sum FROM ML.PREDICT(MODEL exports.tried{}, (SELECT 3.5 AS x){})"
    for trial in (1, 2):
        client.query(
            f"EXPORT MODEL exports.tried OPTIONS(URI='gs://{bucket.name}/tried', trial_id={trial})"
        ).result()
        client.query(
            f"""CREATE OR REPLACE MODEL exports.tried_again
            OPTIONS(MODEL_TYPE='ONNX', MODEL_PATH='gs://{bucket.name}/tried/model.onnx')"""
        ).result()
        asked = predicted.format("", f", STRUCT({trial} AS trial_id)"), predicted.format("_again", "")
        [(wanted,)], [([found],)] = (answered(client, one) for one in asked)
        assert found == pytest.approx(wanted)
    for wrong, said in (("trial_id=9", "trial_id is 9"), ("trial_id='x'", "TRIAL_ID must be an integer")):
        with pytest.raises(exceptions.BadRequest, match=said):
            client.query(
                f"EXPORT MODEL exports.tried OPTIONS(URI='gs://{bucket.name}/tried', {wrong})"
            ).result()
    source = bigquery.ModelReference.from_string("test-project.exports.tried")
    form = bigquery.ExtractJobConfig(destination_format="ML_XGBOOST_BOOSTER")
    with pytest.raises(
        exceptions.GoogleAPICallError, match=r"LINEAR_REG model is not exported as ML_XGB.*ONNX"
    ):
        client.extract_table(source, f"gs://{bucket.name}/a", source_type="Model", job_config=form).result()


def test_categories_that_no_line_holds_are_not_exported(
    client: bigquery.Client, bucket: storage.Bucket
) -> None:
    query = "CONCAT(colour, '\\n') AS colour, sum"
    trained(client, "lines", "model_type='BOOSTED_TREE_REGRESSOR', input_label_cols=['sum']", query)
    with pytest.raises(exceptions.BadRequest, match="can't stand in a file"):
        client.query(f"EXPORT MODEL exports.lines OPTIONS(URI='gs://{bucket.name}/lines')").result()


def test_ratings_are_json(client: bigquery.Client, bucket: storage.Bucket) -> None:
    client.query(
        """CREATE MODEL exports.rated OPTIONS(model_type='MATRIX_FACTORIZATION', num_factors=2)
        AS SELECT MOD(n, 7) AS user, CONCAT('i', MOD(n, 5)) AS item, MOD(n, 3) AS rating
        FROM UNNEST(GENERATE_ARRAY(1, 60)) AS n"""
    ).result()
    client.query(f"EXPORT MODEL exports.rated OPTIONS(URI='gs://{bucket.name}/rated/')").result()
    told = json.loads(bucket.blob("rated/model.json").download_as_bytes())
    *one, bias = told["user"]["3"]
    *other, height = told["item"]["i2"]
    [(wanted,)] = answered(
        client,
        "SELECT predicted_rating FROM ML.RECOMMEND(MODEL exports.rated, (SELECT 3 AS user, 'i2' AS item))",
    )
    assert told["mean"] + bias + height + np.dot(one, other) == pytest.approx(wanted)


def test_what_is_wrong_is_said(client: bigquery.Client, bucket: storage.Bucket) -> None:
    client.query(
        """CREATE OR REPLACE MODEL exports.why OPTIONS(model_type='CONTRIBUTION_ANALYSIS', is_test_col='t',
        contribution_metric='SUM(x)') AS SELECT x > 3 AS t, ABS(x) AS x, colour FROM exports.rows"""
    ).result()
    for text, said in (
        (f"EXPORT MODEL exports.why OPTIONS(URI='gs://{bucket.name}/a')", "CONTRIBUTION_ANALYSIS"),
        ("EXPORT MODEL exports.why OPTIONS(URI='somewhere')", "gs://"),
        ("EXPORT MODEL exports.none OPTIONS(URI='gs://a/b')", "exports.none"),
    ):
        with pytest.raises((exceptions.BadRequest, exceptions.NotFound), match=said):
            client.query(text).result()
    source = bigquery.ModelReference.from_string("test-project.exports.why")
    options = bigquery.ExtractJobConfig(destination_format="ML_TF_SAVED_MODEL")
    with pytest.raises(exceptions.GoogleAPICallError, match="ML_TF_SAVED_MODEL"):
        client.extract_table(
            source, f"gs://{bucket.name}/a", source_type="Model", job_config=options
        ).result()
