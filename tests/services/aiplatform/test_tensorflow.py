"""TensorFlow from end to end: trained by a custom job, saved under /gcs, served in TensorFlow Serving's shape."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
import requests
from google.api_core import exceptions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TRAINING = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-15.py310:latest"
SERVING = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
SCRIPT = """
import os, sys
import numpy as np, tensorflow as tf

base = os.environ["AIP_MODEL_DIR"].replace("gs://", "/gcs/")
model = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(1)])
model.compile(tf.keras.optimizers.SGD(0.1), "mse")
x = np.random.default_rng(0).random((256, 2)).astype("float32")
model.fit(x, x @ [[2.0], [3.0]] + 1, epochs=60, verbose=0, callbacks=[
    tf.keras.callbacks.TensorBoard(os.environ["AIP_TENSORBOARD_LOG_DIR"].replace("gs://", "/gcs/"))])
tf.saved_model.save(model, base)

class Several(tf.Module):
    @tf.function(input_signature=[
        tf.TensorSpec([None], tf.string, "words_bytes"), tf.TensorSpec([None, 2], tf.float32, "x")])
    def serve(self, words_bytes, x):
        return {"length": tf.strings.length(words_bytes), "total": tf.reduce_sum(x, 1), "word": words_bytes}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def twice(self, x):
        return {"twice": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int64, "n")])
    def count(self, n):
        return {"count": tf.reduce_sum(n, 1)}

several = Several()
tf.saved_model.save(several, base.rstrip("/") + "-several", signatures={
    "serving_default": several.serve, "twice": several.twice, "count": several.count})

class Pictures(tf.Module):
    # Likes what is bright on the left, and says so of bytes: as Vertex AI explains it.

    def __init__(self):
        side = np.zeros((48, 48, 3), "float32")
        side[:, :24] = 1 / side[:, :24].size
        self.side = tf.constant(side)

    @tf.function(input_signature=[tf.TensorSpec([None, 48, 48, 3], tf.float32, "numpy_inputs")])
    def call(self, numpy_inputs):
        liked = tf.reduce_sum(numpy_inputs * self.side, [1, 2, 3])
        return {"scores": tf.stack([liked, -liked], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "bytes_inputs")])
    def preprocess(self, bytes_inputs):
        decode = lambda one: tf.ensure_shape(tf.io.decode_png(one, 3), (48, 48, 3))
        return {"numpy_inputs": tf.cast(tf.map_fn(decode, bytes_inputs, tf.uint8), tf.float32) / 255}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "bytes_inputs")])
    def serve(self, bytes_inputs):
        return self.call(**self.preprocess(bytes_inputs))

pictures = Pictures()
tf.saved_model.save(pictures, base.rstrip("/") + "-pictures", signatures={
    "serving_default": pictures.serve, "xai_preprocess": pictures.preprocess, "xai_model": pictures.call})
drawn = np.full((48, 48, 3), 30, "uint8")
drawn[12:36, 4:20] = (240, 40, 40)
drawn[12:36, 28:44] = (40, 240, 40)
with open(base.rstrip("/") + "-pictures/drawn.png", "wb") as file:
    file.write(tf.io.encode_png(drawn).numpy())

# TensorFlow's own gs://, which it reads and writes in C++.
remote = os.environ["AIP_MODEL_DIR"].rstrip("/") + "-remote"
tf.saved_model.save(several, remote, signatures={"serving_default": several.serve})
assert tf.saved_model.load(remote).serve(tf.constant(["hello"]), tf.ones((1, 2)))["length"] == 5
with tf.io.gfile.GFile(remote + "/notes/one.txt", "w") as file:
    file.write("as it was")
assert sorted(tf.io.gfile.listdir(remote)) == ["assets/", "fingerprint.pb", "notes/", "saved_model.pb", "variables/"]
[found] = tf.data.Dataset.list_files(remote + "/notes/*").map(tf.io.read_file)
assert found.numpy() == b"as it was"
tf.io.gfile.remove(remote + "/notes/one.txt")
assert not tf.io.gfile.exists(remote + "/notes/one.txt")
with tf.summary.create_file_writer(os.environ["AIP_TENSORBOARD_LOG_DIR"] + "remote").as_default():
    tf.summary.scalar("one", 1.0, step=1)
"""


@pytest.fixture(scope="module")
def trained(portico: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """gs:// of the two SavedModels, without their endings."""
    from google.cloud import aiplatform, storage

    bucket = storage.Client(project="test-project").create_bucket("tensorflow-made")
    aiplatform.init(
        project="test-project", location="us-central1", api_endpoint=portico.url, api_transport="rest"
    )
    job = aiplatform.CustomJob(
        "tf",
        [
            {
                "machine_spec": {"machine_type": "n1-standard-4"},
                "replica_count": 1,
                "container_spec": {"image_uri": TRAINING, "command": ["python", "-c", SCRIPT]},
            }
        ],
        base_output_dir=f"gs://{bucket.name}/job",
        staging_bucket=f"gs://{bucket.name}",
    )
    job.run(sync=True)
    logs = [blob.name for blob in bucket.list_blobs(prefix="job/logs/train/")]
    assert len(logs) == 1 and "events.out.tfevents" in logs[0]
    assert list(bucket.list_blobs(prefix="job/logs/remote/"))
    assert bucket.blob("job/model-remote/saved_model.pb").exists()
    assert not bucket.blob("job/model-remote/notes/one.txt").exists()
    return f"gs://{bucket.name}/job/model"


def field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer, of less than 128 bytes."""
    return bytes((number << 3 | 2, len(content))) + content


def served(aiplatform: Any, uri: str, **explanation: Any) -> Any:
    model = aiplatform.Model.upload(
        display_name="tf", artifact_uri=uri, serving_container_image_uri=SERVING, **explanation
    )
    return model.deploy(machine_type="n1-standard-4")


def test_a_keras_model_is_served(aiplatform: Any, trained: str) -> None:
    endpoint = served(aiplatform, trained)
    try:
        answers = endpoint.predict([[0.5, 0.5], [1.0, 0.0]]).predictions
        assert answers[0] == pytest.approx([3.5], abs=0.05) and answers[1] == pytest.approx([3.0], abs=0.05)
        with pytest.raises(exceptions.BadRequest, match="float32 tensor"):
            endpoint.predict([["one", "two"]])
        with pytest.raises(exceptions.BadRequest, match="The model, which takes"):
            endpoint.predict([[1.0, 2.0, 3.0]])
    finally:
        endpoint.undeploy_all()


def test_a_keras_model_is_explained_by_integrated_gradients(aiplatform: Any, trained: str) -> None:
    explain = aiplatform.explain
    inputs = explain.ExplanationMetadata.InputMetadata(
        {"encoding": "BAG_OF_FEATURES", "index_feature_mapping": ["a", "b"]}
    )
    inputs.input_baselines.append([0.0, 1.0])
    endpoint = served(
        aiplatform, trained,
        explanation_parameters=explain.ExplanationParameters({"integrated_gradients_attribution": {"step_count": 20}}),
        explanation_metadata=explain.ExplanationMetadata(inputs={"x": inputs}, outputs={"y": {}}),
    )  # fmt: skip
    try:
        told = endpoint.explain([[1.0, 0.0]])
        [attribution] = told.explanations[0].attributions
        assert attribution.output_name == "y" and list(attribution.output_index) == [0]
        assert attribution.instance_output_value == pytest.approx(told.predictions[0][0], abs=1e-5)
        # Of y = 2 a + 3 b + 1, from (0, 1) to (1, 0).
        shares = dict(attribution.feature_attributions)
        assert shares["a"] == pytest.approx(2, abs=0.1) and shares["b"] == pytest.approx(-3, abs=0.1)
        change = attribution.instance_output_value - attribution.baseline_output_value
        assert (
            sum(shares.values()) == pytest.approx(change, abs=1e-5) and attribution.approximation_error < 1e-5
        )
    finally:
        endpoint.undeploy_all()


def explained_picture(aiplatform: Any, trained: str, method: dict[str, Any], **looks: Any) -> Any:
    """The attribution of the picture's best output."""
    from google.cloud import storage

    bucket, _, name = trained.removeprefix("gs://").partition("/")
    blob = storage.Client(project="test-project").bucket(bucket).blob(f"{name}-pictures/drawn.png")
    instance = {"bytes_inputs": {"b64": base64.b64encode(blob.download_as_bytes()).decode()}}
    explain = aiplatform.explain
    inputs = {"input_tensor_name": "bytes_inputs", **looks}
    endpoint = served(
        aiplatform, trained + "-pictures", explanation_parameters=explain.ExplanationParameters(method),
        explanation_metadata=explain.ExplanationMetadata(
            inputs={"image": inputs}, outputs={"scores": {"output_tensor_name": "scores"}}
        ),
    )  # fmt: skip
    try:
        [attribution] = endpoint.explain([instance]).explanations[0].attributions
        return attribution
    finally:
        endpoint.undeploy_all()


def test_xrai_finds_the_region_that_the_output_is_due_to(aiplatform: Any, trained: str) -> None:
    told = explained_picture(aiplatform, trained, {"xrai_attribution": {"step_count": 10}})
    assert list(told.output_index) == [0] and told.output_name == "scores"
    mask = [list(row) for row in dict(told.feature_attributions)["image"]]
    assert len(mask) == 48 and len(mask[0]) == 48
    assert mask[24][12] > 1e-5 and mask[24][36] == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("method", ["xrai_attribution", "integrated_gradients_attribution"])
def test_attributions_of_images_are_shown_as_pictures(aiplatform: Any, trained: str, method: str) -> None:
    looks = {"type_": "PIXELS", "polarity": "BOTH", "overlay_type": "GRAYSCALE"}
    told = explained_picture(
        aiplatform, trained, {method: {"step_count": 10}}, modality="image", visualization=looks
    )
    picture = dict(told.feature_attributions)["image"]["b64_jpeg"]
    assert base64.b64decode(picture)[:3] == b"\xff\xd8\xff"


def test_xrai_explains_images_alone(aiplatform: Any, trained: str) -> None:
    explain = aiplatform.explain
    endpoint = served(
        aiplatform, trained,
        explanation_parameters=explain.ExplanationParameters({"xrai_attribution": {"step_count": 10}}),
        explanation_metadata=explain.ExplanationMetadata(inputs={"x": {}}, outputs={"y": {}}),
    )  # fmt: skip
    try:
        with pytest.raises(exceptions.BadRequest, match="xraiAttribution explains a model of one image"):
            endpoint.explain([[1.0, 0.0]])
    finally:
        endpoint.undeploy_all()


def test_several_inputs_outputs_and_bytes(portico: Any, aiplatform: Any, trained: str) -> None:
    endpoint = served(aiplatform, trained + "-several")
    try:
        word = {"b64": base64.b64encode(b"hello").decode()}
        raw = {"b64": base64.b64encode(b"\xff\xfe").decode()}
        [first, second] = endpoint.predict(
            [{"words_bytes": word, "x": [1, 2]}, {"words_bytes": raw, "x": [0, 0.5]}]
        ).predictions
        assert first == {"length": 5, "total": 3.0, "word": "hello"}
        assert second == {"length": 2, "total": 0.5, "word": raw}
        with pytest.raises(exceptions.BadRequest, match="has no 'x'"):
            endpoint.predict([{"words_bytes": word}])
        asked = {"signature_name": "twice", "instances": [{"x": 2}, {"x": 0.5}]}
        url = f"{portico.url}/v1/{endpoint.resource_name}:rawPredict"
        assert requests.post(url, json=asked, timeout=240).json() == {"predictions": [4.0, 1.0]}
        refused = requests.post(url, json=asked | {"signature_name": "thrice"}, timeout=240)
        assert refused.status_code == 400 and "it has count, serving_default, twice" in refused.text
        # Google's clients write every number of an instance as a double.
        asked = {"signature_name": "count", "instances": [{"n": [4.0, 2]}]}
        assert requests.post(url, json=asked, timeout=240).json() == {"predictions": [6]}
        asked["instances"] = [{"n": [4.5, 2]}]
        refused = requests.post(url, json=asked, timeout=240)
        assert refused.status_code == 400 and "make no int64 tensor" in refused.text
        # Signature "twice", input "x": a float tensor of the shape (2,), as TensorFlow Serving's client writes it.
        tensor = b"\x08\x01" + field(2, field(2, b"\x08\x02")) + field(5, struct.pack("<2f", 2, 0.5))
        message = field(1, field(3, b"twice")) + field(2, field(1, b"x") + field(2, tensor))
        told = endpoint.direct_raw_predict(
            "/tensorflow.serving.PredictionService/Predict", message
        ).predictions
        assert field(1, b"twice") in told and struct.pack("<2f", 4, 1) in told
        with pytest.raises(exceptions.BadRequest, match="the model takes words_bytes, x"):
            endpoint.direct_raw_predict("/tensorflow.serving.PredictionService/Predict/", b"")
        with pytest.raises(exceptions.BadRequest, match="Classify' is not built"):
            endpoint.direct_raw_predict("/tensorflow.serving.PredictionService/Classify", message)
        words = {"dtype": "STRING", "shape": [2], "string_val": ["hello", "hi"]}
        numbers = {"dtype": "FLOAT", "shape": [2, 2], "float_val": [1, 2, 0, 0.5]}
        length, total, word = endpoint.direct_predict([words, numbers]).predictions
        assert length == {"dtype": "INT32", "shape": ["2"], "intVal": [5, 2]}
        assert total == {"dtype": "FLOAT", "shape": ["2"], "floatVal": [3, 0.5]}
        assert [base64.b64decode(one) for one in word["bytesVal"]] == [b"hello", b"hi"]
        named = {"words_bytes": words | {"string_val": [], "bytes_val": [b"a", b"b"]}, "x": numbers}
        [told] = endpoint.direct_predict([{"struct_val": named}]).predictions
        assert told["structVal"]["length"]["intVal"] == [1, 1]
        for inputs, said in (
            ([words], "inputs has 1 tensors; the model takes words_bytes, x, in this order"),
            ([words, numbers | {"shape": [4]}], r"float32\(4,\); the model takes float32\(None, 2\)"),
            ([words, numbers | {"shape": [3]}], "the tensor of the input 'x' is none"),
            ([words, {"shape": [3]}], "has the dtype None"),
        ):
            with pytest.raises(exceptions.BadRequest, match=said):
                endpoint.direct_predict(inputs)
    finally:
        endpoint.undeploy_all()
