"""DNN and DNN_LINEAR_COMBINED (wide and deep) models, on a network in numpy."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from scipy import special

from portico.ml.bqml import exporting
from portico.ml.bqml.columns import Matrix
from portico.ml.bqml.labels import Numbers
from portico.ml.bqml.model import Settings
from portico.ml.bqml.network import ACTIVATIONS, Network, Optimizer, batches, hidden
from portico.ml.bqml.options import (
    CLASSES,
    COMMON,
    PENALTY,
    STEPS,
    SUPERVISED,
    TF_VERSION,
    TUNING,
    Option,
    Search,
)
from portico.ml.bqml.supervised import Rows, Supervised
from portico.ml.errors import DataError

_SEED = 20_240_101
_PARTS = ("dnn", "linear")
_STEPS, _GLOBAL_STEPS = 15, 50  # of ML.EXPLAIN_PREDICT and of a whole model, where none are said
_MOST_UNITS, _BATCH = 128, 32  # at most, where HIDDEN_UNITS and BATCH_SIZE are not said
_OWN = {
    "hidden_units": Option("any", tuned=True),
    "activation_fn": Option("str", "RELU", tuple(ACTIVATIONS), tuned=True),
    "optimizer": Option("str", "ADAM", ("ADAM", "ADAGRAD", "FTRL", "RMSPROP", "SGD"), tuned=True),
    "learn_rate": Option("float", 0.001, low=0, high=1, tuned=True, search=Search(0.0001, 0.1)),
    "batch_size": Option("int", None, low=1, high=65_536, tuned=True),
    "dropout": Option("float", 0.0, low=0, high=0.999, tuned=True),
    "l1_reg": PENALTY,
    "l2_reg": PENALTY,
    "integrated_gradients_num_steps": Option("int", low=1, high=200),
    "tf_version": TF_VERSION,
    "warm_start": Option("bool", False),
}


class DeepNetwork(Supervised):
    """Mini-batches of the squared error of the standardised label, or of the log loss (softmax), with L1_REG and L2_REG
    on the weights. Without HIDDEN_UNITS it has one layer, the wider the more rows there are."""

    TYPES: ClassVar[dict[str, str]] = {"DNN_REGRESSOR": "DNN_REGRESSOR", "DNN_CLASSIFIER": "DNN_CLASSIFIER"}
    CLASSIFIES: ClassVar[tuple[str, ...]] = ("DNN_CLASSIFIER",)
    OPTIONS: ClassVar[dict[str, Option]] = COMMON | SUPERVISED | STEPS | TUNING | CLASSES | _OWN
    EXPLAINS: ClassVar[str] = "integrated_gradients_num_steps"
    WIDE: ClassVar[bool] = False  # a linear part beside the network

    def ready(self) -> None:
        super().ready()
        self._load()

    def _load(self) -> None:
        own = {name[5:]: one for name, one in self.arrays.items() if name.startswith("deep_")}
        self.parts = [Network.of(own, str(self.options["activation_fn"]))]
        if self.WIDE:
            wide = {name[5:]: one for name, one in self.arrays.items() if name.startswith("wide_")}
            self.parts.append(Network.of(wide, "RELU"))

    def learn(self, train: Rows, evaluate: Rows | None) -> None:
        width, outputs = train.matrix.shape[1], len(self.classes) if self.classifies else 1
        if self.options["hidden_units"] is None:  # by BigQuery's documentation
            fewest = len(train.matrix) // (10 * (width + outputs))
            self.options["hidden_units"] = [max(1, min(_MOST_UNITS, fewest))]
        self.options["hidden_units"] = units = hidden(self.options["hidden_units"])
        explained = self.before is not None or self.options["enable_global_explain"]
        if self.options["integrated_gradients_num_steps"] is not None and not explained:
            raise DataError("INTEGRATED_GRADIENTS_NUM_STEPS needs ENABLE_GLOBAL_EXPLAIN = TRUE")
        self.arrays["means"] = train.matrix.mean(axis=0)
        if not self.classifies:
            self.state["center"] = float(train.labels.mean())
            self.state["spread"] = float(train.labels.std()) or 1.0
        draw = np.random.default_rng(_SEED)
        if self.before is None:
            deep = Network.drawn([width, *units, outputs], str(self.options["activation_fn"]), draw)
            self.parts = [deep]
            if self.WIDE:
                self.parts.append(Network([np.zeros((width, outputs))], [np.zeros(outputs)], "RELU"))
        else:
            self.parts = self.before.parts
            self.state |= {
                name: self.before.state[name] for name in ("center", "spread") if not self.classifies
            }
        optimizers = [
            Optimizer(
                str(self._of("optimizer", name)), float(self._of("learn_rate", name)), part.parameters()
            )
            for name, part in zip(_PARTS, self.parts, strict=False)
        ]
        self._iterate(train, evaluate, optimizers, draw)
        for prefix, one in zip(("deep_", "wide_"), self.parts, strict=False):
            self.arrays |= {prefix + key: value for key, value in one.arrays().items()}

    def _of(self, option: str, part: str) -> Any:
        said = self.options[option]
        return said[part] if isinstance(said, dict) else said

    def _iterate(
        self, train: Rows, evaluate: Rows | None, optimizers: list[Optimizer], draw: np.random.Generator
    ) -> None:
        size = int(self.options["batch_size"] or min(_BATCH, len(train.matrix)))
        least = float(self.options["min_rel_progress"]) if self.options["early_stop"] else -math.inf
        before = math.inf
        for _ in range(int(self.options["max_iterations"])):
            for places in batches(len(train.matrix), size, draw):
                rows = Rows(train.matrix[places], train.labels[places], train.weights[places])
                self._step(rows, optimizers, draw)
            loss = self._loss(train)
            if not math.isfinite(loss):
                raise DataError("The training diverged; set a smaller LEARN_RATE")
            held = self._loss(evaluate) if evaluate is not None else None
            self.run.step(loss, held, float(self._of("learn_rate", "dnn")))
            judged = loss if held is None else held
            if before - judged < least * before:
                return
            before = judged
        if least > -math.inf:
            self.run.warnings.append("Stopped by MAX_ITERATIONS while the loss was still falling.")

    def _step(self, rows: Rows, optimizers: list[Optimizer], draw: np.random.Generator) -> None:
        slope = self._slope(self._raw(rows.matrix), rows) if self.WIDE else None
        steep, flat = float(self.options["l1_reg"] or 0), float(self.options["l2_reg"] or 0)
        for part, optimizer in zip(self.parts, optimizers, strict=True):
            # A network of its own is judged by what its units, some dropped out, put out in this very step.
            found = part.gradients(
                rows.matrix,
                lambda out: self._slope(out, rows) if slope is None else slope,
                draw,
                float(self.options["dropout"]),
            )
            for place, weights in enumerate(part.weights):
                found[place] += steep * np.sign(weights) + flat * weights
            optimizer.step(found)

    def _slope(self, raw: Numbers, rows: Rows) -> Numbers:
        """Of the weighted mean loss, for (rows, outputs)."""
        if self.classifies:
            apart = special.softmax(raw, axis=1)
            apart[np.arange(len(rows.labels)), rows.labels] -= 1
        else:
            apart = 2 * (raw - self._scaled(rows.labels)[:, None])
        found: Numbers = apart * rows.weights[:, None] / len(rows.labels)
        return found

    def _scaled(self, labels: Numbers) -> Numbers:
        return np.asarray((labels - self.state["center"]) / self.state["spread"])

    def _loss(self, rows: Rows) -> float:
        raw = self._raw(rows.matrix)
        if self.classifies:
            own = raw[np.arange(len(raw)), rows.labels]
            return float(np.average(special.logsumexp(raw, axis=1) - own, weights=rows.weights))
        apart = (raw[:, 0] - self._scaled(rows.labels)) * self.state["spread"]
        return float(np.average(apart**2, weights=rows.weights))

    def _raw(self, matrix: Matrix) -> Numbers:
        found: Numbers = sum(part.output(matrix) for part in self.parts)  # type: ignore[assignment]
        return found

    def scores(self, matrix: Matrix) -> Numbers:
        raw = self._raw(matrix)
        if self.classifies:
            return np.asarray(special.softmax(raw, axis=1))
        return np.asarray(raw[:, 0] * self.state["spread"] + self.state["center"])

    def exported(self) -> dict[str, bytes]:
        scale = (0.0, 1.0) if self.classifies else (self.state["center"], self.state["spread"])
        classes = self.classes if self.classifies else []
        given = (self.encoder, self.encoding, self.parts, self.label, classes, scale)
        return {"model.onnx": exporting.networks(*given)}

    # --- explanations ---

    def raw(self, matrix: Matrix) -> Numbers:
        """(rows,) what is explained: the label, or the likeliest class' output before softmax."""
        found = self._raw(matrix)
        if self.classifies:
            return np.asarray(found.max(axis=1))
        return np.asarray(found[:, 0] * self.state["spread"] + self.state["center"])

    def attributions(self, matrix: Matrix, settings: Settings) -> tuple[Matrix, Numbers]:
        """Integrated gradients from the mean of the rows that it learnt from (Sundararajan et al. 2017)."""
        name = "integrated_gradients_num_steps"
        steps = int((settings[name] or _STEPS) if name in settings else self.options[name] or _GLOBAL_STEPS)
        means, raw = self.arrays["means"], self._raw(matrix)
        output = raw.argmax(axis=1)
        total = np.zeros(matrix.shape)
        for step in range(steps):
            between = means + (matrix - means) * ((step + 0.5) / steps)
            for part in self.parts:
                total += part.input_slopes(between, output)
        scale = 1.0 if self.classifies else float(self.state["spread"])
        base = self._raw(means[None, :])[0][output] * scale
        base = base if self.classifies else base + self.state["center"]
        return (matrix - means) * total / steps * scale, np.asarray(base)


class WideAndDeep(DeepNetwork):
    """A network and a linear part whose outputs are added (Cheng et al. 2016)."""

    TYPES: ClassVar[dict[str, str]] = {
        "DNN_LINEAR_COMBINED_REGRESSOR": "DNN_LINEAR_COMBINED_REGRESSOR",
        "DNN_LINEAR_COMBINED_CLASSIFIER": "DNN_LINEAR_COMBINED_CLASSIFIER",
    }
    CLASSIFIES: ClassVar[tuple[str, ...]] = ("DNN_LINEAR_COMBINED_CLASSIFIER",)
    OPTIONS: ClassVar[dict[str, Option]] = DeepNetwork.OPTIONS | {
        "optimizer": replace(_OWN["optimizer"], default={"dnn": "ADAM", "linear": "FTRL"}, parts=_PARTS),
        "learn_rate": replace(_OWN["learn_rate"], parts=_PARTS),
    }
    WIDE: ClassVar[bool] = True
