"""ONNX models: the inputs and outputs that scikit-learn's converter makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portico.errors import FailedPrecondition, InvalidArgument
from portico.prediction.models.predictors import load

DATA = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32)


def save(path: Path, model: Any, **options: Any) -> Path:
    from skl2onnx import to_onnx

    path.write_bytes(to_onnx(model, DATA[:1], **options).SerializeToString())
    return path.parent


def test_a_regression_takes_lists(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit(DATA, DATA @ [1.0, 2.0, 3.0] + 1)
    model = load("onnx", save(tmp_path / "model.onnx", fitted))
    got = model.predict(DATA[:5].tolist(), None)
    assert got == pytest.approx(fitted.predict(DATA[:5]).tolist(), abs=1e-4)
    assert model.predict([{"X": DATA[0].tolist()}], None) == pytest.approx(got[:1], abs=1e-6)
    with pytest.raises(FailedPrecondition, match="explanation spec"):
        model.explain([[1, 2, 3]], None)
    spec = {
        "parameters": {"sampledShapleyAttribution": {"pathCount": 4}},
        "metadata": {
            "inputs": {"X": {"inputBaselines": [[0, 0, 0]], "indexFeatureMapping": ["a", "b", "c"]}}
        },
    }
    (explained,) = load("onnx", tmp_path, spec).explain([[1, 1, 2]], None)
    attribution = explained["attributions"][0]
    assert attribution["featureAttributions"] == pytest.approx({"a": 1, "b": 2, "c": 6}, abs=1e-4)
    assert attribution["baselineOutputValue"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("zipmap", [True, False])
def test_a_classifier_answers_by_output_name(tmp_path: Path, zipmap: bool) -> None:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(DATA, (DATA[:, 0] > 0).astype(int))
    folder = save(tmp_path / "model.onnx", fitted, options={LogisticRegression: {"zipmap": zipmap}})
    (answer,) = load("onnx", folder).predict([DATA[0].tolist()], None)
    spec = {"parameters": {"sampledShapleyAttribution": {"pathCount": 4}}}
    (explained,) = load("onnx", folder, spec).explain([DATA[0].tolist()], None)
    (attribution,) = explained["attributions"]
    total = attribution["baselineOutputValue"] + sum(attribution["featureAttributions"].values())
    assert total == pytest.approx(fitted.predict_proba(DATA[:1])[0].max(), abs=1e-5)
    assert attribution["outputIndex"] == [int(fitted.predict(DATA[:1])[0])]
    expected = fitted.predict_proba(DATA[:1])[0].tolist()
    scores = answer["output_probability"] if zipmap else answer["probabilities"]
    assert (list(scores.values()) if zipmap else scores) == pytest.approx(expected, abs=1e-5)
    assert answer["output_label" if zipmap else "label"] == int(fitted.predict(DATA[:1])[0])


def test_columns_of_their_own_are_named(tmp_path: Path) -> None:
    import pandas as pd
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame({"size": DATA[:, 0], "color": np.where(DATA[:, 1] > 0, "red", "blue")})
    steps = ColumnTransformer([("c", OneHotEncoder(), ["color"]), ("n", "passthrough", ["size"])])
    fitted = make_pipeline(steps, LinearRegression()).fit(frame, DATA[:, 0] + (DATA[:, 1] > 0))
    kinds = [("size", FloatTensorType([None, 1])), ("color", StringTensorType([None, 1]))]
    (tmp_path / "model.onnx").write_bytes(to_onnx(fitted, initial_types=kinds).SerializeToString())
    model = load("onnx", tmp_path)
    rows = frame.head(4).to_dict("records")
    got = model.predict([{"size": float(r["size"]), "color": r["color"]} for r in rows], None)
    assert got == pytest.approx(fitted.predict(frame.head(4)).tolist(), abs=1e-4)
    with pytest.raises(InvalidArgument, match=r"instances\[1\] lacks the input 'color'"):
        model.predict([{"size": 1, "color": "red"}, {"size": 1}], None)
    with pytest.raises(InvalidArgument, match=r"instances\[0\]\.size is not of the type"):
        model.predict([{"size": "big", "color": "red"}], None)


def test_wrong_shapes_are_named(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    model = load("onnx", save(tmp_path / "model.onnx", LinearRegression().fit(DATA, DATA[:, 0])))
    with pytest.raises(InvalidArgument, match=r"instances\[1\] has the shape \[2\]"):
        model.predict([[1, 2, 3], [1, 2]], None)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match=r"model\.onnx"):
        load("onnx", tmp_path)
    (tmp_path / "model.onnx").write_text("nothing")
    with pytest.raises(FailedPrecondition, match="can't be loaded"):
        load("onnx", tmp_path)
