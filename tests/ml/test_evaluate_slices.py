from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from portico.ml.measure.evaluate import (
    CLASSIFICATION_SCHEMA,
    REGRESSION_SCHEMA,
    evaluate_classification,
    evaluate_regression,
)
from portico.ml.measure.evaluate_slices import evaluate_slices

ROWS = 400
GENERATOR = np.random.default_rng(5)
Y = GENERATOR.integers(0, 3, ROWS)
MARGINS = GENERATOR.normal(size=(ROWS, 3)) + (Y[:, None] == np.arange(3))
SCORES = np.exp(MARGINS) / np.exp(MARGINS).sum(axis=1, keepdims=True)
LABELS = ["red", "green", "blue"]
TOWN = np.array(["Ulm", "Bern", None, "Oslo"], object)[GENERATOR.choice(4, ROWS, p=[0.3, 0.5, 0.18, 0.02])]


def test_classes() -> None:
    slices = evaluate_slices(Y, SCORES, labels=LABELS)
    assert [part["slice"] for part in slices] == [
        {"dimension": "annotationSpec", "value": label} for label in LABELS
    ]
    for place, part in enumerate(slices):
        metrics, positive, score = part["metrics"], place == Y, SCORES[:, place]
        assert part["metricsSchemaUri"] == CLASSIFICATION_SCHEMA
        assert metrics["auRoc"] == pytest.approx(sk.roc_auc_score(positive, score))
        assert metrics["auPrc"] == pytest.approx(sk.average_precision_score(positive, score))
        assert metrics["logLoss"] == pytest.approx(sk.log_loss(positive, score))
        half = next(entry for entry in metrics["confidenceMetrics"] if entry["confidenceThreshold"] == 0.5)
        assert half["recall"] == pytest.approx(sk.recall_score(positive, score >= 0.5))
        assert half["precision"] == pytest.approx(sk.precision_score(positive, score >= 0.5))
        assert half["truePositiveCount"] == str((positive & (score >= 0.5)).sum())
        top = SCORES.argmax(axis=1) == place
        first = metrics["confidenceMetrics"][0]
        assert first["recallAt1"] == pytest.approx(sk.recall_score(positive, top))
        assert first["precisionAt1"] == pytest.approx(sk.precision_score(positive, top))
    json.dumps(slices, allow_nan=False)


def test_a_class_that_never_occurs_has_no_slice() -> None:
    slices = evaluate_slices(np.minimum(Y, 1), SCORES, labels=LABELS)
    assert [part["slice"]["value"] for part in slices] == ["red", "green"]


def test_feature_values() -> None:
    parts = evaluate_slices(Y, SCORES, labels=LABELS, features={"town": TOWN})[3:]
    # Most rows first; the missing town and the one with few rows are no slices.
    assert [part["slice"] for part in parts] == [
        {
            "dimension": "slice",
            "value": f"town={town}",
            "sliceSpec": {"configs": {"town": {"value": {"stringValue": town}}}},
        }
        for town in ("Bern", "Ulm")
    ]
    rows = TOWN == "Ulm"
    whole = evaluate_classification(Y[rows], SCORES[rows], LABELS)
    ulm = parts[1]["metrics"]
    assert ulm["auRoc"] == whole["auRoc"] and ulm["confusionMatrix"] == whole["confusionMatrix"]
    assert len(ulm["confidenceMetrics"]) == 24


def test_regression_by_number_and_with_weights() -> None:
    actual, predicted = GENERATOR.normal(size=(2, ROWS))
    weights = GENERATOR.uniform(0, 1, ROWS)
    year = GENERATOR.choice([2011, 2012], ROWS)
    parts = evaluate_slices(actual, predicted, features={"year": year}, weights=weights)
    assert {json.dumps(part["slice"]["sliceSpec"]) for part in parts} == {
        f'{{"configs": {{"year": {{"value": {{"floatValue": {value}}}}}}}}}' for value in (2011.0, 2012.0)
    }
    for part in parts:
        rows = year == part["slice"]["sliceSpec"]["configs"]["year"]["value"]["floatValue"]
        assert part["metricsSchemaUri"] == REGRESSION_SCHEMA
        assert part["metrics"] == evaluate_regression(actual[rows], predicted[rows], weights[rows])


def test_at_most_so_many_values() -> None:
    name = np.array([f"n{place}" for place in range(20)])[np.arange(ROWS) % 20]
    assert evaluate_slices(Y * 1.0, Y * 1.0, features={"name": name}) == []
    assert len(evaluate_slices(Y * 1.0, Y * 1.0, features={"name": name}, minimum=20, most=4)) == 4
