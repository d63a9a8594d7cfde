"""EXPORT MODEL of trees: the files that BigQuery writes for them, model.bst with what tells how to feed it.

`assets/model_metadata.json` and a vocabulary for each column of categories are what Google's own reader of such exports
takes, the package bqml-xgboost-predictor. A classification has a score for every class, also for one of two: its
booster is a softmax whose first class has trees of nothing. A missing value goes where the value goes that stands for
it in training (the mean of a number, 0 of a category's column), because that reader leaves such places out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from portico.ml.bqml.columns import LABEL, TARGET, Column, Encoder
from portico.ml.errors import DataError

_VOCABULARY = {
    LABEL: "categorical_label",
    TARGET: "categorical_target",
}  # of one column; else categorical_one_hot
_OF_KINDS = {"set": "array_one_hot", "sparse": "array_struct"}
_MAIN = '''"""Predicts rows, each an object of the model's columns; needs xgboost and bqml-xgboost-predictor.

python main.py '[{"column": 1.5, ...}]'
"""

import json
import pathlib
import sys

from bqml_xgboost_predictor.predictor import Predictor

rows = json.loads(sys.argv[1])
print(json.dumps(Predictor.from_path(str(pathlib.Path(__file__).parent)).predict(rows)))
'''


def files(
    booster: bytes, encoder: Encoder, encoding: str, model_type: str, label: str, classes: Sequence[Any]
) -> dict[str, bytes]:
    """
    Args:
        booster: XGBoost's JSON.
        classes: none of a regression.

    Returns:
        The files by their paths.

    Raises:
        DataError: a category has what parts the lines of a vocabulary.
    """
    features: dict[str, Any] = {}
    found: dict[str, bytes] = {}
    for place, one in enumerate(encoder.columns):
        kind = "numerical_identity"
        if one.kind != "number":
            kind = _OF_KINDS.get(one.kind) or _VOCABULARY.get(encoding, "categorical_one_hot")
            name = f"{place}_{kind}_dimension" if one.kind == "sparse" else f"{place}_{kind}"
            found[f"assets/{name}.txt"] = _vocabulary(encoder, one, encoding).encode()
        features[one.name] = {"encode_type": kind}
    told = {
        "model_type": model_type.lower(),
        "label_col": label,
        "feature_names": [one.name for one in encoder.columns],
        "features": features,
        **({"class_names": list(classes)} if classes else {}),
    }
    return {
        "model.bst": json.dumps(_portable(json.loads(booster), _stands(encoder, encoding))).encode(),
        "assets/model_metadata.json": json.dumps(told).encode(),
        "main.py": _MAIN.encode(),
        **found,
    }


def _vocabulary(encoder: Encoder, column: Column, encoding: str) -> str:
    if column.kind == "sparse":
        return str(len(column.categories))
    if encoding == TARGET and column.kind == "category":
        rows = zip(column.categories, column.targets, strict=False)  # the last target is of none of them
        lines = [",".join([name, *map(repr, numbers)]) for name, numbers in rows]
    else:
        hot = column.kind == "category" and encoding != LABEL
        lines = (
            [name for one, name in encoder.places(encoding) if one is column and name is not None]
            if hot
            else []
        )
        lines = lines if hot else column.categories
    strange = "," if encoding == TARGET and column.kind == "category" else ""
    for name in column.categories:
        if name.splitlines() not in ([name], []) or (strange and strange in name):
            raise DataError(
                f"EXPORT MODEL: the category {name!r} of column {column.name} can't stand in a file of categories, "
                f"one a line{' and by commas' if strange else ''}; replace it in TRANSFORM or in the query"
            )
    return "".join(f"{line}\n" for line in lines)


def _stands(encoder: Encoder, encoding: str) -> list[float | None]:
    """For each place of a row the value that one that is missing stands for; None where training knows missing ones."""
    found: list[float | None] = []
    for one in encoder.columns:
        if one.kind == "number":
            found.append(one.mean)
        elif one.kind == "category" and encoding == LABEL:
            found.append(None)
        elif one.kind == "category" and encoding == TARGET:
            found += one.targets[-1]
        else:
            found += [0.0] * sum(1 for column, _ in encoder.places(encoding) if column is one)
    return found


def _portable(told: dict[str, Any], stands: list[float | None]) -> dict[str, Any]:
    """A booster as XGBoost from 1.6 on reads it, whose start is within its trees; see the module."""
    learner = told["learner"]
    forest = learner["gradient_booster"]
    model = forest.get("gbtree", forest)["model"]
    weights = forest.get("weight_drop") or [1.0] * len(model["trees"])
    for tree in model["trees"]:
        for node, place in enumerate(tree["split_indices"]):
            value = stands[place] if tree["left_children"][node] >= 0 else None
            if value is not None:
                tree["default_left"][node] = int(
                    np.float32(value) < np.float32(tree["split_conditions"][node])
                )
    start = [float(one) for one in learner["learner_model_param"]["base_score"].strip("[]").split(",")]
    objective = learner["objective"]["name"]
    if objective == "binary:logistic":
        start = [0.0, math.log(start[0] / (1 - start[0]))]
        _add_empty(model, weights)
        learner["objective"] = {"name": "multi:softprob", "softmax_multiclass_param": {"num_class": "2"}}
        learner["learner_model_param"]["num_class"] = "2"
        if "weight_drop" in forest:
            forest["weight_drop"] = weights
    if objective == "reg:squarederror":
        learner["learner_model_param"]["base_score"] = repr(start[0])
        return told
    classes = len(start)
    if classes == 1:  # one number for all, which no softmax sees
        start = [0.0]
    for output, number in enumerate(start):
        own = [place for place, of in enumerate(model["tree_info"]) if of == output]
        most = max(own, key=lambda place: weights[place])
        _raise(model["trees"][most], number / weights[most])
    learner["learner_model_param"]["base_score"] = "0"
    return told


def _add_empty(model: dict[str, Any], weights: list[float]) -> None:
    """Puts a tree of nothing, for the first of two classes, before each tree, which is the second's."""
    trees, own = [], list(weights)
    weights.clear()
    for place, tree in enumerate(model["trees"]):
        trees += [_leaf(tree), tree]
        weights += [1.0, own[place]]
    for place, tree in enumerate(trees):
        tree["id"] = place
    model["trees"] = trees
    model["tree_info"] = [place % 2 for place in range(len(trees))]
    model["iteration_indptr"] = [2 * one for one in model.get("iteration_indptr", [])]
    model["gbtree_model_param"]["num_trees"] = str(len(trees))


def _leaf(like: dict[str, Any]) -> dict[str, Any]:
    """A tree of one leaf, 0."""
    made = {name: one[:1] if isinstance(one, list) else one for name, one in like.items()}
    made |= {"base_weights": [0.0], "split_conditions": [0.0], "loss_changes": [0.0], "default_left": [0]}
    made |= {"left_children": [-1], "right_children": [-1], "split_indices": [0]}
    made["tree_param"] = {**like["tree_param"], "num_nodes": "1", "num_deleted": "0"}
    return made


def _raise(tree: dict[str, Any], by: float) -> None:
    """Adds a number to every leaf."""
    for node, left in enumerate(tree["left_children"]):
        if left < 0:
            tree["split_conditions"][node] += by
