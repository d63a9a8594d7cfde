"""Models that learn a label: what regressions and classifications of every kind share.

A model type below it says how it learns (`learn`), what it predicts of a matrix (`scores`) and how a prediction adds up
(`attributions`); the rest of its functions are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml import columns, measures, splits, tuning
from portico.ml.bqml.answers import beside, column_name, feature_info, told, type_kind
from portico.ml.bqml.columns import Encoder, Matrix
from portico.ml.bqml.labels import Labelled, Numbers
from portico.ml.bqml.model import Given, Settings, function
from portico.ml.bqml.options import COMMON, SUPERVISED, Option
from portico.ml.errors import DataError

_EVALUATED = 200_000  # rows whose scores are kept with the model
_THRESHOLD, _HALF = Option("float", low=0, high=1), 0.5  # of two classes
_BYTES, _FEWEST = 1 << 29, 1024  # of a matrix that is predicted at once; rows that it has at least
_OF_A_CLASS = 4  # numbers that a class' probability is, from its score to the answer
_TOP = Option("int", 5, low=1)
_OF_EACH_CLASS = 10  # features that ML.GLOBAL_EXPLAIN tells of a class


@dataclass(slots=True)
class Rows:
    """Rows to learn from, or to evaluate on. `labels` are numbers, of a classification the places of the classes."""

    matrix: Matrix
    labels: Numbers
    weights: Numbers


class Supervised(Labelled):
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | SUPERVISED
    ENCODING: ClassVar[str] = columns.ONE_HOT
    STANDARDIZES: ClassVar[bool] = True
    FLOATS: ClassVar[type[np.floating[Any]]] = np.float64
    EXACT: ClassVar[bool] = False  # its attributions add up, but for the last digits
    EXPLAINS: ClassVar[str] = ""  # which setting its explanations have
    ONE_SIDED: ClassVar[bool] = (
        False  # of two classes `raw` is the log-odds of the last, whichever is predicted
    )

    def learn(self, train: Rows, evaluate: Rows | None) -> None:
        """Sets `state`, `arrays` and `files`, and notes its iterations in `run`."""
        raise NotImplementedError

    def scores(self, matrix: Matrix) -> Numbers:
        """(rows,) of a regression, (rows, classes) of a classification."""
        raise NotImplementedError

    def attributions(self, matrix: Matrix, settings: Settings) -> tuple[Matrix, Numbers]:
        """
        Returns:
            (rows, places) what each place adds to the score of a row (its most likely class'), and (rows,) what it adds
            to: on the scale of the raw score, the log-odds for classes.
        """
        raise DataError(f"ML.EXPLAIN_PREDICT is not supported for model type {self.model_type}")

    def explaining(self, rows: int) -> tuple[int, Settings]:
        """Of how many of `rows` the whole model is explained, and with which settings."""
        return rows, {}

    # --- what all of them know ---

    @property
    def encoding(self) -> str:
        return str(self.options.get("category_encoding_method") or self.ENCODING)

    def ready(self) -> None:
        self.encoder = Encoder.of(self.state["encoder"])

    def inputs(self) -> list[dict[str, str]]:
        return self.encoder.inputs

    def matrix(self, table: pa.Table) -> Matrix:
        return self.encoder.matrix(table, self.encoding, self.STANDARDIZES, self.FLOATS)

    # --- training ---

    def fit(self, given: Given) -> None:
        table, labels = self._labelled(given.rows)
        split = splits.split(table, self.options)
        self.run.warnings += splits.unused(self.options)
        weights = self._weights(table, labels)
        inputs = table.drop_columns(self._no_features(table))
        if not inputs.num_columns:
            raise DataError("The query has no column beside the label to learn from")
        self.run.warnings += columns.strange(inputs)
        learnt = _taken(inputs, split.train)
        self.encoder = Encoder.fit(learnt) if self.before is None else self.before.encoder.same(learnt)
        if self.encoding == columns.TARGET:
            self.encoder.aim(learnt, self._targets(labels[split.train]))
        self.state["encoder"] = self.encoder.json()

        def rows(places: splits.Places) -> Rows:
            return Rows(self.matrix(_taken(inputs, places)), labels[places], weights[places])

        train = rows(split.train)
        if self.classifies and len(np.unique(train.labels)) < 2:
            raise DataError(f"Label column {self.label} has one value only in the rows to train on")
        evaluate = rows(split.evaluate) if len(split.evaluate) else None
        if not self.options.get("num_trials"):
            self._taught(train, evaluate, evaluate or train)
            return
        objective = self._objective()
        judged = evaluate or train
        test = rows(split.test) if len(split.test) else judged

        def learn(trial: Any) -> float | None:
            trial.encoder = self.encoder
            trial._taught(train, evaluate, test)
            return self._measures(judged.labels, trial.scores(judged.matrix))[objective]

        tuning.search(self, objective, objective not in measures.MINIMIZED, learn)

    def _taught(self, train: Rows, evaluate: Rows | None, measured: Rows) -> None:
        self.learn(train, evaluate)
        self.ready()
        self._measured(measured)
        if self.options["enable_global_explain"]:
            self._explained(measured)

    def _objective(self) -> str:
        """HPARAM_TUNING_OBJECTIVES: one of the columns of ML.EVALUATE."""
        known = measures.CLASSIFICATION if self.classifies else measures.REGRESSION
        return tuning.objective(self.options, known, "ROC_AUC" if self.classifies else "R2_SCORE")

    def _measures(self, labels: Numbers, scores: Numbers) -> dict[str, float | None]:
        """What ML.EVALUATE says, at a threshold of one half."""
        if self.classifies:
            return measures.classification(labels, scores, 0.5)
        return measures.regression(labels, scores)

    def _targets(self, labels: Numbers) -> Matrix:
        """(rows, outputs): the label, or whether it is the last of two classes or each of several."""
        if not self.classifies:
            return np.asarray(labels[:, None])
        hot = np.eye(len(self.classes))[labels]
        return hot[:, 1:] if len(self.classes) == 2 else hot

    def _measured(self, rows: Rows) -> None:
        """Keeps the scores of the rows that the model is evaluated on."""
        kept = slice(None)
        if len(rows.labels) > _EVALUATED:
            kept = slice(0, _EVALUATED)
            self.run.warnings.append(f"Evaluated on the first {_EVALUATED:,} of {len(rows.labels):,} rows.")
        self.arrays["evaluated_scores"] = self.scores(rows.matrix[kept])
        self.arrays["evaluated_labels"] = rows.labels[kept]

    def _explained(self, rows: Rows) -> None:
        count, settings = self.explaining(min(len(rows.matrix), 10_000))
        matrix = rows.matrix[:count]
        values, _ = self.attributions(matrix, settings)
        by_input = self.encoder.by_input(values, self.encoding)
        self.state["explained"] = {name: float(np.mean(np.abs(one))) for name, one in by_input.items()}
        if self.classifies:
            best = self.scores(matrix).argmax(axis=1)
            self.state["explained_by_class"] = {
                str(place): {
                    name: float(np.mean(np.abs(one[best == place]))) if (best == place).any() else 0.0
                    for name, one in by_input.items()
                }
                for place in range(len(self.classes))
            }

    # --- functions ---

    @function("ML.PREDICT", (1, 1), threshold=_THRESHOLD)
    def predict(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """The prediction, of classes their probabilities too, and the columns of the input."""
        scores = self._scored(tables[0])
        made = self._predicted(scores, settings["threshold"])
        return beside(made, tables[0])

    def _predicted(self, scores: Numbers, threshold: float | None) -> dict[str, pa.Array]:
        name = f"predicted_{self.label}"
        if not self.classifies:
            self._cut(threshold)
            return {name: pa.array(scores, pa.float64())}
        classes = pa.array(self.classes, self._label_type())
        chosen = self._chosen(scores, threshold)
        order = np.argsort(-scores, axis=1, kind="stable")
        probs = pa.StructArray.from_arrays(
            [
                classes.take(pa.array(order.ravel())),
                pa.array(np.take_along_axis(scores, order, axis=1).ravel(), pa.float64()),
            ],
            ["label", "prob"],
        )
        offsets = pa.array(np.arange(len(scores) + 1) * scores.shape[1], pa.int32())
        return {
            name: classes.take(pa.array(chosen)),
            f"{name}_probs": pa.ListArray.from_arrays(offsets, probs),
        }

    def _chosen(self, scores: Numbers, threshold: float | None) -> Numbers:
        cut = self._cut(threshold)
        if scores.shape[1] == 2:
            return np.asarray(scores[:, 1] >= cut, np.int64)
        return np.asarray(scores.argmax(axis=1), np.int64)

    def _cut(self, threshold: float | None) -> float:
        """The threshold of two classes.

        Raises:
            DataError: one is given for other models.
        """
        two = self.classifies and len(self.classes) == 2
        if threshold is not None and not two and (threshold != _HALF or not self.classifies):
            raise DataError("A threshold is only for models of two classes")
        return _HALF if threshold is None else threshold

    def _evaluated(self, tables: list[pa.Table]) -> tuple[Numbers, Numbers]:
        """Labels and scores, of the table or of the rows that were held out."""
        if not tables:
            return self.arrays["evaluated_labels"], self.arrays["evaluated_scores"]
        table = tables[0]
        have = {one.lower(): one for one in table.column_names}
        if self.label.lower() not in have:
            raise DataError(f"Label column {self.label} is missing in the evaluation data")
        column = table.column(have[self.label.lower()])
        keep = pa.compute.is_valid(column)
        table, column = table.filter(keep), column.filter(keep)
        try:
            labels = (
                self._places(column) if self.classifies else column.cast(pa.float64(), safe=False).to_numpy()
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DataError(
                f"Label column {self.label} is of another type than in training: {column.type}"
            ) from None
        if self.classifies and (labels < 0).any():
            strange = column.filter(pa.array(labels < 0))[0].as_py()
            raise DataError(f"Label {strange!r} in the evaluation data is no class of the model")
        return labels, self._scored(table)

    def _scored(self, table: pa.Table) -> Numbers:
        """The scores of a table's rows, whose matrix is made of so many at once as memory is well spent on."""
        if self.classifies:
            columns.bounded(table.num_rows, _OF_A_CLASS * len(self.classes))
        size = max(_FEWEST, _BYTES // (8 * max(self.encoder.width(self.encoding), 1)))
        blocks = [
            self.scores(self.matrix(table.slice(begin, size)))
            for begin in range(0, max(table.num_rows, 1), size)
        ]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    @function("ML.EVALUATE", (0, 1), threshold=_THRESHOLD)
    def evaluate(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        labels, scores = self._evaluated(tables)
        if self.classifies:
            found = measures.classification(labels, scores, self._cut(settings["threshold"]))
        else:
            self._cut(settings["threshold"])
            found = measures.regression(labels, scores)
        return pa.table({name: pa.array([value], pa.float64()) for name, value in found.items()})

    @function("ML.CONFUSION_MATRIX", (0, 1), threshold=_THRESHOLD)
    def confusion_matrix(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """A row for each class that is expected, with how often each class was predicted."""
        self._needs_classes("ML.CONFUSION_MATRIX")
        labels, scores = self._evaluated(tables)
        chosen = self._chosen(scores, settings["threshold"])
        counts = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(counts, (labels, chosen), 1)
        made = {"expected_label": pa.array(self.classes, self._label_type())}
        taken = {name.lower() for name in made}
        for place, one in enumerate(self.classes):
            name, number = column_name(one), 1
            while name.lower() in taken:  # of another class whose name differs in what no column's name has
                name, number = f"{column_name(one)}_{number}", number + 1
            taken.add(name.lower())
            made[name] = pa.array(counts[:, place])
        return pa.table(made)

    @function("ML.ROC_CURVE", (0, 1), thresholds=Option("any"))
    def roc_curve(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        self._needs_classes("ML.ROC_CURVE")
        if len(self.classes) != 2:
            raise DataError("ML.ROC_CURVE is only for models of two classes")
        asked = settings["thresholds"]
        if asked is not None and not (
            isinstance(asked, list) and all(isinstance(one, int | float) and one == one for one in asked)
        ):
            raise DataError("ML.ROC_CURVE needs its thresholds as an array of numbers")
        labels, scores = self._evaluated(tables)
        rows = measures.curve(labels, scores[:, 1], settings["thresholds"])
        kinds = {"threshold": pa.float64(), "recall": pa.float64(), "false_positive_rate": pa.float64()}
        return pa.table(
            {
                name: pa.array([one[name] for one in rows], kinds.get(name, pa.int64()))
                for name in (*kinds, "true_positives", "false_positives", "true_negatives", "false_negatives")
            }
        )

    def _needs_classes(self, name: str) -> None:
        if not self.classifies:
            raise DataError(f"{name} is not supported for model type {self.model_type}")

    @function("ML.FEATURE_INFO")
    def feature_info(self, _tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return feature_info(told(self.encoder.columns))

    @function(
        "ML.EXPLAIN_PREDICT", (1, 1), top_k_features=_TOP, threshold=_THRESHOLD,
        integrated_gradients_num_steps=Option("int", low=1), approx_feature_contrib=Option("bool"),
    )  # fmt: skip
    def explain_predict(self, tables: list[pa.Table], settings: Settings) -> pa.Table:
        """Predictions with the features that moved them most; attributions, baseline and the error add up."""
        for name in ("integrated_gradients_num_steps", "approx_feature_contrib"):
            if settings[name] is not None and name != self.EXPLAINS:
                raise DataError(f"ML.EXPLAIN_PREDICT has no argument {name} for model type {self.model_type}")
        matrix = self.matrix(tables[0])
        scores = self.scores(matrix)
        values, base = self.attributions(matrix, settings)
        raw = self.raw(matrix)
        chosen = self._chosen(scores, settings["threshold"]) if self.classifies else None
        if chosen is not None and self.ONE_SIDED and len(self.classes) == 2:
            sides = np.where(chosen == 1, 1.0, -1.0)  # of the class that is predicted
            values, base, raw = values * sides[:, None], base * sides, raw * sides
        by_input = self.encoder.by_input(values, self.encoding)
        names = list(by_input)
        together = np.stack([by_input[name] for name in names], axis=1)
        top = min(int(settings["top_k_features"]), len(names))
        order = np.argsort(-np.abs(together), axis=1, kind="stable")[:, :top]
        shown = pa.StructArray.from_arrays(
            [
                pa.array(names).take(pa.array(order.ravel())),
                pa.array(np.take_along_axis(together, order, axis=1).ravel(), pa.float64()),
            ],
            ["feature", "attribution"],
        )
        offsets = pa.array(np.arange(len(together) + 1) * top, pa.int32())
        made: dict[str, Any] = self._predicted(scores, settings["threshold"])
        made.pop(f"predicted_{self.label}_probs", None)
        if chosen is not None:
            made["probability"] = pa.array(scores[np.arange(len(scores)), chosen], pa.float64())
        made["top_feature_attributions"] = pa.ListArray.from_arrays(offsets, shown)
        made["baseline_prediction_value"] = pa.array(base, pa.float64())
        made["prediction_value"] = pa.array(raw, pa.float64())
        made["approximation_error"] = pa.array(self._error(raw - base, together.sum(axis=1)), pa.float64())
        return beside(made, tables[0])

    def _error(self, whole: Numbers, told: Numbers) -> Numbers:
        """(rows,) what attributions are beside of what they explain, as its share."""
        if self.EXACT:
            return np.zeros(len(whole))
        apart = np.abs(whole - told)
        return np.where(apart < 1e-9, 0.0, apart / np.where(whole == 0, 1.0, np.abs(whole)))

    def raw(self, matrix: Matrix) -> Numbers:
        """(rows,) what `attributions` add up to."""
        return self.scores(matrix)

    @function("ML.GLOBAL_EXPLAIN", class_level_explain=Option("bool", False))
    def global_explain(self, _tables: list[pa.Table], settings: Settings) -> pa.Table:
        """The mean of the attributions' sizes, the largest first."""
        if "explained" not in self.state:
            raise DataError(
                "ML.GLOBAL_EXPLAIN needs a model that was trained with ENABLE_GLOBAL_EXPLAIN = TRUE"
            )
        if settings["class_level_explain"]:
            self._needs_classes("ML.GLOBAL_EXPLAIN with class_level_explain")
            rows = [
                (self.classes[int(place)], name, value)
                for place, said in self.state["explained_by_class"].items()
                for name, value in sorted(said.items(), key=lambda pair: -pair[1])[:_OF_EACH_CLASS]
            ]
            return pa.table(
                {
                    f"{self.label}": pa.array([one for one, _, _ in rows], self._label_type()),
                    "feature": pa.array([one for _, one, _ in rows], pa.string()),
                    "attribution": pa.array([one for _, _, one in rows], pa.float64()),
                }
            )
        pairs = sorted(self.state["explained"].items(), key=lambda pair: -pair[1])
        return pa.table(
            {
                "feature": pa.array([one for one, _ in pairs], pa.string()),
                "attribution": pa.array([one for _, one in pairs], pa.float64()),
            }
        )

    # --- what the API shows ---

    def described(self) -> dict[str, Any]:
        shown = super().described()
        shown["featureColumns"] = [
            {"name": one["name"], "type": {"typeKind": type_kind(one["type"])}} for one in self.encoder.inputs
        ]
        shown["labelColumns"] = [
            {"name": self.label, "type": {"typeKind": type_kind(self.state["label_type"])}}
        ]
        found = self._measures(*self._evaluated([]))
        shown["trainingRuns"][0]["evaluationMetrics"] = self._shown(found)
        if "trials" in self.state:
            tuning.described(self, shown, lambda name, value: self._shown({name: value}))
        return shown

    def _shown(self, found: dict[str, float | None]) -> dict[str, Any]:
        """Measures as the API's EvaluationMetrics."""
        if not self.classifies:
            told = {_API[name]: value for name, value in found.items() if value is not None and name in _API}
            return {"regressionMetrics": told}
        told = {_API.get(name, name): value for name, value in found.items() if value is not None}
        if len(self.classes) != 2:
            return {"multiClassClassificationMetrics": {"aggregateClassificationMetrics": told}}
        negative, positive = (str(one) for one in self.classes)
        return {
            "binaryClassificationMetrics": {
                "aggregateClassificationMetrics": told,
                "positiveLabel": positive,
                "negativeLabel": negative,
            }
        }


_API = {
    "mean_absolute_error": "meanAbsoluteError", "mean_squared_error": "meanSquaredError",
    "mean_squared_log_error": "meanSquaredLogError", "median_absolute_error": "medianAbsoluteError",
    "r2_score": "rSquared", "f1_score": "f1Score", "log_loss": "logLoss", "roc_auc": "rocAuc",
}  # fmt: skip


def _taken(table: pa.Table, places: splits.Places) -> pa.Table:
    return table if len(places) == table.num_rows else table.take(pa.array(places))
