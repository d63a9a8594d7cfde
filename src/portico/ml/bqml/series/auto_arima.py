"""The order by itself: d by KPSS tests, then p, q and the drift by the lowest AIC (Hyndman & Khandakar 2008).

Google's search space: all p and q whose sum lies between AUTO_ARIMA_MIN_ORDER and AUTO_ARIMA_MAX_ORDER, each with
and without a drift where d is 1.
"""

from __future__ import annotations

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.bqml.series import arma
from portico.ml.bqml.series.arma import Arima

_KPSS_5_PERCENT = 0.463  # Kwiatkowski et al. (1992), table 1: stationary around a level


def differences(series: Floats) -> int:
    """How often the series has to be differenced, 0 to 2, until a KPSS test no longer rejects stationarity."""
    found = 0
    while found < 2 and len(series) > 3 and _kpss(series) > _KPSS_5_PERCENT:
        series = np.diff(series)
        found += 1
    return found


def candidates(series: Floats, min_order: int, max_order: int) -> list[Arima]:
    """Every candidate, fitted; those that cannot be fitted say why. Roots on the unit circle are taken at need only."""
    d = differences(series)
    wanted = [
        (p, d, order - p, drift)
        for order in range(min_order, max_order + 1)
        for p in range(order, -1, -1)
        for drift in ((False, True) if d == 1 else (False,))
    ]
    found = [arma.fit(series, p, d, q, drift=drift, edge=False) for p, d, q, drift in wanted]
    if all(model.error for model in found):
        found = [arma.fit(series, p, d, q, drift=drift) for p, d, q, drift in wanted]
    return found


def _kpss(series: Floats) -> float:
    """The statistic, with a Bartlett window of 3√n/13 lags for the long-run variance (as R's ndiffs has it)."""
    count = len(series)
    left = series - series.mean()
    variance = float(left @ left) / count
    if variance <= 1e-18 * max(float(np.abs(series).max()), 1e-300) ** 2:
        return 0.0
    lags = int(3 * np.sqrt(count) / 13)
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * float(left[lag:] @ left[:-lag]) / count
    sums = np.cumsum(left)
    return float(sums @ sums) / (count**2 * max(variance, 1e-300))
