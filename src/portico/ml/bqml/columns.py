"""Feature columns as numbers, the way BigQuery ML prepares them by itself.

Numbers are standardised and missing ones are the mean; texts, BOOL, DATE, DATETIME and TIME are categories, with one of
their own for NULL; a TIMESTAMP becomes its seconds and its parts; a STRUCT its fields; an array of numbers as many
numbers; an array of texts a set of categories.
(https://cloud.google.com/bigquery/docs/auto-preprocessing)
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.errors import DataError

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
NULL = "_null_filler"
ONE_HOT, DUMMY = "ONE_HOT_ENCODING", "DUMMY_ENCODING"
LABEL, TARGET = "LABEL_ENCODING", "TARGET_ENCODING"
_MOST = 100_000  # categories of a column
_BLOCK = 16_384  # rows of a matrix that are filled at once
_SHARE = 4  # a matrix is at most this part of the machine's memory
_PARTS = {
    "day_of_month": pc.day,
    "day_of_week": pc.day_of_week,
    "month": pc.month,
    "hour": pc.hour,
    "minute": pc.minute,
    "week": pc.iso_week,
    "year": pc.year,
}


@dataclass(slots=True)
class Column:
    """One input of a model. `kind` is number, category, set or sparse; the rest is what ML.FEATURE_INFO says of it."""

    name: str
    kind: str
    mean: float = 0.0
    deviation: float = 1.0
    low: float | None = None
    high: float | None = None
    median: float | None = None
    categories: list[str] = field(
        default_factory=list
    )  # the most frequent first; NULL among them where it was seen
    nulls: int = 0
    of: str = ""  # the column of the table that it is a part of
    dimension: int | None = None
    targets: list[list[float]] = field(
        default_factory=list
    )  # of TARGET: a row a category, and one for none of them


class Encoder:
    """How the columns of a table become a matrix."""

    def __init__(self, columns: list[Column], inputs: list[dict[str, str]]) -> None:
        self.columns = columns
        self.inputs = inputs  # the table's columns: name and Arrow type

    @classmethod
    def fit(cls, table: pa.Table) -> Encoder:
        """
        Raises:
            DataError: a column is of a type that is no feature.
        """
        flat = _flat(table)
        columns = [_learnt(name, kind, of, values) for name, kind, of, values in flat]
        return cls(columns, [{"name": one.name, "type": str(one.type)} for one in table.schema])

    def same(self, table: pa.Table) -> Encoder:
        """This very one, for a training that goes on with a model's.

        Raises:
            DataError: the table has other columns than the one that it was fitted to.
        """
        before = {one["name"].lower(): one["type"] for one in self.inputs}
        now = {one.name.lower(): str(one.type) for one in table.schema}
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                told = [one or "no column" for one in (before.get(name), now.get(name))]
                raise DataError(
                    f"WARM_START: the training data must have the schema of the training before: column {name} was "
                    f"{told[0]}, and is {told[1]}"
                )
        return self

    def aim(self, table: pa.Table, truth: Matrix) -> None:
        """Learns for TARGET what the mean of each output (rows, outputs) is where a category is: of a rare one it is
        drawn to the mean of all (Micci-Barreca 2001, with a weight of ten rows)."""
        whole = truth.mean(axis=0)
        flat = {name: values for name, _, _, values in _flat(self.chosen(table))}
        for one in self.columns:
            if one.kind == "category":
                codes = _codes(flat[one.name], one)
                counts = np.bincount(codes, minlength=len(one.categories))[:, None]
                sums = np.stack(
                    [np.bincount(codes, column, len(one.categories)) for column in truth.T], axis=1
                )
                one.targets = [*((sums + 10 * whole) / (counts + 10)).tolist(), whole.tolist()]

    def json(self) -> dict[str, Any]:
        return {"columns": [asdict(one) for one in self.columns], "inputs": self.inputs}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Encoder:
        return cls([Column(**one) for one in kept["columns"]], kept["inputs"])

    def chosen(self, table: pa.Table) -> pa.Table:
        """The model's own columns of a table, by name, whatever their case.

        Raises:
            DataError: one is not there.
        """
        have = {name.lower(): name for name in table.column_names}
        missing = [one["name"] for one in self.inputs if one["name"].lower() not in have]
        if missing:
            raise DataError(
                f"Column {missing[0]} that the model was trained on is not among the columns of the input "
                f"({', '.join(table.column_names)})"
            )
        names = [one["name"] for one in self.inputs]
        return table.select([have[name.lower()] for name in names]).rename_columns(names)

    def width(self, encoding: str = ONE_HOT) -> int:
        """How many places a row has."""
        drop, label, target = encoding == DUMMY, encoding == LABEL, encoding == TARGET
        found = 0
        for one in self.columns:
            if one.kind == "number" or (label and one.kind == "category"):
                found += 1
            elif target and one.kind == "category":
                found += len(one.targets[-1]) if one.targets else 1
            else:
                found += max(len(one.categories) - (drop and one.kind == "category"), 0)
        return found

    def places(self, encoding: str = ONE_HOT) -> list[tuple[Column, str | None]]:
        """What each column of the matrix is: a number (None) or a category of a column."""
        found: list[tuple[Column, str | None]] = []
        for one in self.columns:
            if one.kind == "number" or (encoding == LABEL and one.kind == "category"):
                found.append((one, None))
            elif encoding == TARGET and one.kind == "category":
                found += [(one, None)] * len(one.targets[-1])
            else:
                drop = encoding == DUMMY and one.kind == "category"
                found += [(one, category) for category in one.categories[1 if drop else 0 :]]
        return found

    def matrix(
        self,
        table: pa.Table,
        encoding: str = ONE_HOT,
        standardize: bool = True,
        floats: type[np.floating[Any]] = np.float64,
    ) -> Matrix:
        """
        Args:
            table: has the model's columns; what is missing is filled as when it was trained, a category that was not
                there then counts as none.

        Returns:
            (rows, places) of `floats`; with labels instead of categories an unknown one is NaN.
        """
        bounded(table.num_rows, self.width(encoding), floats)
        flat = {name: (kind, values) for name, kind, _, values in _flat(self.chosen(table))}
        known = {one.name for one in self.columns}
        for name in flat:
            if name not in known:
                raise DataError(f"Column {name} was not there when the model was trained")
        parts: list[np.ndarray[Any, Any]] = []
        for one in self.columns:
            kind, values = flat.get(one.name, ("", None))
            if kind != one.kind or values is None:
                raise DataError(
                    f"Column {one.name} was a {one.kind} when the model was trained and "
                    f"{f'is a {kind} now' if kind else 'is missing now'}"
                )
            if one.kind == "number":
                found = _numbers(values)
                if np.isnan(found).any():
                    found = np.where(np.isnan(found), one.mean, found)
                parts.append(((found - one.mean) / one.deviation if standardize else found)[:, None])
            elif one.kind == "category":
                parts.append(_categories(_codes(values, one), one, encoding, floats))
            elif one.kind == "sparse":
                parts.append(_sparse(values, one))
            else:
                parts.append(_hot_sets(values, one))
        return _beside(parts, table.num_rows, floats)

    def by_input(self, values: Matrix, encoding: str = ONE_HOT) -> dict[str, np.ndarray[Any, Any]]:
        """Sums the columns of a matrix of `places` by the table's columns: (rows,) each."""
        found: dict[str, np.ndarray[Any, Any]] = {
            one["name"]: np.zeros(values.shape[0]) for one in self.inputs
        }
        for place, (column, _) in enumerate(self.places(encoding)):
            found[column.of] = found[column.of] + values[:, place]
        return found


def strange(table: pa.Table) -> list[str]:
    """What is to be said of columns that have infinite values or NaN, which count as missing."""
    found = []
    for name, kind, _, values in _flat(table):
        if kind == "number" and pa.types.is_floating(values.type):
            count = pc.sum(pc.invert(pc.is_finite(values))).as_py() or 0
            if count:
                found.append(f"Column {name} has {count:,} infinite values or NaN, which count as missing.")
    return found


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def named(table: pa.Table, name: str, option: str) -> str:
    """The column that an option names, in whatever case, as the table has it.

    Raises:
        DataError: there is none.
    """
    have = {one.lower(): one for one in table.column_names}
    if name.lower() not in have:
        raise DataError(f"{option}: {name} is no column of the input ({', '.join(table.column_names)})")
    return str(have[name.lower()])


def _flat(table: pa.Table) -> list[tuple[str, str, str, Any]]:
    """The columns as (name, kind, column of the table, values), with structs, arrays and timestamps taken apart."""
    found: list[tuple[str, str, str, Any]] = []
    for name in table.column_names:
        values = table.column(name).combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
        found += [(*one[:2], name, one[2]) for one in _parts(name, values)]
    taken: set[str] = set()
    for place, (name, *rest) in enumerate(found):  # a.b of a STRUCT beside a column a_b
        shown, number = name, 1
        while shown in taken:
            shown, number = f"{name}_{number}", number + 1
        taken.add(shown)
        found[place] = (shown, *rest)
    return found


def _parts(name: str, values: Any) -> list[tuple[str, str, Any]]:
    kind = values.type
    if is_number(kind):
        return [(name, "number", values)]
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        found = [
            (
                f"{name}_unix_seconds",
                "number",
                pc.divide(values.cast(pa.timestamp("us")).cast(pa.int64()), 1e6),
            )
        ]
        for part, read in _PARTS.items():
            found.append((f"{name}_{part}", "category", read(values).cast(pa.string())))
        return found
    if pa.types.is_struct(kind):
        made = []
        for place in range(kind.num_fields):
            inner = pc.struct_field(values, place)
            made += _parts(f"{name}_{kind.field(place).name}", inner)
        return made
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = kind.value_type
        if pa.types.is_string(inner) or pa.types.is_boolean(inner):
            return [(name, "set", values)]
        if is_number(inner):
            return _vector(name, values)
        if pa.types.is_struct(inner) and inner.num_fields == 2 and pa.types.is_integer(inner.field(0).type):
            return [(name, "sparse", values)]
    if pa.types.is_boolean(kind):
        return [(name, "category", pc.if_else(values, "true", "false"))]
    if (
        pa.types.is_dictionary(kind)
        or pa.types.is_string(kind)
        or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind))
    ):
        return [(name, "category", values.cast(pa.string()))]
    if pa.types.is_null(kind):
        return [(name, "number", values.cast(pa.float64()))]
    raise DataError(f"Column {name} is of a type that is no feature: {kind}")


def _vector(name: str, values: Any) -> list[tuple[str, str, Any]]:
    lengths = pc.unique(pc.drop_null(pc.list_value_length(values))).to_pylist()
    if len(lengths) > 1:
        raise DataError(
            f"Column {name}: arrays of numbers must all be of one length, and are of {sorted(lengths)[:5]}"
        )
    return [
        (f"{name}[{place}]", "number", pc.list_element(values, place))
        for place in range(lengths[0] if lengths else 0)
    ]


def _numbers(values: Any) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    finite = np.isfinite(found)
    return found if finite.all() else np.where(finite, found, np.nan)


def _categories(
    codes: np.ndarray[Any, Any], column: Column, encoding: str, floats: Any
) -> np.ndarray[Any, Any]:
    if encoding == LABEL:
        return np.where(codes < 0, np.nan, codes.astype(floats))[:, None]
    if encoding == TARGET:
        return np.asarray(np.asarray(column.targets)[codes])  # of none of them, −1, the last
    hot = np.zeros((len(codes), len(column.categories)), floats)
    rows = np.flatnonzero(codes >= 0)
    hot[rows, codes[rows]] = 1.0
    return np.asarray(hot[:, 1:]) if encoding == DUMMY else hot


def bounded(rows: int, places: int, floats: type[np.floating[Any]] = np.float64) -> None:
    """
    Raises:
        DataError: so many numbers are no matrix on this machine.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    wanted = rows * places * np.dtype(floats).itemsize
    if wanted > memory // _SHARE:
        raise DataError(
            f"{rows:,} rows of {places:,} numbers need {wanted / 2**30:,.1f} GiB, more than 1/{_SHARE} of this "
            "machine's memory: take fewer rows, or bucket columns that have many categories"
        )


def _beside(parts: list[np.ndarray[Any, Any]], rows: int, floats: Any) -> Matrix:
    """Columns as one matrix in the order of rows; block by block, because memory is written much faster so."""
    made = np.empty((rows, sum(one.shape[1] for one in parts)), floats)
    for begin in range(0, rows, _BLOCK):
        place, chosen = 0, slice(begin, begin + _BLOCK)
        for one in parts:
            made[chosen, place : place + one.shape[1]] = one[chosen]
            place += one.shape[1]
    return made


def inputs_of(table: pa.Table) -> list[Column]:
    """The columns of a table as `Encoder.fit` sees them, however many categories they have; of those that are no
    features their NULLs alone."""
    found = []
    for name in table.column_names:
        try:
            found += [_learnt(*one, bounded=False) for one in _flat(table.select([name]))]
        except DataError:
            found.append(Column(name, "", nulls=table.column(name).null_count, of=name))
    return found


def _learnt(name: str, kind: str, of: str, values: Any, *, bounded: bool = True) -> Column:
    column = Column(name, kind, of=of, nulls=values.null_count)
    if kind == "number":
        found = _numbers(values)
        known = found[~np.isnan(found)]
        column.nulls = len(found) - len(known)
        if len(known):
            column.mean, column.median = float(known.mean()), float(np.median(known))
            column.low, column.high = float(known.min()), float(known.max())
            column.deviation = float(known.std()) or 1.0
        return column
    if kind == "sparse":
        places = pc.struct_field(pc.list_flatten(values), 0)
        column.categories = [str(one) for one in range((pc.max(places).as_py() or 0) + 1)]
        return column
    flat = values.flatten() if kind == "set" else values
    counts = sorted(
        ((str(one["values"]), int(one["counts"])) for one in pc.value_counts(pc.drop_null(flat)).to_pylist()),
        key=lambda pair: (-pair[1], pair[0]),
    )
    if bounded and len(counts) > _MOST:
        raise DataError(
            f"Column {name} has {len(counts):,} different values, more than {_MOST:,}: leave it out or bucket it"
        )
    column.categories = [one for one, _ in counts]
    if kind == "category" and values.null_count:
        column.categories.append(NULL)
    return column


def _codes(values: Any, column: Column) -> np.ndarray[Any, Any]:
    """(rows,) of places in the categories, −1 for an unknown one."""
    known = pa.array(column.categories, pa.string())
    codes = pc.index_in(pc.fill_null(values, NULL), value_set=known)
    found: np.ndarray[Any, Any] = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)


def _sparse(values: Any, column: Column) -> Matrix:
    """Arrays of {place, value}, as preprocessing makes them; places beyond those of training are left out."""
    found = np.zeros((len(values), len(column.categories)))
    rows = pc.list_parent_indices(values).to_numpy(zero_copy_only=False)
    flat = pc.list_flatten(values)
    places = pc.struct_field(flat, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    known = (places >= 0) & (places < found.shape[1])
    found[rows[known], places[known]] = _numbers(pc.struct_field(flat, 1))[known]
    return found


def _hot_sets(values: Any, column: Column) -> Matrix:
    hot = np.zeros((len(values), len(column.categories)))
    rows = pc.list_parent_indices(values).to_numpy(zero_copy_only=False)
    codes = _codes(pc.list_flatten(values).cast(pa.string()), column)
    known = codes >= 0
    hot[rows[known], codes[known]] = 1.0
    return hot
