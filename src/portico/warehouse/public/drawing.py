"""What simulated tables are drawn with: always the same numbers for the same table."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

SEED = 20240101

Array = npt.NDArray[Any]


def generator(name: str) -> np.random.Generator:
    """The one of the table `name`."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def missing(values: Array, where: Array) -> pa.Array:
    """`values`, without those `where` it is true."""
    return pa.array(values, mask=where)


def picked(names: Sequence[Any], at: Array) -> Array:
    """Of `names` those at these places."""
    return np.asarray(names, dtype=object if isinstance(names[0], str) else None)[at]


def weighted(random: np.random.Generator, weights: Sequence[float] | Array, count: int) -> Array:
    """So many places, as often as their weights say."""
    shares = np.asarray(weights, dtype=float)
    return random.choice(len(shares), count, p=shares / shares.sum())


def moments(start: str, seconds: Array) -> Array:
    """Moments so many seconds after `start`, in microseconds."""
    return np.datetime64(start, "us") + (np.asarray(seconds) * 1_000_000).astype("timedelta64[us]")


def days(start: str, count: Array) -> Array:
    return np.datetime64(start, "D") + np.asarray(count).astype("timedelta64[D]")


def hours_of_trips(random: np.random.Generator, count: int) -> Array:
    """Hours of the day, with fractions: a peak in the morning, a higher one in the afternoon."""
    peaks = random.choice([8.3, 17.6, 13.5], count, p=[0.28, 0.37, 0.35])
    return np.mod(random.normal(peaks, np.where(peaks == 13.5, 4.2, 1.3)), 24)
