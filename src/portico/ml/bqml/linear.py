"""LINEAR_REG and LOGISTIC_REG."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from scipy import special

from portico.ml.bqml import descent, exporting
from portico.ml.bqml.columns import DUMMY, ONE_HOT, Column, Matrix
from portico.ml.bqml.labels import Numbers
from portico.ml.bqml.model import Settings, function
from portico.ml.bqml.options import CLASSES, COMMON, PENALTY, STEPS, SUPERVISED, TUNING, Option
from portico.ml.bqml.supervised import Rows, Supervised
from portico.ml.errors import DataError

_OWN = {
    "optimize_strategy": Option("str", None, ("AUTO_STRATEGY", "BATCH_GRADIENT_DESCENT", "NORMAL_EQUATION")),
    "l1_reg": PENALTY,
    "l2_reg": PENALTY,
    "learn_rate_strategy": Option("str", None, ("LINE_SEARCH", "CONSTANT")),
    "learn_rate": Option("float", low=0),
    "ls_init_learn_rate": Option("float", low=0),
    "warm_start": Option("bool", False),
    "category_encoding_method": Option("str", ONE_HOT, (ONE_HOT, DUMMY)),
    "fit_intercept": Option("bool", True),
    "calculate_p_values": Option("bool", False),
}
_STEPS = 1_000  # of the solver, where MAX_ITERATIONS is not said
_SOLVER = STEPS | {  # it goes on until it has converged, where nothing else is said
    "max_iterations": Option("int", low=1),
    "min_rel_progress": Option("float", low=0),
}
_ITERATES = ("max_iterations", "min_rel_progress")


class _Linear(Supervised):
    """What both share: weights (outputs, places) and intercepts (outputs,), over standardised columns."""

    EXACT: ClassVar[bool] = True
    ONE_SIDED: ClassVar[bool] = True
    slope: descent.Descent | None = None  # that its options ask for

    def scores(self, matrix: Matrix) -> Numbers:
        raw = self._raw(matrix)
        if not self.classifies:
            return np.asarray(raw[:, 0])
        if raw.shape[1] == 1:
            positive = special.expit(raw[:, 0])
            return np.stack([1 - positive, positive], axis=1)
        return np.asarray(special.softmax(raw, axis=1))

    def _raw(self, matrix: Matrix) -> Numbers:
        """Row by row alike, whatever the number of rows."""
        found: Numbers = np.einsum("ij,kj->ik", matrix, self.arrays["weights"]) + self.arrays["intercepts"]
        return found

    def raw(self, matrix: Matrix) -> Numbers:
        return np.asarray(self._raw(matrix)[np.arange(len(matrix)), self._output(matrix)])

    def _output(self, matrix: Matrix) -> Numbers:
        """(rows,) which output is explained: the likeliest class'."""
        raw = self._raw(matrix)
        return np.asarray(raw.argmax(axis=1)) if raw.shape[1] > 1 else np.zeros(len(matrix), np.int64)

    def attributions(self, matrix: Matrix, settings: Settings) -> tuple[Matrix, Numbers]:
        """Weight × value of the standardised columns, beside the intercept, as BigQuery's.
        (https://cloud.google.com/bigquery/docs/xai-overview)"""
        output = self._output(matrix)
        return self.arrays["weights"][output] * matrix, np.asarray(self.arrays["intercepts"][output])

    def _solved(self, loss: Any, start: Numbers, penalised: Numbers, sizes: float) -> Numbers:
        """Minimises a smooth `loss` (value and gradient) with L1_REG and L2_REG on what is `penalised`, and notes each
        step: L-BFGS, or with L1 proximal gradients with momentum (FISTA: Beck and Teboulle 2009)."""
        from scipy import optimize

        flat, steep = float(self.options["l2_reg"]), float(self.options["l1_reg"])

        def smooth(point: Numbers) -> tuple[float, Numbers]:
            value, slope = loss(point)
            held = point * penalised
            return value + flat / 2 * float(held @ held), slope + flat * held

        if self.slope is not None:

            def mean(point: Numbers) -> tuple[float, Numbers]:
                value, slope = smooth(point)
                return value / sizes, slope / sizes

            return self.slope.run(
                mean, start, penalised, steep / sizes, lambda now, rate: self.run.step(now, None, rate)
            )
        most = int(self.options["max_iterations"] or _STEPS)
        least = float(self.options["min_rel_progress"] or 0) if self.options["early_stop"] else 0.0
        before = np.inf
        if steep == 0:

            def note(point: Numbers) -> None:
                nonlocal before
                now = smooth(point)[0] / sizes
                self.run.step(now)
                if before - now < least * abs(now):
                    raise StopIteration
                before = now

            found = optimize.minimize(
                smooth, start, jac=True, method="L-BFGS-B", callback=note,
                options={"maxiter": most, "gtol": 1e-9, "ftol": 1e-15, "maxls": 50},
            )  # fmt: skip
            if found.nit >= most:
                self.run.warnings.append(
                    f"Stopped after MAX_ITERATIONS = {most} steps, before it had converged."
                )
            if not self.run.iterations:  # where it began there was nothing to gain
                self.run.step(float(found.fun) / sizes)
            return np.asarray(found.x)
        return self._proximal(smooth, start, penalised, most, max(least, 1e-12), sizes)

    def _proximal(
        self, smooth: Any, start: Numbers, penalised: Numbers, most: int, least: float, sizes: float
    ) -> Numbers:
        steep = float(self.options["l1_reg"])
        point, ahead, momentum, step = start, start, 1.0, 1.0
        before = np.inf
        for _ in range(most * 10 if most == _STEPS else most):
            value, slope = smooth(ahead)
            while True:
                moved = ahead - step * slope
                found = np.where(
                    penalised > 0, np.sign(moved) * np.maximum(np.abs(moved) - step * steep, 0), moved
                )
                change = found - ahead
                if smooth(found)[0] <= value + slope @ change + change @ change / (2 * step) + 1e-12 * abs(
                    value
                ):
                    break
                step /= 2
            faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = found + (momentum - 1) / faster * (found - point)
            point, momentum = found, faster
            now = smooth(point)[0] + steep * float(np.abs(point * penalised).sum())
            self.run.step(now / sizes)
            if abs(before - now) <= least * max(1.0, abs(now)):
                break
            before = now
        return point

    def _start(self, outputs: int, width: int) -> Numbers:
        """(outputs × width,) where the solver begins: at the model before, or at 0."""
        if self.before is None:
            return np.zeros(outputs * width)
        weights, intercepts = self.before.arrays["weights"], self.before.arrays["intercepts"]
        return np.ravel(np.column_stack([weights, intercepts]) if self.options["fit_intercept"] else weights)

    def exported(self) -> dict[str, bytes]:
        given = (self.encoder, self.encoding, self.arrays["weights"], self.arrays["intercepts"], self.label)
        if self.classifies:
            return {"model.onnx": exporting.logistic(*given, self.classes)}
        return {"model.onnx": exporting.linear(*given)}

    # --- functions ---

    def _unstandardised(self) -> tuple[Numbers, Numbers]:
        """Weights and intercepts for the columns as they are."""
        weights, intercepts = self.arrays["weights"].copy(), self.arrays["intercepts"].copy()
        for place, (column, category) in enumerate(self.encoder.places(self.encoding)):
            if category is None:
                weights[:, place] /= column.deviation
                intercepts -= weights[:, place] * column.mean
        return weights, intercepts

    def _baseline(self, column: Column) -> list[tuple[str | None, float]]:
        """The category that DUMMY_ENCODING leaves out, the most frequent one: the others' weights are beside its 0."""
        left_out = self.encoding == DUMMY and column.kind == "category" and column.categories
        return [(column.categories[0], 0.0)] if left_out else []

    @function("ML.WEIGHTS", standardize=Option("bool", False))
    def weights(self, _tables: list[pa.Table], settings: Settings) -> pa.Table:
        """A row an input, with a weight or those of its categories, and the intercept's."""
        chosen = (self.arrays["weights"], self.arrays["intercepts"])
        values, intercepts = chosen if settings["standardize"] else self._unstandardised()
        places = self.encoder.places(self.encoding)
        rows: list[dict[str, Any]] = []
        for output in range(len(values)):
            label = self.classes[output] if len(values) > 1 else None
            for column in self.encoder.columns:
                mine = self._baseline(column) + [
                    (name, float(values[output, at]))
                    for at, (one, name) in enumerate(places)
                    if one is column
                ]
                alone = column.kind == "number"
                rows.append(
                    {
                        "class_label": label,
                        "processed_input": column.name,
                        "weight": mine[0][1] if alone else None,
                        "category_weights": [] if alone else [{"category": a, "weight": b} for a, b in mine],
                    }
                )
            rows.append(
                {
                    "class_label": label,
                    "processed_input": "__INTERCEPT__",
                    "weight": float(intercepts[output]),
                    "category_weights": [],
                }
            )
        kinds = {
            "processed_input": pa.string(),
            "weight": pa.float64(),
            "category_weights": pa.list_(pa.struct([("category", pa.string()), ("weight", pa.float64())])),
        }
        if len(values) > 1:
            kinds = {"class_label": self._label_type(), **kinds}
        return pa.table({name: pa.array([one[name] for one in rows], kind) for name, kind in kinds.items()})

    @function("ML.ADVANCED_WEIGHTS", standardize=Option("bool", False))
    def advanced_weights(self, _tables: list[pa.Table], settings: Settings) -> pa.Table:
        """Weights with standard errors and p-values of a model that was trained with CALCULATE_P_VALUES."""
        if "errors" not in self.arrays:
            raise DataError(
                "ML.ADVANCED_WEIGHTS needs a model that was trained with CALCULATE_P_VALUES = TRUE"
            )
        standardize = bool(settings["standardize"])
        weights, intercepts = self._unstandardised()
        if standardize:
            weights, intercepts = self.arrays["weights"], self.arrays["intercepts"]
        errors = self.arrays["standardized_errors" if standardize else "errors"].tolist()
        p_values = self.arrays["p_values"].tolist()
        places = self.encoder.places(self.encoding)
        rows: list[tuple[str, str | None, float, float | None, float | None]] = []
        for column in self.encoder.columns:
            rows += [(column.name, name, zero, 0.0, math.nan) for name, zero in self._baseline(column)]
            rows += [
                (column.name, name, float(weights[0, at]), errors[at], p_values[at])
                for at, (one, name) in enumerate(places)
                if one is column
            ]
        if self.options["fit_intercept"]:
            tested: tuple[float | None, float | None] = (errors[-1], p_values[-1])
            if standardize:
                tested = (errors[-1], float(self.arrays["standardized_p_value"]))
            elif any(one.kind == "category" for one in self.encoder.columns):
                tested = (None, None)
            rows.append(("__INTERCEPT__", None, float(intercepts[0]), *tested))
        kinds = (pa.string(), pa.string(), pa.float64(), pa.float64(), pa.float64())
        names = ("processed_input", "category", "weight", "standard_error", "p_value")
        return pa.table(
            {name: pa.array([row[at] for row in rows], kinds[at]) for at, name in enumerate(names)}
        )

    def _may_learn(self) -> None:
        if self.options["optimize_strategy"] == "NORMAL_EQUATION" and self.before is not None:
            raise DataError("OPTIMIZE_STRATEGY = 'NORMAL_EQUATION' can't be used with WARM_START")
        if self.options["optimize_strategy"] == "NORMAL_EQUATION" and self.options["l1_reg"]:
            raise DataError(
                "OPTIMIZE_STRATEGY = 'NORMAL_EQUATION' can't be used with L1_REG; leave one of them out"
            )
        self.slope = descent.asked(self.options, self.model_type)
        if not self.options["calculate_p_values"]:
            return
        if self.encoding != DUMMY or self.options["l1_reg"] or self.options["l2_reg"]:
            raise DataError(
                "CALCULATE_P_VALUES needs CATEGORY_ENCODING_METHOD = 'DUMMY_ENCODING' and no regularisation"
            )
        if any(one.kind == "category" for one in self.encoder.columns):
            self.run.warnings.append(
                "Since the model has categorical values, regression statistics of the intercept are only those of "
                "standardized features: ML.ADVANCED_WEIGHTS with STRUCT(TRUE AS standardize)."
            )

    def _tested(self, matrix: Matrix, information: Matrix, freedom: float | None) -> None:
        """Standard errors from the inverse of the information matrix of the columns as they are (the intercept last),
        and two-sided p-values by t with `freedom`, or by the normal distribution."""
        places = self.encoder.places(self.encoding)
        first = 1 if self.options["fit_intercept"] else 0
        if np.linalg.matrix_rank(information) < len(information):
            raise DataError(
                "CALCULATE_P_VALUES: the columns depend on each other, so that no p-value exists; leave one out"
            )
        covariance = np.linalg.inv(information)
        self.arrays["standardized_errors"] = np.sqrt(np.diag(covariance))
        # Columns as they are: x = mean + deviation · z, so weights and intercept are a linear map of the standardised.
        change = np.eye(len(covariance))
        for at, (column, category) in enumerate(places):
            if category is None:
                change[at, at] = 1 / column.deviation
                if first:
                    change[-1, at] = -column.mean / column.deviation
        self.arrays["errors"] = errors = np.sqrt(np.diag(change @ covariance @ change.T))
        weights, intercepts = self._unstandardised()
        values = np.concatenate([weights[0], intercepts[:1]]) if first else weights[0]
        ratio = np.abs(values / errors)
        from scipy import stats  # takes a second, which a process that only serves has not

        spread = stats.norm if freedom is None else stats.t(freedom)
        self.arrays["p_values"] = 2 * spread.sf(ratio)
        if first:
            ratio_there = abs(self.arrays["intercepts"][0] / self.arrays["standardized_errors"][-1])
            self.arrays["standardized_p_value"] = np.asarray(2 * spread.sf(ratio_there))


class LinearRegression(_Linear):
    """Least squares, in closed form; weighted where weights are given. Of columns that depend on each other (all
    categories and an intercept do) the solution of least norm."""

    TYPES: ClassVar[dict[str, str]] = {"LINEAR_REG": "LINEAR_REGRESSION"}
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | SUPERVISED | _SOLVER | TUNING | _OWN

    def learn(self, train: Rows, evaluate: Rows | None) -> None:
        self._may_learn()
        both = self._design(train.matrix)
        root = np.sqrt(train.weights)[:, None]
        flat, steep = float(self.options["l2_reg"]), float(self.options["l1_reg"])
        penalised = np.ones(both.shape[1])
        if self.options["fit_intercept"]:
            penalised[-1] = 0
        weighed = both * root
        if steep or self.before is not None or self.slope is not None:
            gram, moment = weighed.T @ weighed, weighed.T @ (train.labels * root[:, 0])
            square = float(train.weights @ train.labels**2)

            def loss(point: Numbers) -> tuple[float, Numbers]:
                slope = gram @ point
                return float(point @ slope / 2 - moment @ point + square / 2), slope - moment

            found = self._solved(loss, self._start(1, both.shape[1]), penalised, len(train.labels) / 2)
        elif flat:
            left = weighed.T @ weighed + flat * np.diag(penalised)
            found = np.linalg.lstsq(left, weighed.T @ (train.labels * root[:, 0]), rcond=None)[0]
        else:
            found = np.linalg.lstsq(weighed, train.labels * root[:, 0], rcond=None)[0]
        closed = not self.run.iterations
        unused = [name.upper() for name in _ITERATES if closed and self.options[name] is not None]
        if unused:
            self.run.warnings.append(
                f"{', '.join(unused)}: not used, for the normal equation was solved, which takes no iterations."
            )
        self._keep(found[None, :])
        residual = train.labels - both @ found
        loss_now = float(np.average(residual**2, weights=train.weights))
        held = None
        if evaluate is not None:
            held = float(np.mean((evaluate.labels - self._design(evaluate.matrix) @ found) ** 2))
        if not self.run.iterations:
            self.run.step(loss_now, held)
        if self.options["calculate_p_values"]:
            freedom = len(both) - both.shape[1]
            if freedom < 1:
                raise DataError("CALCULATE_P_VALUES needs more rows than weights")
            variance = float(train.weights @ residual**2) / freedom
            self._tested(train.matrix, weighed.T @ weighed / variance, freedom)

    def _design(self, matrix: Matrix) -> Matrix:
        return np.column_stack([matrix, np.ones(len(matrix))]) if self.options["fit_intercept"] else matrix

    def _keep(self, found: Numbers) -> None:
        if self.options["fit_intercept"]:
            self.arrays["weights"], self.arrays["intercepts"] = found[:, :-1], found[:, -1]
        else:
            self.arrays["weights"], self.arrays["intercepts"] = found, np.zeros(len(found))


class LogisticRegression(_Linear):
    """The largest likelihood of two classes (the log-odds of the last) or of several (softmax), with penalties on the
    weights of the standardised columns: loss = Σ weight × log loss + L2_REG / 2 × Σ w² + L1_REG × Σ |w|."""

    TYPES: ClassVar[dict[str, str]] = {"LOGISTIC_REG": "LOGISTIC_REGRESSION"}
    CLASSIFIES: ClassVar[tuple[str, ...]] = ("LOGISTIC_REG",)
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | SUPERVISED | _SOLVER | TUNING | CLASSES | _OWN

    def learn(self, train: Rows, evaluate: Rows | None) -> None:
        self._may_learn()
        if self.options["calculate_p_values"] and len(self.classes) > 2:
            raise DataError("CALCULATE_P_VALUES is only for two classes")
        outputs = 1 if len(self.classes) == 2 else len(self.classes)
        intercept = bool(self.options["fit_intercept"])
        both = np.column_stack([train.matrix, np.ones(len(train.matrix))]) if intercept else train.matrix
        penalised = np.ones((outputs, both.shape[1]))
        if intercept:
            penalised[:, -1] = 0
        truth = np.eye(len(self.classes))[train.labels]

        def loss(point: Numbers) -> tuple[float, Numbers]:
            raw = both @ point.reshape(outputs, -1).T
            if outputs == 1:
                signs = 2 * truth[:, 1] - 1
                value = float(train.weights @ np.logaddexp(0, -signs * raw[:, 0]))
                apart = (special.expit(raw[:, 0]) - truth[:, 1])[:, None]
            else:
                value = float(train.weights @ (special.logsumexp(raw, axis=1) - (raw * truth).sum(axis=1)))
                apart = special.softmax(raw, axis=1) - truth
            return value, ((apart * train.weights[:, None]).T @ both).ravel()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = self._solved(
                loss, self._start(outputs, both.shape[1]), penalised.ravel(), len(train.labels)
            )
        found = found.reshape(outputs, -1)
        if intercept:
            self.arrays["weights"], self.arrays["intercepts"] = found[:, :-1], found[:, -1]
        else:
            self.arrays["weights"], self.arrays["intercepts"] = found, np.zeros(outputs)
        if evaluate is not None and self.run.iterations:
            own = self.scores(evaluate.matrix)[np.arange(len(evaluate.labels)), evaluate.labels]
            self.run.iterations[-1]["eval_loss"] = float(-np.mean(np.log(np.clip(own, 1e-15, 1))))
        if self.options["calculate_p_values"]:
            positive = self.scores(train.matrix)[:, 1]
            spread = (train.weights * positive * (1 - positive))[:, None]
            self._tested(train.matrix, (both * spread).T @ both, None)
