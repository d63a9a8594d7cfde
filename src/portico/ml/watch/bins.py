"""Bins fixed at training, and exact counts in them: what a window of rows is to monitoring.

Counts of two windows, of two fronts, of two files add up to the counts of all their rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from portico.ml import arrays, values
from portico.ml.arrays import Column, Floats

Kind = Literal["numeric", "categorical"]

_MOST_BINS = 40
_MOST_CATEGORIES = 200
_BLOCK = 16_384  # numbers that are sorted at once
_MOST_NEW = 200  # categories that training did not know, kept by name; the rest are counted together


@dataclass(frozen=True, slots=True)
class FeatureBins:
    """How one feature's values are binned.

    Numeric: bin i holds edges[i] <= x < edges[i+1], the last one its upper edge too; what lies outside the training's
    range counts as `under` or `over`. Categorical: a bin a category; those beyond `_MOST_CATEGORIES` are not bins.
    """

    name: str
    kind: Kind
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return len(self.categories) if self.kind == "categorical" else max(len(self.edges) - 1, 1)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "edges": self.edges, "categories": self.categories}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> FeatureBins:
        return cls(body["name"], body["kind"], tuple(body["edges"]), tuple(body["categories"]))


@dataclass(slots=True)
class Counts:
    """One feature of one window: rows in each bin, and rows that are in none.

    `new` are categories without a bin of their own (by name, `other_new` beyond the first `_MOST_NEW`); `invalid` rows
    hold a value of a wrong type; `missing` ones none.
    """

    bins: list[int]
    under: int = 0
    over: int = 0
    missing: int = 0
    invalid: int = 0
    new: dict[str, int] = field(default_factory=dict)
    other_new: int = 0

    @property
    def present(self) -> int:
        """Rows with a value that could be read."""
        return sum(self.bins) + self.unbinned

    @property
    def unbinned(self) -> int:
        """Rows with a value that is new: outside the range, or a category without a bin."""
        return self.under + self.over + sum(self.new.values()) + self.other_new

    @property
    def rows(self) -> int:
        return self.present + self.missing + self.invalid

    def merge(self, other: Counts) -> Counts:
        """The counts of both windows' rows."""
        new = dict(self.new)
        for name, count in other.new.items():
            new[name] = new.get(name, 0) + count
        kept = sorted(new, key=lambda name: (-new[name], name))
        rest = sum(new[name] for name in kept[_MOST_NEW:])
        return Counts(
            [a + b for a, b in zip(self.bins, other.bins, strict=True)],
            self.under + other.under,
            self.over + other.over,
            self.missing + other.missing,
            self.invalid + other.invalid,
            {name: new[name] for name in kept[:_MOST_NEW]},
            self.other_new + other.other_new + rest,
        )

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Counts:
        return cls(**body)


Window = dict[str, Counts]


def fit_bins(table: pa.Table, kinds: Mapping[str, str] | None = None) -> list[FeatureBins]:
    """Bins for every column of `table` that `kinds` names (all, where it is None).

    `kinds` are words of a model's manifest: "numeric" and "categorical" as they are, high-cardinality and text as
    categories, "timestamp" left out (time always moves on); an unknown kind is read from the data. Numeric edges are
    quantiles (at most 40 bins of about equal counts; a value that fills a bin alone has it alone), so that every
    bin has rows to compare with.
    """
    made = []
    for name in table.column_names:
        kind = "" if kinds is None else kinds.get(name, "left out")
        if kind in ("left out", "timestamp", "constant", "missing", "unsupported"):
            continue
        column = table[name]
        if kind == "numeric" or (kind == "" and _is_numeric(column)):
            made.append(FeatureBins(name, "numeric", edges=_edges(arrays.numbers(column)[0])))
        else:
            named, *_ = categories_of(column)
            first = sorted(named, key=lambda category: (-named[category], category))[:_MOST_CATEGORIES]
            made.append(FeatureBins(name, "categorical", categories=tuple(first)))
    return made


def _is_numeric(column: Column) -> bool:
    if pa.types.is_boolean(column.type):
        return False
    numbers, bad = arrays.numbers(column)
    return bool(np.isfinite(numbers).any()) and not bad.any()


def _edges(numbers: Floats) -> tuple[float, ...]:
    finite = numbers[np.isfinite(numbers)]
    if len(finite) == 0:
        return ()
    quantiles = np.quantile(finite, np.linspace(0, 1, _MOST_BINS + 1), method="lower")
    edges = np.unique(quantiles)
    # A value that spans quantiles fills a bin: the next edge is the float above it.
    heavy = np.unique(quantiles[:-1][quantiles[:-1] == quantiles[1:]])
    edges = np.unique(np.concatenate([edges, np.nextafter(heavy, np.inf)]))
    return tuple(float(edge) for edge in (edges if len(edges) > 1 else np.append(edges, edges[0])))


def count(table: pa.Table | pa.RecordBatch, bins: list[FeatureBins]) -> Window:
    """The counts of `table`'s rows; a column that is absent counts as missing in every row."""
    rows = table.num_rows
    window: Window = {}
    for feature in bins:
        position = table.schema.get_field_index(feature.name)
        if position < 0:
            window[feature.name] = Counts([0] * feature.size, missing=rows)
        elif feature.kind == "numeric":
            window[feature.name] = _count_numbers(table.column(position), feature)
        else:
            window[feature.name] = _count_categories(table.column(position), feature)
    return window


def merge(one: Window, other: Window) -> Window:
    """The window of both windows' rows; they have the same bins, or `one` has no rows and is empty."""
    return {name: one[name].merge(counts) if name in one else counts for name, counts in other.items()}


def _count_numbers(column: Column, feature: FeatureBins) -> Counts:
    counts = Counts([0] * feature.size)
    for part in _parts(column):
        numbers, bad = arrays.numbers(part)
        invalid = int(bad.sum())
        if feature.edges:
            places = _places(numbers, np.asarray(feature.edges))
            known, inside = int(places[-1]), np.diff(places[:-1])
            counts.under += int(places[0])
            counts.over += int(known - places[-2])
            counts.bins = [have + more for have, more in zip(counts.bins, inside.tolist(), strict=True)]
        else:
            known = int(np.count_nonzero(~np.isnan(numbers)))
            counts.over += known
        counts.invalid += invalid
        counts.missing += len(numbers) - known - invalid
    return counts


def _places(numbers: Floats, edges: Floats) -> NDArray[np.int64]:
    """How many of `numbers` are below each edge (or at it, for the last), and how many are numbers at all.

    Looking up edges in sorted blocks that fit the cache is several times as fast as looking up numbers among edges.
    """
    found = np.zeros(len(edges) + 1, np.int64)
    for start in range(0, len(numbers), _BLOCK):
        block = np.sort(numbers[start : start + _BLOCK])  # NaN comes last
        found[:-2] += block.searchsorted(edges[:-1], "left")
        found[-2] += block.searchsorted(edges[-1], "right")
        found[-1] += block.searchsorted(np.nan, "left")
    return found


def _parts(column: Column) -> list[pa.Array]:
    return list(column.chunks) if isinstance(column, pa.ChunkedArray) else [column]


def _count_categories(column: Column, feature: FeatureBins) -> Counts:
    named, missing, invalid = categories_of(column)
    counts = Counts([named.pop(c, 0) for c in feature.categories], missing=missing, invalid=invalid)
    return counts.merge(Counts([0] * feature.size, new=named))


def categories_of(column: Column) -> tuple[dict[str, int], int, int]:
    """Rows by category; how many are missing; how many are of no type that is a category."""
    named: dict[str, int] = {}
    missing = invalid = 0
    for part in _parts(column):
        for cell, times in _distinct(part):
            try:
                category = values.category(cell)
            except ValueError:
                invalid += times
                continue
            if category is None or values.is_missing(cell):
                missing += times
            elif times:
                named[category] = named.get(category, 0) + times
    return named, missing, invalid


def _distinct(part: pa.Array) -> Iterable[tuple[Any, int]]:
    """The distinct cells of `part` and how often each is there."""
    if pa.types.is_nested(part.type) or pa.types.is_temporal(part.type):
        codes, cells = arrays.factorize(part)
        return zip(cells, np.bincount(codes, minlength=len(cells)).tolist(), strict=True)
    if not pa.types.is_dictionary(part.type):
        part = pc.dictionary_encode(part)
    found = np.bincount(part.indices.drop_null().to_numpy(), minlength=len(part.dictionary))
    return [*zip(part.dictionary.to_pylist(), found.tolist(), strict=True), (None, part.null_count)]
