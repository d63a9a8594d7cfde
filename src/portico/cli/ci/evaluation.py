"""An evaluation, as `portico.client.components.evaluate_model` writes it and any other component may."""

from __future__ import annotations

import msgspec

from portico.errors import InvalidArgument

LOWER_IS_BETTER = ("logLoss", "rootMeanSquaredError", "meanAbsoluteError")


class Measure(msgspec.Struct):
    """A value, and the ends of its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


class Slice(msgspec.Struct):
    rows: int
    metrics: dict[str, float]


class Evaluation(msgspec.Struct, rename="camel"):
    """`slices`: column -> value -> what was measured there; `fairness`: column -> difference -> how large it is."""

    rows: int
    metrics: dict[str, Measure]
    baseline: dict[str, float] = {}
    slices: dict[str, dict[str, Slice]] = {}
    fairness: dict[str, dict[str, float]] = {}
    latency_milliseconds: dict[str, float] = {}

    def measures(self, metric: str) -> dict[str, float]:
        """The slices that have `metric`: "COLUMN VALUE" -> what it is there."""
        return {
            f"{column} {value}": one.metrics[metric]
            for column, values in self.slices.items()
            for value, one in values.items()
            if metric in one.metrics
        }

    def differences(self) -> dict[str, float]:
        """The fairness of all columns."""
        return {
            f"{name} between values of {column}": value
            for column, some in self.fairness.items()
            for name, value in some.items()
        }


def read(data: bytes, whose: str) -> Evaluation:
    """
    Raises:
        InvalidArgument: it is none; `whose` says which.
    """
    try:
        return msgspec.json.decode(data, type=Evaluation)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"{whose} is no evaluation such as evaluate_model writes: {error}.") from None
