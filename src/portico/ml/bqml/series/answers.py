"""Tables of answers: the ids' columns first, then named columns, from parts of one series each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from portico.ml.bqml.series.columns import Key
from portico.ml.bqml.series.model import TimeSeriesModel
from portico.ml.errors import DataError

TIMESTAMP = pa.timestamp("us", "UTC")
FLOAT64, INT64, STRING, BOOL, DATE = pa.float64(), pa.int64(), pa.string(), pa.bool_(), pa.date32()

Part = tuple[Key, Mapping[str, Any]]  # a series' key and its columns; a missing column, NaN and None are NULL


def table(model: TimeSeriesModel, fields: Mapping[str, pa.DataType], parts: Sequence[Part]) -> pa.Table:
    """Columns of `fields`' types after the ids'; the parts' rows one after the other."""
    kinds = {"int64": INT64}
    ids = {
        name: kinds.get(kind, STRING) for name, kind in zip(model.options.ids, model.id_types, strict=True)
    }
    schema = pa.schema({**ids, **fields})
    return pa.concat_tables(
        [
            pa.table(
                [
                    *(
                        pa.array([cell] * _length(columns), kind)
                        for cell, kind in zip(key, ids.values(), strict=True)
                    ),
                    *(_column(columns.get(name), kind, _length(columns)) for name, kind in fields.items()),
                ],
                schema=schema,
            )
            for key, columns in parts
        ]
        or [schema.empty_table()]
    )


def level(confidence: float, name: str = "confidence_level") -> float:
    """How many standard errors an interval of that confidence has on each side.

    Raises:
        DataError: it is not in [0, 1).
    """
    from scipy.special import ndtri

    if not 0 <= confidence < 1:
        raise DataError(f"{name} must be in the range [0, 1), not {confidence}.", field=name)
    return float(ndtri((1 + confidence) / 2))


def whole(value: Any, name: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise DataError(f"{name} must be a whole number from 1 to {most}, not {value!r}.", field=name)
    return value


def _length(columns: Mapping[str, Any]) -> int:
    return next(len(value) for value in columns.values() if value is not None)


def _column(values: Any, kind: pa.DataType, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, kind)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == kind else values.cast(kind)
    if isinstance(values, np.ndarray):
        return pa.array(values, kind, from_pandas=True)
    return pa.array(values, kind)
