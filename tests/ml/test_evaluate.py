from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from portico.ml.errors import DataError
from portico.ml.measure.curves import rank, thin
from portico.ml.measure.evaluate import evaluate_classification, evaluate_regression, not_computed, one_class
from portico.ml.measure.evaluate_confidence import THRESHOLDS


def classes(
    seed: int, rows: int, count: int, *, ties: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, count, rows)
    margins = generator.normal(size=(rows, count)) + 1.2 * (y[:, None] == np.arange(count))
    scores = np.exp(margins) / np.exp(margins).sum(axis=1, keepdims=True)
    if ties:
        scores = np.round(scores * 4) / 4
    return y, scores, generator.uniform(0.1, 3, rows)


CASES = st.tuples(st.integers(0, 10**6), st.integers(4, 80), st.integers(2, 5), st.booleans(), st.booleans())


@given(CASES)
@settings(max_examples=25, deadline=None)
def test_classification_against_scikit_learn(case: tuple[int, int, int, bool, bool]) -> None:
    seed, rows, count, ties, weighted = case
    y, scores, weights = classes(seed, rows, count, ties=ties)
    weights = weights if weighted else None
    labels = [f"class {place}" for place in range(count)]
    found = evaluate_classification(y, scores, labels, weights)

    truth = (y[:, None] == np.arange(count)).ravel()
    repeated = None if weights is None else np.repeat(weights, count)
    if one_class(y, weights):
        assert not {"auRoc", "auPrc"} & found.keys()
        assert f"of the class 'class {y[0]}'" in not_computed(found, y, labels, weights)["auRoc"]
    else:
        roc = sk.roc_auc_score(truth, scores.ravel(), sample_weight=repeated)
        precision = sk.average_precision_score(truth, scores.ravel(), sample_weight=repeated)
        assert (found["auRoc"], found["auPrc"]) == (pytest.approx(roc), pytest.approx(precision))
    if not ties:
        assert found["logLoss"] == pytest.approx(
            sk.log_loss(y, scores, labels=range(count), sample_weight=weights)
        )
    assert found["confusionMatrix"]["rows"] == sk.confusion_matrix(
        y, scores.argmax(axis=1), labels=range(count)
    ).tolist()  # fmt: skip
    assert [spec["displayName"] for spec in found["confusionMatrix"]["annotationSpecs"]] == labels

    entries = found["confidenceMetrics"]
    assert {0.0, 0.05, 0.5, 0.95, 0.99} <= {round(entry["confidenceThreshold"], 12) for entry in entries}
    assert len(entries) <= 100
    for entry in entries[:: max(1, len(entries) // 7)]:
        called = (scores >= entry["confidenceThreshold"]).ravel()
        check_entry(entry, "", truth, called, repeated)
        top = np.zeros_like(scores, bool)
        top[np.arange(rows), scores.argmax(axis=1)] = True
        check_entry(entry, "At1", truth, called & top.ravel(), repeated)
        negatives, positives = sk.confusion_matrix(truth, called, labels=[False, True]).tolist()
        counts = [
            entry[f"{name}Count"]
            for name in ("trueNegative", "falsePositive", "falseNegative", "truePositive")
        ]
        assert counts == [str(number) for number in (*negatives, *positives)]
        macro = sk.f1_score(
            y[:, None] == np.arange(count),
            called.reshape(scores.shape),
            average="macro",
            sample_weight=weights,
            zero_division=0,
        )
        assert entry["f1ScoreMacro"] == pytest.approx(macro)
    json.dumps(found, allow_nan=False)


def check_entry(
    entry: dict, suffix: str, truth: np.ndarray, called: np.ndarray, weights: np.ndarray | None
) -> None:
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truth, called, average="binary", sample_weight=weights, zero_division=0
    )
    assert entry[f"recall{suffix}"] == pytest.approx(recall)
    assert entry[f"f1Score{suffix}"] == pytest.approx(f1)
    assert entry.get(f"precision{suffix}", 0) == pytest.approx(precision)
    assert (f"precision{suffix}" in entry) == called.any()
    fall_out = sk.recall_score(~truth, called, sample_weight=weights, zero_division=0)
    assert entry[f"falsePositiveRate{suffix}"] == pytest.approx(fall_out)


def test_a_known_classification() -> None:
    """The shape of Vertex AI's answers for two classes: at threshold 0 every label of every row is called."""
    y = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    found = evaluate_classification(y, scores, ["no", "yes"])
    assert found["confidenceMetrics"][0] == {
        "confidenceThreshold": 0.0,
        "recall": 1.0,
        "precision": 0.5,
        "falsePositiveRate": 1.0,
        "f1Score": pytest.approx(2 / 3),
        "recallAt1": 0.75,
        "precisionAt1": 0.75,
        "falsePositiveRateAt1": 0.25,
        "f1ScoreAt1": 0.75,
        "truePositiveCount": "4",
        "falsePositiveCount": "4",
        "falseNegativeCount": "0",
        "trueNegativeCount": "0",
        "f1ScoreMicro": pytest.approx(2 / 3),
        "f1ScoreMacro": pytest.approx(2 / 3),
    }
    assert found["confusionMatrix"]["rows"] == [[1, 1], [0, 2]]
    last = found["confidenceMetrics"][-1]
    assert last["confidenceThreshold"] == 0.99
    assert last["recall"] == 0 and "precision" not in last


def test_certain_and_wrong_is_not_infinite() -> None:
    found = evaluate_classification(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), ["a", "b"])
    assert 10 < found["logLoss"] < 40


def test_many_classes_have_no_confusion_matrix() -> None:
    y, scores, _ = classes(0, 300, 101)
    assert "confusionMatrix" not in evaluate_classification(y, scores, [str(place) for place in range(101)])


@given(st.integers(0, 10**6), st.integers(2, 60), st.booleans(), st.sampled_from([0.0, 5.0]), st.booleans())
@settings(deadline=None)
def test_regression_against_scikit_learn(
    seed: int, rows: int, weighted: bool, shift: float, integers: bool
) -> None:
    generator = np.random.default_rng(seed)
    y, predicted = generator.normal(shift, 1, (2, rows))
    if integers:
        y = y.round()
    weights = generator.uniform(0.1, 3, rows) if weighted else None
    found = evaluate_regression(y, predicted, weights)
    assert found["rootMeanSquaredError"] == pytest.approx(
        sk.root_mean_squared_error(y, predicted, sample_weight=weights)
    )
    assert found["meanAbsoluteError"] == pytest.approx(
        sk.mean_absolute_error(y, predicted, sample_weight=weights)
    )
    assert ("meanAbsolutePercentageError" in found) == bool((y != 0).all())
    if (y != 0).all():
        share = sk.mean_absolute_percentage_error(y, predicted, sample_weight=weights)
        assert found["meanAbsolutePercentageError"] == pytest.approx(100 * share)
    assert ("rootMeanSquaredLogError" in found) == bool((y >= 0).all() and (predicted >= 0).all())
    if "rootMeanSquaredLogError" in found:
        assert found["rootMeanSquaredLogError"] == pytest.approx(
            sk.root_mean_squared_log_error(y, predicted, sample_weight=weights)
        )
    if np.ptp(y) > 0:
        covariance = np.cov(y, predicted, aweights=weights)
        squared = covariance[0, 1] ** 2 / covariance[0, 0] / covariance[1, 1]
        assert found["rSquared"] == pytest.approx(squared)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9, -3.3])
def test_no_correlation_with_a_constant(constant: float) -> None:
    y = np.array([1.0, 2.0, 4.0])
    assert "rSquared" not in evaluate_regression(y, np.full(3, constant))
    assert "rSquared" not in evaluate_regression(np.full(3, constant), y)


def test_what_cannot_be_measured() -> None:
    y, scores = np.array([0, 1]), np.full((2, 2), 0.5)
    for broken in (
        lambda: evaluate_classification(y[:0], scores[:0], ["a", "b"]),
        lambda: evaluate_classification(y, scores, ["a", "b", "c"]),
        lambda: evaluate_classification(y + 1, scores, ["a", "b"]),
        lambda: evaluate_classification(y, scores * np.nan, ["a", "b"]),
        lambda: evaluate_classification(y, scores, ["a", "b"], np.zeros(2)),
        lambda: evaluate_regression(np.zeros(2), np.array([1.0, np.inf])),
        lambda: evaluate_regression(np.zeros(2), np.zeros(3)),
        lambda: evaluate_regression(np.zeros(0), np.zeros(0)),
        lambda: evaluate_regression(np.zeros(2), np.zeros(2), np.array([1.0, -1.0])),
    ):
        with pytest.raises(DataError):
            broken()


def test_one_class_has_no_areas() -> None:
    ranking = rank(np.zeros(5, bool), np.linspace(0, 1, 5))
    assert ranking.au_roc() is None and ranking.au_prc() is None


@given(st.integers(0, 10**6), st.integers(1, 400), st.integers(2, 50))
@settings(deadline=None)
def test_thinning_keeps_the_ends(seed: int, rows: int, points: int) -> None:
    generator = np.random.default_rng(seed)
    ranking = rank(generator.random(rows) < 0.3, generator.integers(0, 50, rows) / 50.0)
    kept = thin(ranking, points)
    assert len(kept) <= max(points, len(ranking.thresholds) if len(ranking.thresholds) <= points else 0)
    assert kept[0] == 0 and kept[-1] == len(ranking.thresholds) - 1
    assert (np.diff(kept) > 0).all()


def test_the_schema_thresholds() -> None:
    assert len(THRESHOLDS) == 24 and (np.diff(THRESHOLDS) > 0).all()
    assert THRESHOLDS[:3] == pytest.approx([0, 0.05, 0.1]) and THRESHOLDS[-5:] == pytest.approx(
        [0.95, 0.96, 0.97, 0.98, 0.99]
    )
