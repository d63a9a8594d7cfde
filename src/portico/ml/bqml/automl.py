"""AUTOML models: Portico's own AutoML (`ml.learn`), which encodes, searches, weighs and refits as Vertex AI's do.

(https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-automl)
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portico.ml.bqml.columns import Matrix
from portico.ml.bqml.labels import Numbers
from portico.ml.bqml.model import Given, Settings, function
from portico.ml.bqml.options import COMMON, NotBuilt, Option
from portico.ml.bqml.supervised import Rows, Supervised
from portico.ml.errors import DataError
from portico.ml.learn.model import Model as Learnt
from portico.ml.learn.spec import CLASSIFICATION_OBJECTIVES, REGRESSION_OBJECTIVES, TrainSpec
from portico.ml.learn.split import SplitSpec
from portico.ml.learn.transform import ColumnSpec

_TOLD, _FOREST = "automl.json", "forest.txt"
_SPLIT = "_data_split"  # DATA_SPLIT_COL with the rows that it assigns to no set assigned
_SEED = 20_240_101
_SETS = ("TRAIN", "VALIDATE", "TEST")


class AutoMl(Supervised):
    """Evaluated on the test rows of its split: a tenth by default."""

    TYPES: ClassVar[dict[str, str]] = {
        "AUTOML_REGRESSOR": "AUTOML_REGRESSOR",
        "AUTOML_CLASSIFIER": "AUTOML_CLASSIFIER",
    }
    CLASSIFIES: ClassVar[tuple[str, ...]] = ("AUTOML_CLASSIFIER",)
    TRANSFORMS: ClassVar[bool] = False
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | {
        "budget_hours": Option("float", 1.0, low=0.0001, high=72),
        "optimization_objective": Option("any"),
        "input_label_cols": Option("list", ["label"]),
        "data_split_col": Option("str"),
    }

    def ready(self) -> None:
        self.learnt = Learnt.read(self.files[_TOLD].decode(), self.files[_FOREST].decode())
        self.encoder = _Features(self.state["inputs"], self.learnt)  # type: ignore[assignment]

    def matrix(self, table: pa.Table) -> Matrix:
        encoded = self.learnt.transform.transform(_readable(self._inputs_of(table)))
        if encoded.bad.any():
            raise DataError(encoded.messages[int(np.flatnonzero(encoded.bad)[0])])
        return encoded.matrix

    def _inputs_of(self, table: pa.Table) -> pa.Table:
        """The model's inputs among a table's columns, whatever their case."""
        have = {name.lower(): name for name in table.column_names}
        names = [one["name"] for one in self.state["inputs"]]
        if missing := [name for name in names if name.lower() not in have]:
            raise DataError(
                f"Column {missing[0]} that the model was trained on is not among the columns of the input "
                f"({', '.join(table.column_names)})"
            )
        return table.select([have[name.lower()] for name in names]).rename_columns(names)

    # --- training ---

    def fit(self, given: Given) -> None:
        """Searches for BUDGET_HOURS node hours of this machine, less where it stops to improve.

        Raises:
            DataError: the rows or an option allow no such model.
        """
        from portico.ml.learn.train import train

        table, labels = self._labelled(given.rows)
        split, told = self._split(table)
        away = {self.label.lower()}
        if split.kind == "predefined":
            away.add(str(self.options["data_split_col"]).lower())
        inputs = table.select([name for name in table.column_names if name.lower() not in away])
        if not inputs.num_columns:
            raise DataError("The query has no column beside the label to learn from")
        target = "label"
        while target in inputs.column_names:
            target = f"_{target}"
        rows = _readable(inputs).append_column(target, pa.array(self._targets_of(labels)))
        if told is not None:
            rows = rows.append_column(_SPLIT, told)
        made = train(rows, self._spec(target, inputs.column_names, split))
        self.files[_TOLD], self.files[_FOREST] = (one.encode() for one in made.model.texts())
        self.state["inputs"] = [{"name": one.name, "type": str(one.type)} for one in inputs.schema]
        self.state["columns"] = _described(inputs)
        self.ready()
        used = set(self.learnt.features)
        for name, kind in self.learnt.manifest.kinds.items():
            if name not in used:
                self.run.warnings.append(f"Column {name} was left out: it is {kind}.")
        if made.split.ignored:
            self.run.warnings.append(f"{made.split.ignored:,} rows without a time were left out.")
        if made.cut_short:
            self.run.warnings.append(f"BUDGET_HOURS ended the training: {made.cut_short}")
        self.run.step(None, made.validation_loss)
        held = made.split.test if len(made.split.test) else made.split.validation
        places = pa.array(np.sort(held))
        self._measured(Rows(self.matrix(inputs.take(places)), labels[np.sort(held)], np.ones(len(held))))
        self.state["explained"] = made.feature_importance

    def _targets_of(self, labels: Numbers) -> Any:
        """Labels as AutoML takes them: classes by their places, in an order that is theirs."""
        return [f"{place:06d}" for place in labels.tolist()] if self.classifies else labels

    def _spec(self, target: str, names: list[str], split: SplitSpec) -> TrainSpec:
        objective, level = self._objective_of()
        spec = TrainSpec(
            "classification" if self.classifies else "regression",
            target,
            columns=[ColumnSpec(name) for name in names],
            optimization_objective=objective,
            recall_value=level if objective == "maximize-precision-at-recall" else None,
            precision_value=level if objective == "maximize-recall-at-precision" else None,
            split=split,
            budget_seconds=float(self.options["budget_hours"]) * 3600,
            seed=_SEED,
            threads=os.cpu_count() or 1,
        )
        spec.check()
        return spec

    def _objective_of(self) -> tuple[str, float | None]:
        """OPTIMIZATION_OBJECTIVE: a name, or STRUCT(name, value) of the two that need one."""
        given = self.options["optimization_objective"]
        parts = list(given.values()) if isinstance(given, dict) else [given]
        if isinstance(given, tuple | list):
            parts = list(given)
        name, *levels = parts
        if name is None:
            return "", None
        known = CLASSIFICATION_OBJECTIVES if self.classifies else REGRESSION_OBJECTIVES
        shown = [one.replace("-", "_").upper() for one in known]
        if not isinstance(name, str) or name.upper() not in shown or len(levels) > 1:
            raise DataError(
                f"Option OPTIMIZATION_OBJECTIVE is {name!r}; it must be one of {', '.join(shown)}, or a STRUCT of the "
                "name and a number"
            )
        objective = known[shown.index(name.upper())]
        needs = objective in ("maximize-precision-at-recall", "maximize-recall-at-precision")
        level = float(levels[0]) if levels and _is_share(levels[0]) else None
        if needs != (level is not None) or (levels and not needs):
            raise DataError(
                f"OPTIMIZATION_OBJECTIVE {name.upper()} "
                + ("needs STRUCT(name, a number from 0 to 1)" if needs else "takes no number")
            )
        if self.classifies and len(self.classes) > 2 and objective not in ("", "minimize-log-loss"):
            raise DataError(f"OPTIMIZATION_OBJECTIVE {name.upper()} is only for two classes")
        return objective, level

    def _split(self, table: pa.Table) -> tuple[SplitSpec, pa.Array | None]:
        """By DATA_SPLIT_COL: in time by a TIMESTAMP, by hand by a STRING; UNASSIGNED rows, and NULL, are drawn."""
        name = self.options["data_split_col"]
        if not name:
            return SplitSpec(seed=_SEED), None
        have = {one.lower(): one for one in table.column_names}
        if str(name).lower() not in have or str(name).lower() == self.label.lower():
            raise DataError(f"DATA_SPLIT_COL {name!r} is no column of the query beside the label")
        column = table.column(have[str(name).lower()])
        if pa.types.is_timestamp(column.type) and column.type.tz is not None:
            return SplitSpec("timestamp", have[str(name).lower()], seed=_SEED), None
        if not pa.types.is_string(column.type):
            raise DataError(f"DATA_SPLIT_COL {name} must be TIMESTAMP or STRING, and is {column.type}")
        said = pc.utf8_upper(pc.fill_null(column, "UNASSIGNED")).to_pylist()
        if strange := set(said) - {*_SETS, "UNASSIGNED"}:
            raise DataError(
                f"DATA_SPLIT_COL must be TRAIN, VALIDATE, TEST or UNASSIGNED in every row; one has "
                f"{sorted(strange)[0]!r}"
            )
        drawn = np.random.default_rng(_SEED).choice(_SETS, len(said), p=(0.8, 0.1, 0.1))
        told = [own if one == "UNASSIGNED" else one for one, own in zip(said, drawn.tolist(), strict=True)]
        return SplitSpec("predefined", _SPLIT), pa.array(told, pa.string())

    # --- what it answers ---

    def scores(self, matrix: Matrix) -> Numbers:
        found = self.learnt.output(matrix)
        return found if self.classifies else found[:, 0]

    def raw(self, matrix: Matrix) -> Numbers:
        found = self.scores(matrix)
        return np.asarray(found.max(axis=1)) if self.classifies else found

    def attributions(self, matrix: Matrix, settings: Settings) -> tuple[Matrix, Numbers]:
        """Shapley values of the answer itself: see `ml.explain.shapley`."""
        from portico.ml.explain.shapley import shapley

        values = np.zeros((len(matrix), len(self.learnt.features)))
        base = np.zeros(len(matrix))
        outputs = self.learnt.output(matrix)
        for place, row in enumerate(matrix):
            start, found, _ = shapley(self.learnt, row)
            best = int(outputs[place].argmax())
            values[place], base[place] = found[:, best], start[best]
        return values, base

    @function("ML.FEATURE_INFO")
    def feature_info(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """One row an input."""
        rows = self.state["columns"]
        kinds = {
            "input": pa.string(),
            "category_count": pa.int64(),
            "null_count": pa.int64(),
            "dimension": pa.int64(),
        }
        names = (
            "input",
            "min",
            "max",
            "mean",
            "median",
            "stddev",
            "category_count",
            "null_count",
            "dimension",
        )
        return pa.table(
            {name: pa.array([one.get(name) for one in rows], kinds.get(name, pa.float64())) for name in names}
        )

    @function("ML.GLOBAL_EXPLAIN")
    def global_explain(self, _tables: list[pa.Table], settings: Settings) -> pa.Table:
        """Each feature's share of the mean size of the attributions, the largest first."""
        return super().global_explain([], {"class_level_explain": False})

    def exported(self) -> dict[str, bytes]:
        raise NotBuilt(
            "EXPORT MODEL of AutoML models is not built in Portico: Google's is a SavedModel of TensorFlow; register "
            "the model by MODEL_REGISTRY = 'VERTEX_AI' to serve it."
        )


class _Features:
    """What stands for the encoder of the other models: one place an input."""

    def __init__(self, inputs: list[dict[str, str]], learnt: Learnt) -> None:
        self.inputs = inputs
        self._learnt = learnt

    def width(self, _encoding: str) -> int:
        return self._learnt.transform.width

    def by_input(self, values: Matrix, _encoding: str) -> dict[str, Numbers]:
        """(rows,) of each input; zeros of those that were left out."""
        found = {one["name"]: np.zeros(len(values)) for one in self.inputs}
        for place, name in enumerate(self._learnt.features):
            found[name] = values[:, place]
        return found


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _readable(table: pa.Table) -> pa.Table:
    """NUMERIC as numbers: AutoML knows no decimals."""
    for place, one in enumerate(table.schema):
        if pa.types.is_decimal(one.type):
            table = table.set_column(place, one.name, table.column(place).cast(pa.float64(), safe=False))
    return table


def _described(table: pa.Table) -> list[dict[str, Any]]:
    from portico.ml.schema import describe

    return [
        {
            "input": one.name, "min": one.min, "max": one.max, "mean": one.mean, "stddev": one.std,
            "median": one.quantiles.get("0.5"), "null_count": one.missing,
            "category_count": None if one.kind in ("numeric", "timestamp") else one.distinct,
        }
        for one in describe(_readable(table))
    ]  # fmt: skip
