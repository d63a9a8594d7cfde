"""Labels that a model learns: their numbers, their classes, and how much each row weighs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml import columns
from portico.ml.bqml.model import Model
from portico.ml.bqml.options import pairs
from portico.ml.errors import DataError

Numbers = np.ndarray[Any, Any]


class Labelled(Model):
    """A model whose rows have a label, and what that is: a number, or one of the classes."""

    CLASSIFIES: ClassVar[tuple[str, ...]] = ()  # those of TYPES that predict a class

    @property
    def classifies(self) -> bool:
        return self.model_type in self.CLASSIFIES

    @property
    def label(self) -> str:
        return str(self.state["label"])

    @property
    def classes(self) -> list[Any]:
        return list(self.state["classes"])

    def _labelled(self, table: pa.Table) -> tuple[pa.Table, Numbers]:
        """The rows that have a label, and the labels as numbers."""
        wanted = self.options["input_label_cols"]
        if len(wanted) != 1:
            raise DataError("INPUT_LABEL_COLS must name one column")
        have = {one.lower(): one for one in table.column_names}
        if wanted[0].lower() not in have:
            raise DataError(
                f"Unable to identify the label column {wanted[0]} among {', '.join(table.column_names)}; name it by "
                "INPUT_LABEL_COLS"
            )
        self.state["label"] = name = have[wanted[0].lower()]
        known = pa.compute.is_valid(table.column(name))
        if missing := table.num_rows - (pa.compute.sum(known).as_py() or 0):
            self.run.warnings.append(f"{missing:,} rows without a label were left out.")
            table = table.filter(known)
        if not table.num_rows:
            raise DataError("The query yields no row with a label")
        column = table.column(name)
        self.state["label_type"] = kept = str(column.type)
        if not self.classifies:
            if not columns.is_number(column.type):
                raise DataError(
                    f"Label column {name} must be a number for model type {self.model_type}, and is {kept}"
                )
            found = column.cast(pa.float64(), safe=False).to_numpy()
            if not np.isfinite(found).all():
                raise DataError(f"Label column {name} has infinite values or NaN")
            return table, found
        if kept not in ("string", "int64", "bool"):
            column, self.state["label_type"] = texts_of(name, column), "string"
        values = sorted(pa.compute.unique(column).to_pylist())
        if self.before is not None:
            before = self.before.classes
            if strange := [one for one in values if one not in before]:
                raise DataError(f"WARM_START: label {strange[0]!r} is no class of the training before")
            values = before
        self.state["classes"] = values
        return table, self._places(column)

    def _places(self, column: Any) -> Numbers:
        """The classes' places; −1 for a value that is none of them."""
        known = pa.array(self.classes, self._label_type())
        if pa.types.is_string(known.type) and not pa.types.is_string(column.type):
            column = texts_of(self.label, column)
        found = pa.compute.fill_null(pa.compute.index_in(column.cast(known.type), value_set=known), -1)
        return np.asarray(found.to_numpy(), np.int64)

    def _label_type(self) -> pa.DataType:
        return pa.type_for_alias(self.state["label_type"]) if self.classifies else pa.float64()

    def _no_features(self, table: pa.Table) -> list[str]:
        held = [self.label, self.options["instance_weight_col"] or ""]
        if self.options["data_split_method"] == "CUSTOM":
            held.append(self.options["data_split_col"] or "")
        lower = {one.lower() for one in held if one}
        return [name for name in table.column_names if name.lower() in lower]

    def _weights(self, table: pa.Table, labels: Numbers) -> Numbers:
        """By INSTANCE_WEIGHT_COL, and by class where its weights are asked for: balanced, or as CLASS_WEIGHTS says."""
        weights = np.ones(table.num_rows)
        if name := self.options["instance_weight_col"]:
            have = {one.lower(): one for one in table.column_names}
            if str(name).lower() not in have:
                raise DataError(f"INSTANCE_WEIGHT_COL {name} is no column of the query")
            given_weights = table.column(have[str(name).lower()])
            if str(name).lower() == self.label.lower():
                raise DataError(f"INSTANCE_WEIGHT_COL {name} is the label")
            if not columns.is_number(given_weights.type):
                raise DataError(
                    f"INSTANCE_WEIGHT_COL {name} must be numbers from 0, and is {given_weights.type}"
                )
            weights = given_weights.cast(pa.float64(), safe=False).to_numpy().copy()
            if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
                raise DataError(f"INSTANCE_WEIGHT_COL {name} must be numbers from 0, and not all of them 0")
        if not self.classifies:
            for option in ("auto_class_weights", "class_weights"):
                if self.options.get(option):
                    raise DataError(
                        f"Option {option.upper()} is not supported for model type {self.model_type}"
                    )
            return weights
        counts = np.bincount(labels, minlength=len(self.classes))
        if self.options.get("auto_class_weights"):
            weights *= (len(labels) / (len(counts) * np.maximum(counts, 1)))[labels]
        if given := self.options.get("class_weights"):
            if self.options["auto_class_weights"]:
                raise DataError("CLASS_WEIGHTS and AUTO_CLASS_WEIGHTS can't both be given")
            weights *= self._given_weights(given)[labels]
        return weights

    def _given_weights(self, given: Any) -> Numbers:
        """CLASS_WEIGHTS = [STRUCT('label', 0.5), …]."""
        try:
            told = {label: float(weight) for label, weight in pairs("CLASS_WEIGHTS", given)}
        except (TypeError, ValueError):
            raise DataError("CLASS_WEIGHTS must have a number a class") from None
        if not all(0 <= one < np.inf for one in told.values()) or not any(told.values()):
            raise DataError("CLASS_WEIGHTS must be finite numbers from 0, and not all of them 0")
        shown = [str(one) for one in self.classes]
        if unknown := sorted(set(told) - set(shown)):
            raise DataError(f"CLASS_WEIGHTS has no class {unknown[0]!r} in the data")
        if missing := [one for one in shown if one not in told]:
            raise DataError(
                f"CLASS_WEIGHTS must have a weight for every class, and has none for {missing[0]!r}"
            )
        return np.array([told[one] for one in shown])


def texts_of(name: str, column: Any) -> Any:
    """Classes of a type that is none of STRING, INT64 and BOOL as BigQuery casts them to STRING."""
    kind = column.type
    if pa.types.is_floating(kind) and pa.compute.any(pa.compute.is_nan(column)).as_py():
        raise DataError(f"Label column {name} has NaN")
    if pa.types.is_decimal(kind):
        values = column.to_pylist()
        return pa.chunked_array([[_plain_text(one) for one in values]], pa.string())
    if columns.is_number(kind) or (pa.types.is_temporal(kind) and not pa.types.is_interval(kind)):
        return column.cast(pa.string())
    raise DataError(f"Label column {name} is of a type that is no class: {kind}")


def _plain_text(value: Any) -> str | None:
    """A NUMERIC without the zeros that its scale adds."""
    text = None if value is None else f"{value:f}"
    return text.rstrip("0").rstrip(".") if text and "." in text else text
