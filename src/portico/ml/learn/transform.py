"""The fitted transform that training, batch and online prediction share: columns to one float64 matrix."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml import arrays, values
from portico.ml.arrays import Column, Floats, Mask
from portico.ml.errors import DataError
from portico.ml.learn.encoders import (
    ENCODERS,
    MISSING,
    CategoricalEncoder,
    Encoder,
    NumericEncoder,
    TimestampEncoder,
    encode_column,
)
from portico.ml.learn.supervised import fit_out_of_fold, fit_target_encoder, fit_text_encoder
from portico.ml.schema import MANY_CATEGORIES, Kind, describe_column

PackRow = Callable[[Mapping[str, Any], Any], None]


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One input column and the caller's wish: `auto` or one of Google's transformations."""

    name: str
    transformation: str = "auto"
    time_format: str = ""
    invalid_values_allowed: bool = False


@dataclass(slots=True)
class Encoded:
    """`matrix` is (rows, width) float64. Rows in `bad` hold NaN where `messages[row]` says; don't predict them."""

    matrix: Floats
    bad: Mask
    messages: dict[int, str]


def parse_transformations(transformations: Sequence[Mapping[str, Any]]) -> list[ColumnSpec]:
    """Google's `transformations` of an AutoML tabular training input, in either name casing.

    Raises:
        DataError: a transformation that is unknown, not supported (repeated_*), or names no column.
    """
    found: list[ColumnSpec] = []
    seen: set[str] = set()
    for position, wish in enumerate(transformations):
        where = f"transformations[{position}]"
        if len(wish) != 1:
            raise DataError(
                f"{where} must hold exactly one of auto, numeric, categorical, text, timestamp", field=where
            )
        [(kind, detail)] = wish.items()
        if kind not in ("auto", "numeric", "categorical", "text", "timestamp"):
            raise DataError(f"{where}: the transformation {kind!r} is not supported", field=where)
        name = detail.get("columnName") or detail.get("column_name")
        if not name:
            raise DataError(f"{where}.{kind} names no column", field=f"{where}.{kind}.columnName")
        if name in seen:
            raise DataError(f"column {name!r} has two transformations", field=str(name))
        seen.add(name)
        time_format = detail.get("timeFormat") or detail.get("time_format") or ""
        allowed = bool(detail.get("invalidValuesAllowed", detail.get("invalid_values_allowed", False)))
        found.append(ColumnSpec(str(name), kind, time_format, allowed))
    return found


class Transform:
    """Encoders in column order. Stateless after fitting: safe for threads."""

    def __init__(self, encoders: Sequence[Encoder]) -> None:
        self.encoders = list(encoders)
        self.features = [encoder.name for encoder in self.encoders]
        ends = np.cumsum([0, *(encoder.width for encoder in self.encoders)]).tolist()
        self.width: int = ends[-1]
        self.slices = [slice(start, end) for start, end in pairwise(ends)]
        self.cardinalities = [e.cardinality for e in self.encoders for _ in range(e.width)]
        self.pack_row: PackRow = _generate(self.encoders, self.width)

    def transform(self, table: pa.Table | pa.RecordBatch) -> Encoded:
        """Encodes all rows; a column that the table lacks is missing everywhere."""
        matrix = np.empty((table.num_rows, self.width))
        bad = np.zeros(table.num_rows, bool)
        messages: dict[int, str] = {}
        names = set(table.schema.names)
        for encoder, part in zip(self.encoders, self.slices, strict=True):
            known = encoder.name in names
            column: Column = table[encoder.name] if known else pa.nulls(table.num_rows)
            matrix[:, part], wrong, _ = encode_column(encoder, column)
            for row in np.flatnonzero(wrong & ~bad).tolist():
                messages[row] = self._complaint(encoder, arrays.cell_of(column[row]))
            bad |= wrong
        return Encoded(matrix, bad, messages)

    def _complaint(self, encoder: Encoder, cell: Any) -> str:
        try:
            encoder.encode(cell)
        except ValueError as error:
            return f"feature {encoder.name!r}: {error}"
        return ""

    def to_json(self) -> list[dict[str, Any]]:
        return [{"kind": encoder.kind, **asdict(encoder)} for encoder in self.encoders]  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, encoders: Sequence[Mapping[str, Any]]) -> Transform:
        return cls([ENCODERS[e["kind"]](**{k: v for k, v in e.items() if k != "kind"}) for e in encoders])


def fit_transform(
    table: pa.Table,
    columns: Sequence[ColumnSpec],
    goals: Floats,
    seed: int,
    future: bool = False,
    told: Callable[[int], None] = lambda done: None,
) -> tuple[Transform, Floats, Mask, dict[str, Kind]]:
    """Fits on the rows of `table`, whose target statistics are `goals` (rows, statistics); `future` says that it
    is for predicting later rows than these. `told` is called with how many columns are done.

    Returns the transform, the training matrix (out of fold where an encoder learns from the target), the rows to
    keep (Google drops a training row whose numeric or timestamp cell is invalid unless the transformation
    allows that), and each column's kind; constant, empty and unsupported columns are left out.

    Raises:
        DataError: a column that is not in the data, or none that can be used.
    """
    encoders: list[Encoder] = []
    parts: list[Floats] = []
    keep = np.ones(table.num_rows, bool)
    kinds: dict[str, Kind] = {}
    names = set(table.column_names)
    for done, spec in enumerate(columns):
        told(done)
        if spec.name not in names:
            raise DataError(f"column {spec.name!r} is not in the data", field=spec.name)
        column = table[spec.name]
        kind = kinds[spec.name] = _kind(spec, column)
        if kind in ("constant", "missing", "unsupported"):
            continue
        encoder, part, bad = _fit_column(spec, kind, column, goals, seed, future)
        if spec.transformation in ("numeric", "timestamp") and not spec.invalid_values_allowed:
            keep &= ~bad
        encoders.append(encoder)
        parts.append(part)
    if not encoders:
        raise DataError(
            "no column can be used: all are constant, empty or of an unsupported type",
            field="transformations",
        )
    if not keep.any():
        raise DataError(
            "every training row has an invalid numeric or timestamp value", field="transformations"
        )
    return Transform(encoders), np.ascontiguousarray(np.hstack(parts)), keep, kinds


def _kind(spec: ColumnSpec, column: Column) -> Kind:
    schema = describe_column(spec.name, column)
    if spec.transformation == "auto" and spec.time_format:
        return "timestamp"
    if spec.transformation == "auto" or schema.kind in ("missing", "constant", "unsupported"):
        return schema.kind
    if spec.transformation == "categorical":
        return "high_cardinality" if schema.distinct > MANY_CATEGORIES else "categorical"
    return spec.transformation  # type: ignore[return-value]


def _fit_column(
    spec: ColumnSpec, kind: Kind, column: Column, goals: Floats, seed: int, future: bool
) -> tuple[Encoder, Floats, Mask]:
    name = spec.name
    encoder: Encoder
    if kind == "numeric":
        encoder = NumericEncoder(name, [], spec.invalid_values_allowed)
        cells, bad, _ = encode_column(encoder, column)
        if bad.any() and spec.transformation == "auto":
            encoder = NumericEncoder(name, _words_for_missing(column), False)
        return encoder, cells, bad
    if kind == "timestamp":
        encoder = TimestampEncoder.fit(name, column, spec.time_format, spec.invalid_values_allowed, future)
    elif kind == "categorical":
        encoder = CategoricalEncoder.fit(name, column, goals)
    else:
        fit = fit_text_encoder if kind == "text" else fit_target_encoder
        encoder, cells = fit_out_of_fold(lambda c, g: fit(name, c, g), column, goals, seed)
        return encoder, cells, np.zeros(len(column), bool)
    cells, bad, _ = encode_column(encoder, column)
    return encoder, cells, bad


def refuse_infinite(table: pa.Table, transform: Transform, columns: Sequence[ColumnSpec]) -> None:
    """Raises DataError: a column that was found to be numeric holds an infinite number.

    Where a transformation says `numeric`, that is an invalid value like any other: its row is not learned from.
    """
    automatic = {spec.name for spec in columns if spec.transformation == "auto"}
    for encoder in transform.encoders:
        if not isinstance(encoder, NumericEncoder) or encoder.name not in automatic:
            continue
        column = table[encoder.name]
        if not arrays.numbers(column)[1].any():
            continue
        codes, cells = arrays.factorize(column)
        infinite = [code for code, cell in enumerate(cells) if values.is_infinite(cell)]
        if len(rows := np.flatnonzero(np.isin(codes, infinite))):
            row = int(rows[0])
            raise DataError(
                f"the column {encoder.name!r} holds {column[row].as_py()!r}; numbers must be finite. "
                "Leave the cell empty if the value is not known",
                field=encoder.name,
                row=row,
            )


def _words_for_missing(column: Column) -> list[str]:
    """Text cells of a numeric column that are no numbers ("?", "unknown"), the first 20."""
    found = []
    for cell in arrays.factorize(column)[1]:
        try:
            values.number(cell)
        except ValueError:
            if isinstance(cell, str):
                found.append(cell)
    return found[:20]


def _generate(encoders: Sequence[Encoder], width: int) -> PackRow:
    """Writes and compiles `pack(row, buffer)`: the cells of a dict into a buffer of `width` doubles.

    Generated code does without loops and calls for the common cases (a float, an int, a known category); all
    else goes through the encoder's own `encode`.
    """
    scope: dict[str, Any] = {"fill": struct.Struct(f"{width}d").pack_into, "slow": _slow(encoders, width)}
    lines = ["def pack(row, buffer):", "  try:", "    get = row.get"]
    outputs = []
    for position, encoder in enumerate(encoders):
        scope[f"e{position}"] = encoder.encode
        names = [f"x{position}_{output}" for output in range(encoder.width)]
        outputs += names
        lines.append(f"    v = get({encoder.name!r})")
        if isinstance(encoder, NumericEncoder):
            usual = "v.__class__ is float and v - v == 0.0 or v.__class__ is int"  # not infinite, not NaN
            lines.append(f"    {names[0]} = v if {usual} else e{position}(v)")
        elif isinstance(encoder, CategoricalEncoder):
            scope[f"c{position}"] = {"": float(MISSING)} | {k: float(v) for k, v in encoder.codes.items()}
            lines.append(f"    {names[0]} = c{position}.get(v) if v.__class__ is str else None")
            lines.append(f"    if {names[0]} is None: {names[0]} = e{position}(v)")
        else:
            lines.append(f"    {', '.join(names)}, = e{position}(v)")
    lines.append(f"    fill(buffer, 0, {', '.join(outputs)})")
    lines.append("  except Exception:")
    lines.append("    slow(row, buffer)")
    exec(compile("\n".join(lines), "<row encoder>", "exec"), scope)
    return scope["pack"]  # type: ignore[no-any-return]


def _slow(encoders: Sequence[Encoder], width: int) -> PackRow:
    fill = struct.Struct(f"{width}d").pack_into

    def pack(row: Mapping[str, Any], buffer: Any) -> None:
        if not isinstance(row, Mapping):
            raise DataError(f"an instance must be an object of feature values, not {type(row).__name__}")
        cells: list[float] = []
        for encoder in encoders:
            try:
                made = encoder.encode(row.get(encoder.name))
            except ValueError as error:
                raise DataError(f"feature {encoder.name!r}: {error}", field=encoder.name) from None
            cells.extend(made if isinstance(made, tuple) else (made,))
        fill(buffer, 0, *cells)

    return pack
