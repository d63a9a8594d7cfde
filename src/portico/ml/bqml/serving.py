"""A model of BigQuery ML behind an endpoint: instances are JSON objects, predictions what Google's own export answers.

(https://cloud.google.com/bigquery/docs/exporting-models#prediction_deployment: `predicted_L`, `L_probs`, `L_values`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from portico.ml.bqml import kinds
from portico.ml.bqml.supervised import Supervised
from portico.ml.errors import DataError

_MOST = 1_000_000  # features that an explanation names: all


class Served:
    """Thread-safe.

    Args:
        inputs: the columns that an instance has and their Arrow types; the model's own where there is no TRANSFORM.
        transform: what TRANSFORM makes of rows of these columns.
    """

    def __init__(
        self,
        folder: Path,
        inputs: Sequence[dict[str, str]] | None = None,
        transform: Callable[[pa.Table], pa.Table] | None = None,
    ) -> None:
        self._model = kinds.load(folder)
        known = inputs if inputs is not None else self._model.inputs()
        self._inputs = [(one["name"], one["type"]) for one in known]
        self._transform = transform

    def predict(self, instances: list[Any]) -> list[Any]:
        """One prediction an instance.

        Raises:
            DataError: an instance is no object, lacks a column or has a value of another type.
        """
        table = self._table(instances)
        found = self._model.call("ML.PREDICT", [table], {})
        given = {name.lower() for name in table.column_names}
        rows: list[Any] = found.select(
            [name for name in found.column_names if name.lower() not in given]
        ).to_pylist()
        if not isinstance(self._model, Supervised):
            return rows
        label = self._model.label
        if not self._model.classifies:
            return [{f"predicted_{label}": [row[f"predicted_{label}"]]} for row in rows]
        return [
            {
                f"predicted_{label}": [_text(row[f"predicted_{label}"])],
                f"{label}_probs": [one["prob"] for one in row[f"predicted_{label}_probs"]],
                f"{label}_values": [_text(one["label"]) for one in row[f"predicted_{label}_probs"]],
            }
            for row in rows
        ]

    def explain(self, instances: list[Any]) -> list[dict[str, Any]]:
        """One Explanation an instance; its attributions add up."""
        table = self._table(instances)
        rows = self._model.call("ML.EXPLAIN_PREDICT", [table], {"top_k_features": _MOST}).to_pylist()
        output = f"predicted_{self._model.label}" if isinstance(self._model, Supervised) else ""
        return [
            {
                "attributions": [
                    {
                        "baselineOutputValue": row["baseline_prediction_value"],
                        "instanceOutputValue": row["prediction_value"],
                        "featureAttributions": {
                            one["feature"]: one["attribution"] for one in row["top_feature_attributions"]
                        },
                        "outputDisplayName": _text(row.get(output)),
                        "outputName": output,
                        "approximationError": abs(row["approximation_error"]),
                    }
                ]
            }
            for row in rows
        ]

    def _table(self, instances: list[Any]) -> pa.Table:
        lower = []
        for place, one in enumerate(instances):
            if not isinstance(one, dict):
                raise DataError("an instance must be an object with a value a column", row=place)
            lower.append({str(key).lower(): value for key, value in one.items()})
        columns = {}
        for name, kind in self._inputs:
            for place, row in enumerate(lower):
                if name.lower() not in row:
                    raise DataError("is missing; give null where it is not known", field=name, row=place)
            columns[name] = _column(name, kind, [row[name.lower()] for row in lower])
        table = pa.table(columns)
        return table if self._transform is None else self._transform(table)


def _column(name: str, kind: str, values: list[Any]) -> pa.Array:
    """JSON values as a column; numbers may come as texts, as INT64 does in JSON."""
    try:
        if kind.startswith(("int", "uint")):
            return pa.array([None if one is None else int(one) for one in values], pa.int64())
        if kind.startswith(("double", "float", "decimal", "halffloat")):
            return pa.array([None if one is None else float(one) for one in values], pa.float64())
        if kind in ("string", "large_string"):
            return pa.array([None if one is None else _text(one) for one in values], pa.string())
        if kind == "bool":
            return pa.array(values, pa.bool_())
        if kind.startswith("timestamp"):
            zone = "UTC" if "tz=" in kind else None
            return pa.array(values, pa.string()).cast(pa.timestamp("us", zone))
        if kind.startswith("date"):
            return pa.array(values, pa.string()).cast(pa.date32())
        return pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        wrong = next((place for place, one in enumerate(values) if not _fits(kind, one)), 0)
        raise DataError(
            f"{str(values[wrong])[:60]!r} is no value of the type {kind}", field=name, row=wrong
        ) from None


def _fits(kind: str, value: Any) -> bool:
    try:
        _column("", kind, [value]) if value is not None else None
    except (DataError, RecursionError):
        return False
    return True


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
