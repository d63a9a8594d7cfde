"""TensorFlow's SavedModels and TensorFlow Lite's files, imported from Cloud Storage and asked by BigQuery's client."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import bigquery, storage
from tests.environments import ENVIRONMENTS
from tests.services.bigquery.test_bigquery import answered, connected

from portico.ml.bqml.tensorflow import TensorFlowModel
from portico.sandbox import environments
from portico.warehouse.models import tensorflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SCRIPT = """
import sys
import tensorflow as tf

class Several(tf.Module):
    def __init__(self):
        self.weights = tf.Variable([[2.0], [3.0]])

    @tf.function(input_signature=[
        tf.TensorSpec([None, 2], tf.float32, "x"), tf.TensorSpec([None], tf.string, "word"),
        tf.TensorSpec([None], tf.int64, "times")])
    def serve(self, x, word, times):
        return {"score": x @ self.weights + 1, "length": tf.strings.length(word), "said": word + "!",
                "twice": 2 * times}

class Pictures(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2, 2, 1], tf.float32, "picture")])
    def serve(self, picture):
        return {"sums": tf.reduce_sum(picture, [2, 3])}

several, pictures = Several(), Pictures()
tf.saved_model.save(several, sys.argv[1] + "/several", signatures={"serving_default": several.serve})
tf.saved_model.save(pictures, sys.argv[1] + "/pictures", signatures={"serving_default": pictures.serve})
made = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1] + "/pictures").convert()
open(sys.argv[1] + "/pictures.tflite", "wb").write(made)
"""


@pytest.fixture(scope="module")
def client(portico: Any) -> bigquery.Client:
    made = connected(portico)
    made.create_dataset("tensors")
    return made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what TensorFlow wrote."""
    folder = tmp_path_factory.mktemp("models")
    interpreter = environments.find_python(tensorflow.PYTHONS)
    python = environments.environment(TensorFlowModel.REQUIREMENTS, interpreter, ENVIRONMENTS)
    subprocess.run([python, "-c", SCRIPT, folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def uploaded(models: Path, bucket: storage.Bucket) -> str:
    for path in models.rglob("*"):
        if path.is_file():
            bucket.blob(f"models/{path.relative_to(models)}").upload_from_filename(path)
    return f"gs://{bucket.name}/models"


def create(client: bigquery.Client, name: str, kind: str, path: str) -> None:
    client.query(
        f"CREATE OR REPLACE MODEL tensors.{name} OPTIONS(MODEL_TYPE='{kind}', MODEL_PATH='{path}')"
    ).result()


def test_a_saved_model_predicts_in_batches(client: bigquery.Client, uploaded: str) -> None:
    create(client, "several", "TENSORFLOW", f"{uploaded}/several/*")
    rows = answered(
        client,
        "SELECT n, score[OFFSET(0)], length, said, twice FROM ML.PREDICT(MODEL tensors.several, "
        "(SELECT n, [n, 0.5] AS x, REPEAT('é', MOD(n, 3)) AS word, n AS times "
        "FROM UNNEST(GENERATE_ARRAY(1, 3000)) AS n)) ORDER BY n",
    )
    assert len(rows) == 3000
    for n, score, length, said, twice in rows[::499]:
        assert score == pytest.approx(2 * n + 2.5) and twice == 2 * n
        assert said == "é" * (n % 3) + "!" and length == 2 * (n % 3)
    shown = client.get_model("tensors.several")
    assert shown.model_type == "TENSORFLOW" and {one.name for one in shown.feature_columns} == {
        "x",
        "word",
        "times",
    }
    job = client.query(
        "SELECT * FROM ML.PREDICT(MODEL tensors.several, (SELECT [1.0, 2.0] AS x, 'a' AS word, 1 AS times LIMIT 0))"
    )
    assert {one.name for one in job.result().schema} == {
        "score",
        "length",
        "said",
        "twice",
        "x",
        "word",
        "times",
    }


@pytest.mark.parametrize(
    ("kind", "path"), [("TENSORFLOW", "pictures/*"), ("TENSORFLOW_LITE", "pictures.tflite")]
)
def test_arrays_of_more_dimensions_come_flat(
    client: bigquery.Client, uploaded: str, kind: str, path: str
) -> None:
    create(client, "pictures", kind, f"{uploaded}/{path}")
    given = "SELECT [1.0, 2, 3, 4] AS picture UNION ALL SELECT [5, 6, 7, 8]"
    text = f"SELECT sums FROM ML.PREDICT(MODEL tensors.pictures, ({given}))"
    assert sorted(answered(client, text)) == [([3.0, 7.0],), ([11.0, 15.0],)]
    with pytest.raises(exceptions.BadRequest, match="array of 4 in the column picture"):
        answered(client, "SELECT * FROM ML.PREDICT(MODEL tensors.pictures, (SELECT [1.0] AS picture))")
    with pytest.raises(exceptions.BadRequest, match="needs the column picture"):
        answered(client, "SELECT * FROM ML.PREDICT(MODEL tensors.pictures, (SELECT 1 AS a))")


def test_what_is_no_model_is_refused(client: bigquery.Client, uploaded: str, bucket: storage.Bucket) -> None:
    bucket.blob("bad/saved_model.pb").upload_from_string(b"nothing of the kind")
    for kind, path, said in (
        ("TENSORFLOW", f"gs://{bucket.name}/bad/*", "no model that can be opened"),
        ("TENSORFLOW", f"{uploaded}/pictures.tflite", "no SavedModel"),
        ("TENSORFLOW", f"{uploaded}/*", "2 SavedModels"),
        ("TENSORFLOW_LITE", f"gs://{bucket.name}/bad/saved_model.pb", "no model that can be opened"),
    ):
        with pytest.raises(exceptions.BadRequest, match=said):
            create(client, "wrong", kind, path)
