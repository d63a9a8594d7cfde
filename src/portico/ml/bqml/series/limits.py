"""Forecasts within limits: the series is modelled as a logarithm of its distance from them (Hyndman, fpp2, 12.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from portico.ml.arrays import Floats


@dataclass(frozen=True)
class Limits:
    """Open bounds, either or both of which may be missing."""

    lower: float | None
    upper: float | None

    @property
    def any(self) -> bool:
        return self.lower is not None or self.upper is not None

    def inward(self, values: Floats) -> Floats:
        """What is modelled; values at or beyond a limit become missing."""
        with np.errstate(invalid="ignore", divide="ignore"):
            above = values - self.lower if self.lower is not None else None
            below = self.upper - values if self.upper is not None else None
            if above is not None and below is not None:
                found = np.log(above / below)
            elif above is not None:
                found = np.log(above)
            elif below is not None:
                found = -np.log(below)
            else:
                return values
        return np.where(np.isfinite(found), found, np.nan)

    def outward(self, values: Floats) -> Floats:
        """The inverse; it keeps the order, so that medians and bounds of intervals stay what they are."""
        if self.lower is not None and self.upper is not None:
            share = 0.5 * (1 + np.tanh(values / 2))
            return self.lower + (self.upper - self.lower) * share
        with np.errstate(over="ignore"):
            if self.lower is not None:
                return self.lower + np.minimum(np.exp(values), 1.7e308)
            if self.upper is not None:
                return self.upper - np.minimum(np.exp(-values), 1.7e308)
        return values
