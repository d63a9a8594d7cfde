"""ARIMA(p, d, q) without seasons by exact maximum likelihood.

The likelihood is that of the innovations algorithm (Brockwell & Davis 1991, 5.3; statsmodels has it compiled), with
the mean and the variance profiled out, so that only the p + q coefficients are searched: as partial autocorrelations
(Monahan 1984), hence always stationary and invertible, from Hannan and Rissanen's (1982) estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats

_NEAR_ONE = 0.9995  # a partial autocorrelation above it is a root on the unit circle


@dataclass(frozen=True)
class Arima:
    """One candidate. `mean` is that of the d times differenced series; `error` says why it has no fit."""

    p: int
    d: int
    q: int
    has_drift: bool
    ar: tuple[float, ...] = ()
    ma: tuple[float, ...] = ()
    mean: float = 0.0
    variance: float = 0.0
    log_likelihood: float | None = None
    aic: float | None = None
    error: str = ""

    @property
    def rank(self) -> float:
        """The AIC, infinite for one without a fit."""
        return math.inf if self.aic is None else self.aic

    @property
    def constant(self) -> float:
        """The equation's constant term: the intercept for d = 0, the drift for d = 1; 0 for d = 2."""
        return self.mean * (1.0 - sum(self.ar))


def fit(series: Floats, p: int, d: int, q: int, *, drift: bool, edge: bool = True) -> Arima:
    """The candidate fitted to `series` (no gaps). A constant is estimated for d = 0, and for d = 1 with `drift`.

    Without `edge` a model whose roots lie on the unit circle is no fit.
    """
    blank = Arima(p, d, q, drift and d == 1)
    changes = np.diff(series, d)
    constant = d == 0 or (d == 1 and drift)
    if len(changes) < p + q + constant + 1:
        points = p + q + constant + 1 + d
        return _failed(blank, f"The time series is too short: this order takes {points} time points or more.")
    scale = float(np.abs(changes).max()) or 1.0
    scaled = changes / scale
    partials = _start(scaled, p, q)
    if p + q:
        partials = _search(scaled, partials, p, constant)
        if not edge and np.abs(np.tanh(partials)).max() > _NEAR_ONE:
            return _failed(blank, "A root lies on the unit circle: not stationary or not invertible.")
    ar, ma = _coefficients(partials, p)
    likelihood, mean, variance = _profile(scaled, ar, ma, constant)
    if not math.isfinite(likelihood):
        return _failed(blank, "The likelihood has no finite maximum.")
    likelihood -= len(changes) * math.log(scale)
    return Arima(
        p,
        d,
        q,
        blank.has_drift,
        tuple(ar.tolist()),
        tuple(ma.tolist()),
        mean * scale,
        variance * scale**2,
        likelihood,
        2.0 * (p + q + constant + 1) - 2.0 * likelihood,
    )


def one_step(series: Floats, model: Arima) -> Floats:
    """What the model expected of each value, knowing those before it. The first d have no forecast: themselves."""
    changes = np.diff(series, model.d) - model.mean
    surprises, _ = _innovations(changes, np.array(model.ar), np.array(model.ma))
    expected = series.copy()
    expected[model.d :] -= surprises
    return expected


def ahead(series: Floats, model: Arima, steps: int) -> tuple[Floats, Floats]:
    """The next `steps` values' means and standard errors (of the innovations only, as is usual)."""
    from scipy.signal import lfilter, lfiltic

    ar, ma = np.array(model.ar), np.array(model.ma)
    changes = np.diff(series, model.d) - model.mean
    surprises, _ = _innovations(changes, ar, ma)
    over, under = np.r_[1.0, ma], np.r_[1.0, -ar]
    if len(over) + len(under) > 2:
        state = lfiltic(over, under, changes[::-1][: model.p], surprises[::-1][: model.q])
        future, _ = lfilter(over, under, np.zeros(steps), zi=state)
    else:
        future = np.zeros(steps)
    future = future + model.mean
    for level in range(model.d - 1, -1, -1):
        future = np.diff(series, level)[-1] + np.cumsum(future)
    for _ in range(model.d):
        under = np.convolve(under, [1.0, -1.0])
    shock = np.zeros(steps)
    shock[:1] = 1.0
    weights = lfilter(over, under, shock)
    return np.asarray(future), np.sqrt(model.variance * np.cumsum(weights**2))


def _failed(blank: Arima, error: str) -> Arima:
    return Arima(blank.p, blank.d, blank.q, blank.has_drift, error=error)


def _innovations(changes: Floats, ar: Floats, ma: Floats) -> tuple[Floats, Floats]:
    """The one-step errors of each column, and their variances in units of the innovations' own."""
    if not len(ar) and not len(ma):
        return changes, np.ones(len(changes))
    from statsmodels.tsa.innovations.arma_innovations import arma_innovations

    errors, spread = arma_innovations(changes, ar, ma)
    return errors, spread


def _profile(changes: Floats, ar: Floats, ma: Floats, constant: bool) -> tuple[float, float, float]:
    """The exact log-likelihood at the best mean and variance, and these two."""
    count = len(changes)
    if constant:
        errors, spread = _innovations(np.column_stack([changes, np.ones(count)]), ar, ma)
        own, one = errors.T
        mean = float((own * one / spread).sum() / (one * one / spread).sum())
        own = own - mean * one
    else:
        own, spread = _innovations(changes, ar, ma)
        mean = 0.0
    variance = max(float((own * own / spread).mean()), 1e-20)
    likelihood = -0.5 * (count * (math.log(2 * math.pi * variance) + 1) + float(np.log(spread).sum()))
    return likelihood, mean, variance


def _search(changes: Floats, start: Floats, p: int, constant: bool) -> Floats:
    from scipy.optimize import minimize

    def cost(partials: Floats) -> float:
        try:
            likelihood = _profile(changes, *_coefficients(partials, p), constant)[0]
        except (ValueError, np.linalg.LinAlgError):
            return 1e10
        return -likelihood / len(changes) if math.isfinite(likelihood) else 1e10

    with np.errstate(all="ignore"):
        found = minimize(cost, start, method="BFGS", options={"maxiter": 50, "gtol": 1e-5})
    return np.asarray(found.x)


def _coefficients(partials: Floats, p: int) -> tuple[Floats, Floats]:
    """AR and MA coefficients of unbounded numbers, each the inverse tanh of a partial autocorrelation."""
    bounded = np.tanh(np.clip(partials, -6.0, 6.0))
    return _levinson(bounded[:p]), -_levinson(bounded[p:])


def _levinson(partials: Floats) -> Floats:
    found = np.zeros(0)
    for partial in partials:
        found = np.r_[found - partial * found[::-1], partial]
    return found


def _partials(coefficients: Floats) -> Floats:
    """The inverse of `_levinson`; what lies outside the stationary region is drawn into it."""
    left = coefficients.copy()
    found: list[float] = []
    while len(left):
        last = float(np.clip(left[-1], -0.9, 0.9))
        found.append(last)
        left = (left[:-1] + last * left[:-1][::-1]) / (1.0 - last * last)
    return np.array([math.atanh(partial) for partial in reversed(found)])


def _start(changes: Floats, p: int, q: int) -> Floats:
    """Hannan and Rissanen: the residuals of a long autoregression stand for the innovations."""
    centred = changes - changes.mean()
    count = len(centred)
    if q:
        order = min(max(8, 2 * (p + q)), max(count // 4, 1))
        past = _lags(centred, order)
        noise = np.zeros(count)
        noise[order:] = centred[order:] - past @ np.linalg.lstsq(past, centred[order:], rcond=None)[0]
    else:
        order, noise = 0, np.zeros(count)
    first = order + max(p, q)
    if count - first <= p + q + 1:
        return np.zeros(p + q)
    columns = [_lags(centred, p)[first - p :], _lags(noise, q)[first - q :]]
    design = np.column_stack(columns)
    found = np.linalg.lstsq(design, centred[first:], rcond=None)[0] if p + q else np.zeros(0)
    return np.append(_partials(found[:p]), _partials(-found[p:]))


def _lags(series: Floats, order: int) -> NDArray[np.float64]:
    """Rows order..n-1 of the `order` values before each."""
    count = len(series)
    if not order:
        return np.zeros((count, 0))
    return np.column_stack([series[order - lag : count - lag] for lag in range(1, order + 1)])
