"""EXPORT MODEL: models as ONNX, with the preparation of their columns in the graph.

Each column is an input (rows, 1): a number as DOUBLE, NaN where it is missing; a category as STRING, `_null_filler`
where it is missing. A TIMESTAMP, a STRUCT and an array of numbers are as many inputs as they have parts, named as
ML.FEATURE_INFO names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from portico.ml.bqml.columns import DUMMY, ONE_HOT, Encoder
from portico.ml.bqml.network import Network
from portico.ml.bqml.onnx_file import DOUBLE, FLOAT, INT64, STRING, Graph
from portico.ml.errors import DataError

Numbers = np.ndarray[Any, Any]


def matrix(graph: Graph, encoder: Encoder, encoding: str = ONE_HOT, standardize: bool = True) -> str:
    """What `Encoder.matrix` makes, in the graph: (rows, places) of DOUBLE."""
    parts = []
    for one in encoder.columns:
        if one.kind == "number":
            given = graph.input(one.name, DOUBLE)
            mean = graph.constant(one.mean)
            known = graph.node("Where", graph.node("IsNaN", given), mean, given)
            if standardize:
                known = graph.node("Sub", known, mean)
                known = graph.node("Div", known, graph.constant(one.deviation))
            parts.append(known)
        elif one.kind == "category":
            given = graph.input(one.name, STRING)
            categories = one.categories[1:] if encoding == DUMMY else one.categories
            if not categories:
                continue
            hot = graph.node("OneHotEncoder", given, domain="ai.onnx.ml", cats_strings=categories, zeros=1)
            shape = graph.constant(np.array([-1, len(categories)]))
            parts.append(graph.node("Cast", graph.node("Reshape", hot, shape), to=DOUBLE))
        else:
            raise DataError(
                f"EXPORT MODEL: the column {one.name} is an array of texts, which ONNX has no input for"
            )
    return graph.node("Concat", *parts, axis=1)


def linear(encoder: Encoder, encoding: str, weights: Numbers, intercepts: Numbers, label: str) -> bytes:
    """A regression's prediction."""
    graph = Graph()
    raw = _affine(graph, matrix(graph, encoder, encoding), weights.T, intercepts)
    graph.output(f"predicted_{label}", raw, width=1)
    return graph.file()


def logistic(
    encoder: Encoder, encoding: str, weights: Numbers, intercepts: Numbers, label: str, classes: list[Any]
) -> bytes:
    """The likeliest class, and the probabilities of all in the order of `classes`."""
    graph = Graph()
    raw = _affine(graph, matrix(graph, encoder, encoding), weights.T, intercepts)
    if len(classes) == 2:
        positive = graph.node("Sigmoid", raw)
        probs = graph.node("Concat", graph.node("Sub", graph.constant(1.0), positive), positive, axis=1)
    else:
        probs = graph.node("Softmax", raw, axis=1)
    _classified(graph, probs, label, classes)
    return graph.file()


def networks(
    encoder: Encoder,
    encoding: str,
    parts: Sequence[Network],
    label: str,
    classes: list[Any],
    scale: tuple[float, float],
) -> bytes:
    """Of networks whose outputs are added, in FLOAT: the likeliest class and the probabilities of all, or where there
    are no `classes` the prediction, with `scale`, the mean and the deviation of the label."""
    graph = Graph()
    rows = graph.node("Cast", matrix(graph, encoder, encoding), to=FLOAT)
    raw = _layers(graph, rows, parts[0])[-1]
    for part in parts[1:]:
        raw = graph.node("Add", raw, _layers(graph, rows, part)[-1])
    raw = graph.node("Cast", raw, to=DOUBLE)
    if classes:
        _classified(graph, graph.node("Softmax", raw, axis=1), label, classes)
    else:
        center, spread = scale
        told = graph.node("Add", graph.node("Mul", raw, graph.constant(spread)), graph.constant(center))
        graph.output(f"predicted_{label}", told, width=1)
    return graph.file()


def clusters(encoder: Encoder, standardize: bool, centroids: Numbers, cosine: bool) -> bytes:
    """The nearest centroid, from 1, and the distances of all."""
    graph = Graph()
    rows = matrix(graph, encoder, standardize=standardize)
    if cosine:
        rows = graph.node("LpNormalization", rows, axis=1, p=2)
        alike = graph.node("MatMul", rows, graph.constant(centroids.T))
        apart = graph.node("Sub", graph.constant(1.0), alike)
        distances = graph.node("Sqrt", graph.node("Max", apart, graph.constant(0.0)))
    else:
        wide = graph.node("Unsqueeze", rows, graph.constant(np.array([1])))
        apart = graph.node("Sub", wide, graph.constant(centroids[None]))
        squares = graph.node(
            "ReduceSum", graph.node("Mul", apart, apart), graph.constant(np.array([2])), keepdims=0
        )
        distances = graph.node("Sqrt", squares)
    nearest = graph.node("ArgMin", distances, axis=1, keepdims=0)
    graph.output("CENTROID_ID", graph.node("Add", nearest, graph.constant(np.array([1]))), INT64)
    graph.output("DISTANCES", distances, width=len(centroids))
    return graph.file()


def components(encoder: Encoder, standardize: bool, directions: Numbers, mean: Numbers) -> bytes:
    graph = Graph()
    apart = graph.node("Sub", matrix(graph, encoder, standardize=standardize), graph.constant(mean))
    found = graph.node("MatMul", apart, graph.constant(directions.T))
    graph.output("principal_components", found, width=len(directions))
    return graph.file()


def network(encoder: Encoder, layers: Network, middle: int) -> bytes:
    """An autoencoder's latent space, and what it makes of its input; in FLOAT."""
    graph = Graph()
    made = _layers(graph, graph.node("Cast", matrix(graph, encoder), to=FLOAT), layers)
    graph.output("latent", made[middle - 1], FLOAT, layers.weights[middle].shape[0])
    graph.output("reconstruction", made[-1], FLOAT, layers.weights[-1].shape[1])
    return graph.file()


def _layers(graph: Graph, rows: str, layers: Network) -> list[str]:
    """What each layer puts out, for `rows` in FLOAT."""
    made = []
    for place, (weights, biases) in enumerate(zip(layers.weights, layers.biases, strict=True)):
        rows = _affine(graph, rows, weights.astype(np.float32), biases.astype(np.float32))
        if place < len(layers.weights) - 1:
            rows = _activated(graph, rows, layers.activation)
        made.append(rows)
    return made


def _classified(graph: Graph, probs: str, label: str, classes: list[Any]) -> None:
    """The outputs of a classification, from the probabilities of `classes`, (rows, classes)."""
    chosen = graph.node("ArgMax", probs, axis=1, keepdims=0)
    whole = all(isinstance(one, int) and not isinstance(one, bool) for one in classes)
    known = (
        np.array(classes, np.int64)
        if whole
        else [str(one).lower() if isinstance(one, bool) else str(one) for one in classes]
    )
    found = graph.node("Gather", graph.constant(known), chosen)
    graph.output(f"predicted_{label}", found, INT64 if whole else STRING)
    graph.output(f"predicted_{label}_probs", probs, width=len(classes))


def _affine(graph: Graph, rows: str, weights: Numbers, biases: Numbers) -> str:
    return graph.node("Add", graph.node("MatMul", rows, graph.constant(weights)), graph.constant(biases))


def _activated(graph: Graph, rows: str, activation: str) -> str:
    if activation == "RELU6":
        bounds = (graph.constant(np.asarray(0, np.float32)), graph.constant(np.asarray(6, np.float32)))
        return graph.node("Clip", rows, *bounds)
    if activation == "CRELU":
        halves = (graph.node("Relu", rows), graph.node("Relu", graph.node("Neg", rows)))
        return graph.node("Concat", *halves, axis=1)
    names = {"RELU": "Relu", "ELU": "Elu", "SELU": "Selu", "SIGMOID": "Sigmoid", "TANH": "Tanh"}
    return graph.node(names[activation], rows)
