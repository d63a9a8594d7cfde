from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from portico.ml.errors import DataError
from portico.ml.measure.baseline import block_length_of, compare, loss
from portico.ml.measure.baseline_answers import classification_baselines, regression_baselines
from portico.ml.measure.baseline_bootstrap import Resample

HOUR = 3600.0
WEEK = 7 * 24


def rental(hours: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An hourly series with a day, a week and noise; times in seconds."""
    hour = np.arange(hours)
    shape = 100 + 40 * np.sin(hour * 2 * np.pi / 24) + 25 * np.sin(hour * 2 * np.pi / WEEK)
    return hour * HOUR, shape + np.random.default_rng(seed).normal(0, 5, hours)


def test_simple_answers_know_only_the_past() -> None:
    times, values = rental(6 * WEEK)
    cut = 5 * WEEK
    found = regression_baselines(values[:cut], values[cut:], train_times=times[:cut], test_times=times[cut:])
    assert list(found) == [
        "the mean of the training rows",
        "the last value, 1 hour before",
        "the same hour a week before",
    ]
    assert found["the mean of the training rows"] == pytest.approx(values[:cut].mean())
    assert found["the last value, 1 hour before"] == pytest.approx(values[cut - 1 : -1])
    assert found["the same hour a week before"] == pytest.approx(values[cut - WEEK : -WEEK])
    # Whatever happens at an hour or later changes nothing of what is said for it.
    changed = values.copy()
    changed[cut + 10 :] = 1e6
    again = regression_baselines(
        changed[:cut], changed[cut:], train_times=times[:cut], test_times=times[cut:]
    )
    for name, output in found.items():
        assert again[name][:11] == pytest.approx(output[:11])


def test_a_longer_horizon() -> None:
    times, values = rental(6 * WEEK)
    cut = 5 * WEEK
    ahead = {"train_times": times[:cut], "test_times": times[cut:]}
    day = regression_baselines(values[:cut], values[cut:], horizon=24 * HOUR, **ahead)
    assert day["the last value, 1 day before"] == pytest.approx(values[cut - 24 : -24])
    far = regression_baselines(values[:cut], values[cut:], horizon=10 * 24 * HOUR, **ahead)
    assert "the same hour a week before" not in far


def test_gaps_unordered_rows_and_many_rows_a_time() -> None:
    times, values = rental(6 * WEEK)
    keep = np.ones(len(times), bool)
    keep[4 * WEEK : 4 * WEEK + 5] = False  # five hours are missing a week before the first test rows
    cut = 5 * WEEK
    train = np.flatnonzero(keep[:cut])
    order = np.random.default_rng(1).permutation(np.repeat(train, 2))
    jitter = np.tile([-1.0, 1.0], len(train))
    doubled = np.repeat(values[train], 2) + jitter
    found = regression_baselines(
        doubled[np.argsort(np.repeat(train, 2), kind="stable")][np.searchsorted(np.repeat(train, 2), order)],
        values[cut:],
        train_times=times[order],
        test_times=times[cut:],
    )
    weekly = found["the same hour a week before"]
    assert weekly[:5] == pytest.approx(values[cut - 2 * WEEK : cut - 2 * WEEK + 5], abs=1.01)
    assert weekly[5:] == pytest.approx(values[cut - WEEK + 5 : -WEEK], abs=1.01)


def test_daily_rows_and_too_short_a_history() -> None:
    days = np.arange(100) * 24 * HOUR
    found = regression_baselines(
        np.arange(80.0), np.arange(80.0, 100.0), train_times=days[:80], test_times=days[80:]
    )
    assert found["the same day a week before"] == pytest.approx(np.arange(73.0, 93.0))
    short = regression_baselines(
        np.arange(3.0), np.arange(2.0), train_times=days[:3] / 24, test_times=days[3:5] / 24
    )
    assert list(short) == ["the mean of the training rows", "the last value, 1 hour before"]
    assert list(regression_baselines(np.arange(3.0), np.arange(2.0))) == ["the mean of the training rows"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_best_constant(values: list[float]) -> None:
    train = np.array(values)
    for objective in ("minimize-rmse", "minimize-mae", "minimize-rmsle"):
        found = regression_baselines(train, train, objective=objective)
        ((_, answer),) = found.items()
        best = loss(train, answer, objective, np.ones(len(train)))
        for other in (train.min(), train.max(), train.mean(), answer[0] + 0.1, answer[0] * 0.9):
            assert best <= loss(train, np.full(len(train), other), objective, np.ones(len(train))) + 1e-6


def test_class_shares_and_the_last_class() -> None:
    generator = np.random.default_rng(0)
    state = np.cumsum(generator.random(500) < 0.1) % 2  # stays as it is nine times in ten
    times = np.arange(500) * HOUR
    found = classification_baselines(
        state[:400], state[400:], 3, train_times=times[:400], test_times=times[400:]
    )
    shares, last = found["the classes' shares in training"], found["the last class before"]
    assert shares[0] == pytest.approx((np.bincount(state[:400], minlength=3) + 1) / 403)
    assert last.sum(axis=1) == pytest.approx(1) and (last > 0).all()
    assert (last.argmax(axis=1) == state[399:499]).all()
    assert last.max(axis=1) == pytest.approx(0.9, abs=0.03)
    assert loss(state[400:], last, "minimize-log-loss", np.ones(100)) < 0.5
    several = classification_baselines(
        state[:400], state[400:], 3, train_times=times[:400] // (4 * HOUR), test_times=times[400:]
    )
    assert list(several) == ["the classes' shares in training"]


def test_losses_against_scikit_learn() -> None:
    generator = np.random.default_rng(2)
    y, weights = generator.integers(0, 2, 300), generator.uniform(0.1, 2, 300)
    score = np.clip(0.3 * y + 0.7 * generator.random(300), 0.01, 0.99)
    output = np.column_stack((1 - score, score))
    assert loss(y, output, "maximize-au-roc", weights) == pytest.approx(
        1 - sk.roc_auc_score(y, score, sample_weight=weights)
    )
    for name in ("maximize-au-prc", "maximize-precision-at-recall", "maximize-recall-at-precision"):
        assert loss(y, output, name, weights) == pytest.approx(
            1 - sk.average_precision_score(y, score, sample_weight=weights)
        )
    assert loss(y, output, "minimize-log-loss", weights) == pytest.approx(
        sk.log_loss(y, output, sample_weight=weights)
    )
    assert loss(y, score, "minimize-rmsle", weights) == pytest.approx(
        sk.root_mean_squared_log_error(y, score, sample_weight=weights)
    )


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=15, deadline=None)
def test_resampled_areas_are_those_of_the_repeated_rows(seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    positive = generator.random(60) < 0.5
    positive[:2] = [True, False]
    score = generator.random(60) + 0.5 * positive
    score = np.round(score * 5) / 5 if ties else score
    draws = Resample(60, 1, seed)
    weights = np.ones(60)
    for curve, exact in (("roc", sk.roc_auc_score), ("prc", sk.average_precision_score)):
        areas = draws.areas(positive, score, weights, curve)
        for place in range(0, 1000, 250):
            again = draws._counts[place][draws._block_of]
            if again[positive].sum() > 0 and again[~positive].sum() > 0:
                assert areas[place] == pytest.approx(exact(positive, score, sample_weight=again))


def test_a_better_model() -> None:
    times, values = rental(6 * WEEK)
    cut = 5 * WEEK
    simple = regression_baselines(
        values[:cut],
        values[cut:],
        objective="minimize-mae",
        train_times=times[:cut],
        test_times=times[cut:],
    )
    truth = rental(6 * WEEK, seed=9)[1][cut:]  # the same shape with noise of its own
    verdict = compare(values[cut:], (truth + values[cut:]) / 2, simple, "minimize-mae", 24, seed=1)
    assert verdict.model_is_better and verdict.interval and verdict.interval[0] > 0
    assert verdict.best_baseline == "the same hour a week before"
    assert verdict.difference == pytest.approx(
        verdict.baseline_losses[verdict.best_baseline] - verdict.model_loss
    )
    assert verdict.interval[0] < verdict.difference < verdict.interval[1]
    assert verdict.block_length == 21  # eight blocks of a week's hours
    assert "beats 'the same hour a week before'" in verdict.sentence and "% (95% interval" in verdict.sentence
    assert verdict == compare(values[cut:], (truth + values[cut:]) / 2, simple, "minimize-mae", 24, seed=1)
    json.dumps(verdict.to_json(), allow_nan=False)


def test_a_model_that_is_worse_and_one_that_is_as_good() -> None:
    times, values = rental(8 * WEEK)
    cut = 5 * WEEK
    simple = regression_baselines(values[:cut], values[cut:], train_times=times[:cut], test_times=times[cut:])
    mean = np.full(len(values) - cut, values[:cut].mean())
    worse = compare(values[cut:], mean, simple, "minimize-rmse", 24)
    assert not worse.model_is_better
    assert worse.sentence.startswith(
        "A simple answer is better: 'the same hour a week before' reaches a root"
    )
    only_mean = {"the mean of the training rows": mean}
    same = compare(
        values[cut:], mean + np.random.default_rng(0).normal(0, 0.1, len(mean)), only_mean, "minimize-rmse"
    )
    assert not same.model_is_better and same.sentence.startswith("A simple answer is as good")
    assert same.interval and same.interval[0] < 0 < same.interval[1]
    assert ("is worse by 0" in same.sentence) == (same.difference < 0)


def test_areas_speak_of_areas() -> None:
    generator = np.random.default_rng(4)
    y = generator.integers(0, 2, 3000)
    score = np.clip(0.35 + 0.2 * y + 0.2 * generator.normal(size=3000), 0, 1)
    shares = classification_baselines(y, y, 2)
    verdict = compare(y, np.column_stack((1 - score, score)), shares, "maximize-au-roc")
    exact = sk.roc_auc_score(y, score)
    assert verdict.model_is_better and verdict.model_loss == pytest.approx(1 - exact)
    assert verdict.baseline_losses == {"the classes' shares in training": 0.5}
    # DeLong's standard error is about 0.0089 here
    assert verdict.interval and verdict.interval[1] - verdict.interval[0] == pytest.approx(
        4 * 0.0089, rel=0.25
    )
    assert f"area under the ROC curve of {exact:.3g} beats" in verdict.sentence


@pytest.mark.parametrize("trials", [40, pytest.param(120, marks=pytest.mark.slow)])
def test_the_interval_covers(trials: int) -> None:
    """Of 95% intervals, about 95 in 100 hold the true difference, also for errors alike in time."""
    generator = np.random.default_rng(7)
    covered = {1: 0, 25: 0}
    for trial in range(trials):
        shocks = generator.normal(size=600 + 60)
        alike = np.convolve(shocks, np.ones(20) / np.sqrt(20), "valid")[:600]
        noise = generator.normal(size=600)
        for length, error in ((1, noise), (25, alike)):
            # |baseline| - |model| = 0.5 + error, whose mean is 0.5
            model, baseline = np.full(600, 10.0), 10.5 + error
            bounds = compare(np.zeros(600), model, {"b": baseline}, "minimize-mae", length, trial).interval
            assert bounds is not None
            covered[length] += bounds[0] < 0.5 < bounds[1]
    assert 0.89 * trials <= covered[1] <= 0.995 * trials
    assert 0.81 * trials <= covered[25] <= 0.995 * trials  # two dozen blocks hold a little less than they say


def test_few_rows() -> None:
    verdict = compare(np.array([1.0]), np.array([1.0]), {"zero": np.zeros(1)}, "minimize-rmse")
    assert not verdict.model_is_better and verdict.interval is None
    assert "too few rows" in verdict.sentence
    json.dumps(verdict.to_json(), allow_nan=False)
    perfect = compare(np.ones(5), np.ones(5), {"right": np.ones(5)}, "minimize-rmse")
    assert not perfect.model_is_better and perfect.interval == (0.0, 0.0)
    with pytest.raises(DataError):
        compare(np.zeros(3), np.zeros(3), {}, "minimize-rmse")
    with pytest.raises(DataError):
        compare(np.zeros(3), np.zeros(3), {"zero": np.zeros(3)}, "minimize-everything")


def test_block_lengths() -> None:
    assert block_length_of(np.arange(8760) * HOUR) == 24
    assert block_length_of(np.arange(100) * HOUR) == 5
    assert block_length_of(np.arange(100_000) * 7 * 24 * HOUR) == 46
    assert block_length_of(np.zeros(10)) == 1
