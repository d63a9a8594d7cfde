"""ARIMA's likelihood, coefficients and forecasts are those of statsmodels, and the search is Google's."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.tsa.arima.model import ARIMA

from portico.ml.bqml.series import arma, auto_arima


def simulated(count: int, seed: int = 3) -> np.ndarray:
    """ARMA(2, 1) around 10."""
    noise = np.random.default_rng(seed).normal(size=count + 50)
    found = np.zeros(count + 50)
    for t in range(2, count + 50):
        found[t] = 0.6 * found[t - 1] - 0.3 * found[t - 2] + noise[t] + 0.4 * noise[t - 1]
    return found[50:] + 10


@pytest.mark.parametrize("order", [(0, 0, 0), (1, 0, 0), (0, 0, 2), (2, 0, 1)])
def test_a_stationary_series(order: tuple[int, int, int]) -> None:
    series = simulated(250)
    ours, theirs = arma.fit(series, *order, drift=False), ARIMA(series, order=order).fit()
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-3)
    assert ours.aic == pytest.approx(theirs.aic, abs=2e-3)
    assert ours.mean == pytest.approx(theirs.params[0], abs=1e-3)
    assert [*ours.ar, *ours.ma] == pytest.approx(theirs.params[1:-1], abs=2e-3)
    assert ours.variance == pytest.approx(theirs.params[-1], rel=1e-3)
    mean, errors = arma.ahead(series, ours, 20)
    expected = theirs.get_forecast(20)
    assert mean == pytest.approx(expected.predicted_mean, abs=2e-3)
    assert errors == pytest.approx(expected.se_mean, abs=2e-3)
    assert arma.one_step(series, ours) == pytest.approx(theirs.fittedvalues, abs=5e-3)


def test_differences_and_drift() -> None:
    series = np.cumsum(simulated(250) - 9.8)
    for drift in (False, True):
        ours = arma.fit(series, 2, 1, 1, drift=drift)
        theirs = ARIMA(series, order=(2, 1, 1), trend="t" if drift else "n").fit()
        assert ours.log_likelihood == pytest.approx(theirs.llf, abs=5e-3)
        mean, errors = arma.ahead(series, ours, 30)
        expected = theirs.get_forecast(30)
        assert mean == pytest.approx(expected.predicted_mean, abs=0.05)
        assert errors == pytest.approx(expected.se_mean, rel=5e-3)
    twice = np.cumsum(series)
    ours, theirs = arma.fit(twice, 1, 2, 1, drift=True), ARIMA(twice, order=(1, 2, 1)).fit()
    assert not ours.has_drift and ours.constant == 0
    assert ours.log_likelihood == pytest.approx(theirs.llf, rel=1e-3)
    assert arma.ahead(twice, ours, 5)[0] == pytest.approx(theirs.forecast(5), rel=1e-3)


def test_the_constant_is_that_of_the_equation() -> None:
    model = arma.fit(simulated(1500), 2, 0, 1, drift=False)
    assert model.constant == pytest.approx(10 * (1 - 0.6 + 0.3), rel=0.1)
    assert model.ar == pytest.approx((0.6, -0.3), abs=0.08) and model.ma == pytest.approx((0.4,), abs=0.08)


def test_how_often_to_difference() -> None:
    noise = np.random.default_rng(0).normal(size=400)
    found = [
        auto_arima.differences(series) for series in (noise, np.cumsum(noise), np.cumsum(np.cumsum(noise)))
    ]
    assert found == [0, 1, 2]
    assert auto_arima.differences(np.full(50, 7.0)) == 0


@pytest.mark.parametrize(("most", "count"), [(1, 3), (2, 6)])
def test_as_many_candidates_as_google_has(most: int, count: int) -> None:
    series = simulated(120)
    assert len(auto_arima.candidates(series, 0, most)) == count
    walk = auto_arima.candidates(np.cumsum(np.random.default_rng(1).normal(size=120)), 0, most)
    assert len(walk) == 2 * count and {model.d for model in walk} == {1}
    assert len(auto_arima.candidates(series, 1, most)) == count - 1


def test_a_constant_series_and_one_too_short() -> None:
    model = arma.fit(np.full(30, 5.0), 0, 0, 0, drift=False)
    assert arma.ahead(np.full(30, 5.0), model, 3)[0] == pytest.approx([5, 5, 5])
    short = arma.fit(np.arange(4.0), 5, 1, 5, drift=False)
    assert "too short" in short.error and short.aic is None
