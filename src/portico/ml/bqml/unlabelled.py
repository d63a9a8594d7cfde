"""Models that learn from columns without a label: what clusters, components and autoencoders share."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml import tuning
from portico.ml.bqml.answers import beside, feature_info, told, type_kind
from portico.ml.bqml.columns import Column, Encoder, Matrix, strange
from portico.ml.bqml.model import Given, Model, Settings, function
from portico.ml.bqml.options import Option
from portico.ml.errors import DataError

Numbers = np.ndarray[Any, Any]
_POINTS = 10_001  # of the quantiles that are kept of how odd each training row is
_CONTAMINATION = Option("float", low=0, high=0.5)
CATEGORIES = pa.list_(pa.struct([("category", pa.string()), ("value", pa.float64())]))


class Unlabelled(Model):
    """A type below it says what it learns (`learn`), and how odd a row is (`oddness`)."""

    OBJECTIVES: ClassVar[tuple[str, ...]] = ()  # of NUM_TRIALS, the usual one first; the least is best
    ODD: ClassVar[str] = "mean_squared_error"  # what ML.DETECT_ANOMALIES calls the oddness

    def learn(self, matrix: Matrix, table: pa.Table) -> None:
        """Sets `state`, `arrays` and `files`, and notes its iterations in `run`.

        Args:
            matrix: (rows, places) of the features.
            table: the rows as they came.
        """
        raise NotImplementedError

    def oddness(self, matrix: Matrix) -> tuple[Numbers, dict[str, pa.Array]]:
        """
        Returns:
            (rows,) of numbers, the larger the odder; and what else ML.DETECT_ANOMALIES says of the rows.
        """
        raise NotImplementedError

    def no_features(self) -> list[str]:
        """Columns of the query that are no features."""
        return []

    @property
    def standardizes(self) -> bool:
        return True

    def ready(self) -> None:
        self.encoder = Encoder.of(self.state["encoder"])

    def inputs(self) -> list[dict[str, str]]:
        return self.encoder.inputs

    def matrix(self, table: pa.Table) -> Matrix:
        return self.encoder.matrix(table, standardize=self.standardizes)

    def fit(self, given: Given) -> None:
        away = {name.lower() for name in self.no_features()}
        inputs = given.rows.drop_columns([one for one in given.rows.column_names if one.lower() in away])
        self.run.warnings += strange(inputs)
        self.encoder = Encoder.fit(inputs) if self.before is None else self.before.encoder.same(inputs)
        self.state["encoder"] = self.encoder.json()
        for one in self.encoder.columns:
            if not np.isfinite([one.mean, one.deviation]).all():
                raise DataError(f"Column {one.name} has values that are too large to learn from")
        matrix = self.matrix(inputs)
        if not matrix.shape[1]:
            raise DataError("The query has no column to learn from")
        if not self.options.get("num_trials"):
            self._taught(matrix, given.rows)
            return
        objective = tuning.objective(self.options, self.OBJECTIVES, self.OBJECTIVES[0])

        def learn(trial: Any) -> float | None:
            trial.encoder = self.encoder
            trial._taught(matrix, given.rows)
            found: float | None = trial.state["metrics"][objective]
            return found

        tuning.search(self, objective, False, learn)

    def _taught(self, matrix: Matrix, table: pa.Table) -> None:
        self.learn(matrix, table)
        self.ready()
        odd, _ = self.oddness(matrix)
        self.arrays["odd"] = np.quantile(odd, np.linspace(0, 1, min(len(odd), _POINTS)))

    @function("ML.FEATURE_INFO")
    def feature_info(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return feature_info(told(self.encoder.columns))

    @function("ML.DETECT_ANOMALIES", (1, 1), contamination=_CONTAMINATION)
    def detect_anomalies(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """Rows that are odder than all but the share `contamination` of the rows that the model learnt from."""
        if settings["contamination"] is None:
            raise DataError(
                "ML.DETECT_ANOMALIES needs STRUCT(… AS contamination), a number from 0 to 0.5: the share of "
                "the training data that is anomalous"
            )
        odd, more = self.oddness(self.matrix(tables[0]))
        limit = float(np.quantile(self.arrays["odd"], 1 - settings["contamination"]))
        made = {"is_anomaly": pa.array(odd > limit), self.ODD: pa.array(odd, pa.float64()), **more}
        return beside(made, tables[0])

    def described(self) -> dict[str, Any]:
        shown = super().described()
        shown["featureColumns"] = [
            {"name": one["name"], "type": {"typeKind": type_kind(one["type"])}} for one in self.encoder.inputs
        ]
        return shown

    def _tried(self, shown: dict[str, Any], kind: str, names: dict[str, str]) -> dict[str, Any]:
        """The API's Model, with the trials where it has some: their objectives are `kind` of its evaluationMetrics."""
        if "trials" in self.state:
            tuning.described(self, shown, lambda name, value: {kind: {names[name]: value}})
        return shown

    def by_column(self, values: Matrix) -> list[tuple[int, Column, float | None, list[dict[str, Any]]]]:
        """Rows of (places) taken apart: (row, column, its number or None, [{category, value}] of its categories)."""
        places = self.encoder.places()
        found: list[tuple[int, Column, float | None, list[dict[str, Any]]]] = []
        for row, given in enumerate(values):
            for column in self.encoder.columns:
                mine = [(name, float(given[at])) for at, (one, name) in enumerate(places) if one is column]
                if column.kind == "number":
                    found.append((row, column, mine[0][1], []))
                else:
                    told = [{"category": name, "value": value} for name, value in mine]
                    found.append((row, column, None, told))
        return found

    def unstandardized(self, values: Matrix) -> Matrix:
        """Rows of (places) on the scale of the columns as they are."""
        made = values.copy()
        if self.standardizes:
            for at, (column, category) in enumerate(self.encoder.places()):
                if category is None:
                    made[:, at] = made[:, at] * column.deviation + column.mean
        return made


def embedded(name: str, values: Matrix, table: pa.Table) -> pa.Table:
    """(rows, numbers) as a column of arrays, and the columns of the input."""
    offsets = pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int32())
    made = {name: pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), pa.float64()))}
    return beside(made, table)
