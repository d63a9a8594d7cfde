"""One fitted encoder per column: a cell becomes one or more floats, the same online and in batch.

An encoder's `encode(value)` is the only definition of what a cell becomes; the batch form calls it once per
distinct value. All state is plain JSON.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

import numpy as np

from portico.ml import arrays, values
from portico.ml.arrays import Column, Floats, Mask

UNKNOWN, MISSING = 0, 1  # the first two codes of every categorical column
_RARE = 5  # as Google's categorical transformation: a category seen less often is the unknown one


class Encoder(Protocol):
    """`width` output columns; `cardinality` is the number of codes of a categorical output, 0 for numbers."""

    kind: ClassVar[str]
    name: str

    @property
    def width(self) -> int: ...

    @property
    def cardinality(self) -> int: ...

    def encode(self, value: Any) -> Any:
        """A float, or a tuple of `width` floats. Raises ValueError for a value of a wrong type."""
        ...


def encode_column(encoder: Encoder, column: Column) -> tuple[Floats, Mask, str]:
    """The column as (rows, width) float64, the mask of bad cells, and the first bad cell's message."""
    if isinstance(encoder, NumericEncoder):
        cells, bad = arrays.numbers(column)
        if not bad.any():
            return cells[:, None], bad, ""
    rows, errors, bad = arrays.distinct(column, encoder.encode, encoder.width)
    return rows.reshape(len(column), encoder.width), bad, errors[0] if errors else ""


@dataclass(slots=True)
class NumericEncoder:
    """The number itself; missing is NaN. `absent` holds words that stood for "missing" in the training data."""

    kind: ClassVar[str] = "numeric"
    name: str
    absent: list[str] = field(default_factory=list)
    invalid_values_allowed: bool = False
    width: ClassVar[int] = 1
    cardinality: ClassVar[int] = 0

    def encode(self, value: Any) -> float:
        try:
            return values.number(value)
        except ValueError:
            if self.invalid_values_allowed or (isinstance(value, str) and value in self.absent):
                return values.NAN
            raise ValueError(f"{value!r} is not a number") from None


@dataclass(slots=True)
class CategoricalEncoder:
    """A code per category; unseen and rare categories share one, missing has its own.

    The codes stand in the order of the target's mean, so that a learner which takes them as numbers can use them. Means
    that differ no more than by chance order nothing: that order would only tell each training row of its own target.
    Then how often a category is seen orders them.
    """

    kind: ClassVar[str] = "categorical"
    name: str
    codes: dict[str, int]
    width: ClassVar[int] = 1

    @classmethod
    def fit(cls, name: str, column: Column, goals: Floats) -> CategoricalEncoder:
        """`goals` (rows, statistics): the first orders the codes."""
        counts, sums = category_sums(column, goals[:, 0])
        kept = [label for label, count in counts.items() if count >= _RARE] or list(counts)
        means = {label: sums[label] / counts[label] for label in kept}
        if _by_chance([counts[label] for label in kept], list(means.values()), goals[:, 0]):
            kept.sort(key=lambda label: (-counts[label], label))
        else:
            kept.sort(key=lambda label: (means[label], label))
        return cls(name, {label: code for code, label in enumerate(kept, 2)})

    @property
    def cardinality(self) -> int:
        return len(self.codes) + 2

    def encode(self, value: Any) -> float:
        label = values.category(value)
        return float(MISSING if label is None else self.codes.get(label, UNKNOWN))


def _by_chance(counts: list[int], means: list[float], goal: Floats) -> bool:
    """Whether the means of groups of `goal` differ no more than three standard deviations of what chance makes: by the
    F of an analysis of variance, which then is about 1 with a variance of 2 / (groups - 1) (Fisher 1925)."""
    groups, rows = len(counts), sum(counts)
    if groups < 3 or rows <= groups:
        return False
    size, mean = np.array(counts), np.array(means)
    between = float((size * (mean - goal.mean()) ** 2).sum())
    within = max(float(len(goal) * goal.var()) - between, 0.0)
    chance = 1 + 3 * math.sqrt(2 / (groups - 1))
    return between / (groups - 1) <= chance * within / (rows - groups)


@dataclass(slots=True)
class TargetEncoder:
    """Categories of a column with many: smoothed means of the target per category, and how often it was seen.

    `means[label]` holds one mean per target statistic and the logarithm of the count; `prior` is what an unseen
    category gets. Smoothing is additive: (sum + strength * prior) / (count + strength) (Micci-Barreca 2001).
    """

    kind: ClassVar[str] = "high_cardinality"
    name: str
    means: dict[str, list[float]]
    prior: list[float]
    absent: list[float]
    cardinality: ClassVar[int] = 0

    @property
    def width(self) -> int:
        return len(self.prior)

    def encode(self, value: Any) -> tuple[float, ...]:
        label = values.category(value)
        return tuple(self.absent if label is None else self.means.get(label, self.prior))


_FIELDS: Mapping[str, Callable[[datetime], float]] = {
    "year": lambda t: t.year,
    "month": lambda t: t.month,
    "day": lambda t: t.day,
    "weekday": lambda t: t.weekday(),
    "day_of_year": lambda t: t.timetuple().tm_yday,
    "hour": lambda t: t.hour,
    "minute": lambda t: t.minute,
    "second": lambda t: t.second,
}


_WITHIN_A_WEEK = ("weekday", "hour", "minute", "second")
_YEAR = 365 * 86400


@dataclass(slots=True)
class TimestampEncoder:
    """Calendar fields (UTC) and, with `elapsed`, days since `start`; only fields that vary in training are made.

    Trees don't extrapolate: beyond the training data the days only say "late". When later rows are to be predicted
    (`future`) from less than two years, season and trend can't be told apart, and each date is one of a kind: then
    only the fields within a week are made. (Measured on hourly bike rentals, a model of 2011 at the end of that
    year: root mean squared error 67 without the others, 88 with them; from two years on they help.)
    """

    kind: ClassVar[str] = "timestamp"
    name: str
    fields: list[str]
    start: float
    elapsed: bool = True
    time_format: str = ""
    invalid_values_allowed: bool = False
    cardinality: ClassVar[int] = 0

    @classmethod
    def fit(
        cls, name: str, column: Column, time_format: str, invalid_values_allowed: bool, future: bool
    ) -> TimestampEncoder:
        def fields(value: Any) -> tuple[float, ...]:
            return _calendar(values.timestamp(value, time_format), tuple(_FIELDS))

        rows, _, _ = arrays.distinct(column, fields, len(_FIELDS))
        seconds, _, _ = arrays.distinct(column, lambda value: values.timestamp(value, time_format), 1)
        present = rows[seconds == seconds]
        varying = [key for key, cells in zip(_FIELDS, present.T, strict=True) if len(set(cells.tolist())) > 1]
        start = float(seconds[seconds == seconds].min()) if len(present) else 0.0
        elapsed = True
        if future and len(present) and np.nanmax(seconds) - start < 2 * _YEAR:
            varying = [key for key in varying if key in _WITHIN_A_WEEK]
            elapsed = not varying
        return cls(name, varying, start, elapsed, time_format, invalid_values_allowed)

    @property
    def width(self) -> int:
        return len(self.fields) + self.elapsed

    def encode(self, value: Any) -> tuple[float, ...]:
        try:
            seconds = values.timestamp(value, self.time_format)
            fields = _calendar(seconds, self.fields)
            return (*fields, (seconds - self.start) / 86400) if self.elapsed else fields
        except (ValueError, OverflowError, OSError):
            if self.invalid_values_allowed:
                return (values.NAN,) * self.width
            raise ValueError(f"{value!r} is not a time in {self.time_format or 'RFC 3339'}") from None


def _calendar(seconds: float, fields: list[str] | tuple[str, ...]) -> tuple[float, ...]:
    if seconds != seconds:
        return (values.NAN,) * len(fields)
    moment = datetime.fromtimestamp(seconds, UTC)
    return tuple(float(_FIELDS[key](moment)) for key in fields)


@dataclass(slots=True)
class TextEncoder:
    """A linear model's scores on tf-idf weighted words, the number of words, and the number of characters.

    `weights[word]` holds idf and one weight per score; a text's tf-idf vector has length one. Missing text is NaN.
    """

    kind: ClassVar[str] = "text"
    name: str
    weights: dict[str, list[float]]
    bias: list[float]
    cardinality: ClassVar[int] = 0

    @property
    def width(self) -> int:
        return len(self.bias) + 2

    def encode(self, value: Any) -> tuple[float, ...]:
        written = values.text(value)
        if written is None:
            return (values.NAN,) * self.width
        counts = Counter(values.words(written))
        scores, norm = [0.0] * len(self.bias), 0.0
        for word, count in counts.items():
            known = self.weights.get(word)
            if known is None:
                continue
            weight = (1 + math.log(count)) * known[0]
            norm += weight * weight
            for position in range(len(scores)):
                scores[position] += weight * known[position + 1]
        length = math.sqrt(norm) or 1.0
        linear = (score / length + bias for score, bias in zip(scores, self.bias, strict=True))
        return (*linear, float(counts.total()), float(len(written)))


def category_sums(column: Column, goal: Floats) -> tuple[dict[str, int], dict[str, float]]:
    """How often each category occurs and the sum of `goal` over it; cells that are missing or lists are left out."""
    codes, cells = arrays.factorize(column)
    counts: dict[str, int] = {}
    sums: dict[str, float] = {}
    per_cell = zip(
        cells,
        np.bincount(codes, minlength=len(cells)).tolist(),
        np.bincount(codes, goal, minlength=len(cells)).tolist(),
        strict=True,
    )
    for cell, count, total in per_cell:
        try:
            label = values.category(cell)
        except ValueError:
            continue
        if label is not None and count:
            counts[label] = counts.get(label, 0) + count
            sums[label] = sums.get(label, 0.0) + total
    return counts, sums


ENCODERS: dict[str, type] = {
    encoder.kind: encoder
    for encoder in (NumericEncoder, CategoricalEncoder, TargetEncoder, TimestampEncoder, TextEncoder)
}
