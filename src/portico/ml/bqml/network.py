"""A feed-forward network in numpy: layers, what moves through them and back, and the optimizers of TensorFlow's names
with their default settings."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from portico.ml.errors import DataError

Numbers = np.ndarray[Any, Any]
_SCALE, _ALPHA = 1.0507009873554805, 1.6732632423543772  # of SELU (Klambauer et al. 2017)


def _elu(x: Numbers, alpha: float = 1.0) -> Numbers:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


ACTIVATIONS: dict[str, tuple[Callable[[Numbers], Numbers], Callable[[Numbers, Numbers], Numbers]]] = {
    # what it is, and its slope for what went in and what came out
    "RELU": (lambda x: np.maximum(x, 0), lambda x, _: (x > 0).astype(float)),
    "CRELU": (
        lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1),  # both halves of each unit
        lambda x, _: np.concatenate([(x > 0).astype(float), -(x < 0).astype(float)], axis=1),
    ),
    "RELU6": (lambda x: np.clip(x, 0, 6), lambda x, _: ((x > 0) & (x < 6)).astype(float)),
    "ELU": (_elu, lambda x, y: np.where(x > 0, 1.0, y + 1.0)),
    "SELU": (
        lambda x: _SCALE * _elu(x, _ALPHA),
        lambda x, y: np.where(x > 0, _SCALE, y + _SCALE * _ALPHA),
    ),
    "SIGMOID": (special.expit, lambda _, y: y * (1 - y)),
    "TANH": (np.tanh, lambda _, y: 1 - y**2),
}


class Network:
    """Weights (inputs, units) and biases (units,) of each layer; all but the last have the activation.

    Args:
        sizes: units of each layer, the inputs first.
    """

    def __init__(self, weights: list[Numbers], biases: list[Numbers], activation: str) -> None:
        self.weights, self.biases, self.activation = weights, biases, activation

    @classmethod
    def drawn(cls, sizes: list[int], activation: str, draw: np.random.Generator) -> Network:
        """Weights by Glorot and Bengio (2010), biases of zero."""
        weights = []
        for place, (inner, outer) in enumerate(itertools.pairwise(sizes)):
            if activation == "CRELU" and place:
                inner *= 2
            bound = np.sqrt(6 / (inner + outer))
            weights.append(draw.uniform(-bound, bound, (inner, outer)))
        return cls(weights, [np.zeros(one) for one in sizes[1:]], activation)

    @classmethod
    def of(cls, arrays: dict[str, Numbers], activation: str) -> Network:
        count = sum(1 for name in arrays if name.startswith("layer_weights_"))
        return cls(
            [arrays[f"layer_weights_{place}"] for place in range(count)],
            [arrays[f"layer_biases_{place}"] for place in range(count)],
            activation,
        )

    def arrays(self) -> dict[str, Numbers]:
        pairs = list(zip(self.weights, self.biases, strict=True))
        return {f"layer_weights_{place}": one for place, (one, _) in enumerate(pairs)} | {
            f"layer_biases_{place}": one for place, (_, one) in enumerate(pairs)
        }

    def layer(self, rows: Numbers, last: int) -> Numbers:
        """(rows, units) of what layer `last` (from 1) puts out."""
        function, _ = ACTIVATIONS[self.activation]
        for place in range(last):
            rows = rows @ self.weights[place] + self.biases[place]
            if place < len(self.weights) - 1:
                rows = function(rows)
        return rows

    def output(self, rows: Numbers) -> Numbers:
        return self.layer(rows, len(self.weights))

    def gradients(
        self,
        rows: Numbers,
        slope: Callable[[Numbers], Numbers],
        draw: np.random.Generator | None = None,
        dropout: float = 0.0,
        penalised: dict[int, float] | None = None,
    ) -> list[Numbers]:
        """Of the weights, then of the biases.

        Args:
            slope: of the loss, for (rows, outputs) of what came out.
            dropout: the share of the hidden units that are left out, each time drawn anew.
            penalised: hidden layers (from 1) and the L1 penalty on the mean size of what they put out.
        """
        function, _ = ACTIVATIONS[self.activation]
        inputs, raws, outs, masks = [rows], [], [], []
        for place, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            raw = inputs[-1] @ weights + biases
            if place == len(self.weights) - 1:
                inputs.append(raw)
                break
            out = function(raw)
            mask = None
            if dropout and draw is not None:
                mask = (draw.random(out.shape) >= dropout) / (1 - dropout)
            raws.append(raw)
            outs.append(out)
            masks.append(mask)
            inputs.append(out if mask is None else out * mask)
        back = slope(inputs[-1])
        of_weights: list[Numbers] = []
        of_biases: list[Numbers] = []
        for place in range(len(self.weights) - 1, -1, -1):
            of_weights.insert(0, inputs[place].T @ back)
            of_biases.insert(0, back.sum(axis=0))
            if place:
                back = back @ self.weights[place].T
                mask = masks[place - 1]
                if mask is not None:
                    back = back * mask
                if penalised and place in penalised:
                    back = back + penalised[place] * np.sign(outs[place - 1]) / len(rows)
                back = self._through(back, raws[place - 1], outs[place - 1])
        return of_weights + of_biases

    def input_slopes(self, rows: Numbers, output: Numbers) -> Numbers:
        """(rows, inputs): how much output number `output` (rows,) grows with each input."""
        function, _ = ACTIVATIONS[self.activation]
        raws, outs, here = [], [], rows
        for weights, biases in zip(self.weights[:-1], self.biases[:-1], strict=True):
            raws.append(here @ weights + biases)
            outs.append(function(raws[-1]))
            here = outs[-1]
        back = self.weights[-1].T[output]
        for place in range(len(self.weights) - 2, -1, -1):
            back = self._through(back, raws[place], outs[place]) @ self.weights[place].T
        return back

    def _through(self, back: Numbers, raw: Numbers, out: Numbers) -> Numbers:
        """Slopes of what an activation put out, made those of what went in."""
        moved = back * ACTIVATIONS[self.activation][1](raw, out)
        if self.activation == "CRELU":
            return np.asarray(moved[:, : raw.shape[1]] + moved[:, raw.shape[1] :])
        return np.asarray(moved)

    def parameters(self) -> list[Numbers]:
        return self.weights + self.biases


class Optimizer:
    """Steps of ADAM, ADAGRAD, FTRL, RMSPROP or SGD on arrays that it changes in place."""

    def __init__(self, name: str, rate: float, parameters: list[Numbers]) -> None:
        self._name, self._rate, self._parameters = name, rate, parameters
        first = 0.1 if name in ("ADAGRAD", "FTRL") else 0.0
        self._squares = [np.full(one.shape, first) for one in parameters]
        self._means = [np.zeros(one.shape) for one in parameters]
        self._steps = 0

    def step(self, gradients: list[Numbers]) -> None:
        self._steps += 1
        moves = {
            "ADAM": self._adam, "ADAGRAD": self._adagrad, "FTRL": self._ftrl, "RMSPROP": self._rmsprop,
            "SGD": self._sgd,
        }  # fmt: skip
        move = moves[self._name]
        for place, (parameter, gradient) in enumerate(zip(self._parameters, gradients, strict=True)):
            move(place, parameter, gradient)

    def _sgd(self, _place: int, parameter: Numbers, gradient: Numbers) -> None:
        parameter -= self._rate * gradient

    def _adam(self, place: int, parameter: Numbers, gradient: Numbers) -> None:
        mean, square = self._means[place], self._squares[place]
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient**2 - square)
        rate = self._rate * np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        parameter -= rate * mean / (np.sqrt(square) + 1e-8)

    def _adagrad(self, place: int, parameter: Numbers, gradient: Numbers) -> None:
        self._squares[place] += gradient**2
        parameter -= self._rate * gradient / np.sqrt(self._squares[place])

    def _rmsprop(self, place: int, parameter: Numbers, gradient: Numbers) -> None:
        square = self._squares[place]
        square += 0.1 * (gradient**2 - square)
        parameter -= self._rate * gradient / np.sqrt(square + 1e-10)

    def _ftrl(self, place: int, parameter: Numbers, gradient: Numbers) -> None:
        """McMahan et al. (2013), without penalties."""
        before = np.sqrt(self._squares[place])
        self._squares[place] += gradient**2
        after = np.sqrt(self._squares[place])
        self._means[place] += gradient - (after - before) / self._rate * parameter
        parameter[...] = -self._means[place] * self._rate / after


def batches(rows: int, size: int, draw: np.random.Generator) -> list[Numbers]:
    """Places of all rows in an order that is drawn, `size` at a time."""
    order = draw.permutation(rows)
    return [order[at : at + size] for at in range(0, rows, size)]


def hidden(given: object, name: str = "HIDDEN_UNITS") -> list[int]:
    """
    Raises:
        DataError: it is no array of integers from 1.
    """
    if (
        not isinstance(given, list)
        or not given
        or not all(isinstance(one, int) and not isinstance(one, bool) and one > 0 for one in given)
    ):
        raise DataError(f"{name} must be an array of integers from 1, and is {given!r}")
    return [int(one) for one in given]
