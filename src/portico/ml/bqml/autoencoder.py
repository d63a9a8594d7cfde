"""AUTOENCODER: a network that learns to say its input again through a narrow middle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml import exporting
from portico.ml.bqml.answers import beside
from portico.ml.bqml.columns import Matrix
from portico.ml.bqml.model import Settings, function
from portico.ml.bqml.network import ACTIVATIONS, Network, Optimizer, batches, hidden
from portico.ml.bqml.options import COMMON, PENALTY, STEPS, TF_VERSION, TUNING, Option, Search
from portico.ml.bqml.unlabelled import Numbers, Unlabelled, embedded
from portico.ml.errors import DataError

_SEED = 20_240_101
_API = {
    "mean_absolute_error": "meanAbsoluteError", "mean_squared_error": "meanSquaredError",
    "mean_squared_log_error": "meanSquaredLogError",
}  # fmt: skip


class Autoencoder(Unlabelled):
    """Mini-batches of the mean squared error of standardised numbers and of categories as 0 and 1. The middle layer of
    HIDDEN_UNITS is the latent space."""

    TYPES: ClassVar[dict[str, str]] = {"AUTOENCODER": "AUTOENCODER"}
    OBJECTIVES: ClassVar[tuple[str, ...]] = (
        "mean_squared_error",
        "mean_absolute_error",
        "mean_squared_log_error",
    )
    OPTIONS: ClassVar[dict[str, Option]] = (
        COMMON
        | STEPS
        | {
            "hidden_units": Option("any", tuned=True),
            "activation_fn": Option("str", "RELU", tuple(ACTIVATIONS), tuned=True),
            "optimizer": Option("str", "ADAM", ("ADAM", "ADAGRAD", "FTRL", "RMSPROP", "SGD"), tuned=True),
            "learn_rate": Option(
                "float", 0.001, low=0, high=1, tuned=True, log=True, search=Search(0.0001, 0.1)
            ),
            "batch_size": Option("int", 32, low=1, high=8192, tuned=True),
            "dropout": Option("float", 0.0, low=0, high=0.999, tuned=True),
            "l1_reg": replace(PENALTY, search=None),
            "l2_reg": replace(PENALTY, search=None),
            "l1_reg_activation": replace(PENALTY, search=None),
            "tf_version": TF_VERSION,
            "warm_start": Option("bool", False),
        }
        | TUNING
    )

    def ready(self) -> None:
        super().ready()
        self.network = Network.of(self.arrays, str(self.options["activation_fn"]))

    @property
    def middle(self) -> int:
        return (len(self.options["hidden_units"]) + 1) // 2

    def learn(self, matrix: Matrix, table: pa.Table) -> None:
        width = matrix.shape[1]
        if self.options["hidden_units"] is None:  # by BigQuery's documentation
            self.options["hidden_units"] = [max(1, min(128, len(matrix) // (20 * width)))]
        units = hidden(self.options["hidden_units"])
        if len(units) % 2 == 0:
            raise DataError("HIDDEN_UNITS of an autoencoder must have an odd number of layers")
        draw = np.random.default_rng(_SEED)
        if self.before is None:
            network = Network.drawn([width, *units, width], str(self.options["activation_fn"]), draw)
        else:
            network = self.before.network
        optimizer = Optimizer(
            str(self.options["optimizer"]), float(self.options["learn_rate"]), network.parameters()
        )
        least = float(self.options["min_rel_progress"]) if self.options["early_stop"] else -math.inf
        before = math.inf
        for _ in range(int(self.options["max_iterations"])):
            for places in batches(len(matrix), int(self.options["batch_size"]), draw):
                optimizer.step(self._gradients(network, matrix[places], draw))
            loss = float(np.mean((network.output(matrix) - matrix) ** 2))
            if not math.isfinite(loss):
                raise DataError("The training diverged; set a smaller LEARN_RATE")
            self.run.step(loss, rate=float(self.options["learn_rate"]))
            if before - loss < least * before:
                break
            before = loss
        self.arrays |= network.arrays()
        self.network = network
        measured = self._losses(matrix)
        self.state["metrics"] = {name: float(np.mean(one)) for name, one in measured.items()}

    def _gradients(self, network: Network, rows: Matrix, draw: np.random.Generator) -> list[Numbers]:
        found = network.gradients(
            rows,
            lambda out: 2 * (out - rows) / rows.size,
            draw,
            float(self.options["dropout"]),
            {self.middle: float(self.options["l1_reg_activation"])}
            if self.options["l1_reg_activation"]
            else None,
        )
        steep, flat = float(self.options["l1_reg"]), float(self.options["l2_reg"])
        for place, weights in enumerate(network.weights):
            found[place] += steep * np.sign(weights) + 2 * flat * weights
        return found

    def _losses(self, matrix: Matrix) -> dict[str, Numbers]:
        """(rows,) each; the logarithms are of numbers from 0, as Keras has it."""
        out = self.network.output(matrix)
        logs = np.log1p(np.maximum(out, 1e-7)) - np.log1p(np.maximum(matrix, 1e-7))
        return {
            "mean_absolute_error": np.abs(out - matrix).mean(axis=1),
            "mean_squared_error": ((out - matrix) ** 2).mean(axis=1),
            "mean_squared_log_error": (logs**2).mean(axis=1),
        }

    def exported(self) -> dict[str, bytes]:
        return {"model.onnx": exporting.network(self.encoder, self.network, self.middle)}

    def oddness(self, matrix: Matrix) -> tuple[Numbers, dict[str, pa.Array]]:
        return self._losses(matrix)["mean_squared_error"], {}

    def _latent(self, table: pa.Table) -> Matrix:
        """(rows, units of the middle layer)."""
        return self.network.layer(self.matrix(table), self.middle)

    @function("ML.PREDICT", (1, 1))
    def predict(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """The latent space, and the columns of the input."""
        found = self._latent(tables[0])
        made: dict[str, Any] = {
            f"latent_col_{place + 1}": pa.array(found[:, place], pa.float64())
            for place in range(found.shape[1])
        }
        return beside(made, tables[0])

    @function("ML.GENERATE_EMBEDDING", (1, 1))
    def generate_embedding(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return embedded("ml_generate_embedding_result", self._latent(tables[0]), tables[0])

    @function("AI.GENERATE_EMBEDDING", (1, 1))
    def ai_generate_embedding(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        return embedded("embedding", self._latent(tables[0]), tables[0])

    @function("ML.RECONSTRUCTION_LOSS", (1, 1))
    def reconstruction_loss(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """How far each row's output is from the row, and the columns of the input."""
        found = self._losses(self.matrix(tables[0]))
        return beside({name: pa.array(one, pa.float64()) for name, one in found.items()}, tables[0])

    @function("ML.EVALUATE", (0, 1))
    def evaluate(self, tables: list[pa.Table], _settings: Settings) -> pa.Table:
        """The mean losses of the rows that it learnt from, or of others."""
        found: dict[str, float | None] = self.state["metrics"]
        if tables:
            losses = self._losses(self.matrix(tables[0]))
            found = {name: float(np.mean(one)) if len(one) else None for name, one in losses.items()}
        return pa.table({name: pa.array([value], pa.float64()) for name, value in found.items()})

    def described(self) -> dict[str, Any]:
        shown = super().described()
        told = {_API[name]: value for name, value in self.state["metrics"].items()}
        shown["trainingRuns"][0]["evaluationMetrics"] = {"regressionMetrics": told}
        return self._tried(shown, "regressionMetrics", _API)
