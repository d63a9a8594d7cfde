"""CatBoost's oblivious trees (Prokhorenkova et al. 2018), written as LightGBM trees to join one forest.

CatBoost compares features as float32 with `value > border`; LightGBM compares float64 with `value <= threshold`.
The threshold written is the largest float64 that float32 rounds to at most the border, so both take the same
branch for every value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_DEFAULT_LEFT, _MISSING_IS_NAN = 2, 8


def forest_text(model: Mapping[str, Any], width: int) -> str:
    """CatBoost's JSON model as the text of a forest over `width` features.

    Branches that no training row took are cut off; their sibling stands for them.
    """
    scale, biases = model["scale_and_bias"]
    outputs = len(biases)
    nan_goes_right = {
        feature["feature_index"]: feature["nan_value_treatment"] == "AsTrue"
        for feature in model["features_info"]["float_features"]
    }
    trees = []
    for position, oblivious in enumerate(model["oblivious_trees"]):
        values = np.asarray(oblivious["leaf_values"], np.float64).reshape(-1, outputs) * scale
        weights = np.asarray(oblivious["leaf_weights"], np.float64)
        for output in range(outputs):
            leaves = values[:, output] + (biases[output] if position == 0 else 0.0)
            trees.append(_Tree(oblivious["splits"] or [], leaves, weights, nan_goes_right).text())
    numbered = [f"Tree={number}\n{tree}\n\n" for number, tree in enumerate(trees)]
    return (
        forest_header(width, outputs, [len(tree) for tree in numbered]) + "".join(numbered) + "end of trees\n"
    )


def forest_header(width: int, outputs: int, tree_sizes: Sequence[int]) -> str:
    """What stands before the trees of a LightGBM text without an objective: its predictions are margins."""
    lines = [
        "tree",
        "version=v4",
        f"num_class={outputs}",
        f"num_tree_per_iteration={outputs}",
        "label_index=0",
        f"max_feature_idx={width - 1}",
        "feature_names=" + " ".join(f"f{feature}" for feature in range(width)),
        "feature_infos=" + " ".join("none" for _ in range(width)),
        "tree_sizes=" + " ".join(map(str, tree_sizes)),
    ]
    return "\n".join(lines) + "\n\n"


def threshold(border: float) -> float:
    """The largest float64 that, rounded to float32, is at most `border`."""
    low = np.float32(border)
    high = float(np.nextafter(low, np.float32(np.inf)))
    if high == np.inf:  # above the largest float32 lies half a step that still rounds to it
        high = 2 * float(low) - float(np.nextafter(low, np.float32(0)))
    middle = (float(low) + high) / 2
    with np.errstate(over="ignore"):
        rounds_down = np.float32(middle) <= low
    return middle if rounds_down else float(np.nextafter(middle, -np.inf))


@dataclass(slots=True)
class _Tree:
    splits: Sequence[Mapping[str, Any]]
    leaves: np.ndarray[Any, np.dtype[np.float64]]
    weights: np.ndarray[Any, np.dtype[np.float64]]
    nan_goes_right: Mapping[int, bool]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    leaf_values: list[float] = field(default_factory=list)
    leaf_weights: list[float] = field(default_factory=list)
    _sums: list[list[float]] = field(default_factory=list)  # of leaf weights below each node, by level

    def text(self) -> str:
        self._sums = [self.weights.tolist()]
        while len(self._sums[-1]) > 1:
            below = self._sums[-1]
            self._sums.append([a + b for a, b in zip(below[::2], below[1::2], strict=True)])
        self._grow(len(self.splits) - 1, 0)
        columns = {key: " ".join(str(node[key]) for node in self.nodes) for key in _NODE}
        lines = [f"num_leaves={len(self.leaf_values)}", "num_cat=0"]
        if self.nodes:
            lines += [f"{key}={columns[key]}" for key in _NODE[:6]]
        lines.append("leaf_value=" + " ".join(repr(value) for value in self.leaf_values))
        if self.nodes:
            counts = " ".join(str(round(weight)) for weight in self.leaf_weights)
            lines.append("leaf_weight=" + " ".join(repr(weight) for weight in self.leaf_weights))
            lines.append(f"leaf_count={counts}")
            lines += [f"{key}={columns[key]}" for key in _NODE[6:]]
        return "\n".join([*lines, "is_linear=0", "shrinkage=1"])

    def _grow(self, depth: int, index: int) -> tuple[int, float, float]:
        """The child number (leaves as ~n), weight and mean value of the subtree; bit i of `index` answers split i."""
        if depth < 0:
            value, weight = float(self.leaves[index]), float(self.weights[index])
            self.leaf_values.append(value)
            self.leaf_weights.append(max(weight, 1.0))
            return -len(self.leaf_values), weight, value
        size = 1 << depth
        place = index >> depth
        if self._sums[depth][place + 1] == 0:
            return self._grow(depth - 1, index)
        if self._sums[depth][place] == 0:
            return self._grow(depth - 1, index + size)
        split = self.splits[depth]
        number = len(self.nodes)
        node: dict[str, Any] = {}
        self.nodes.append(node)
        left, left_weight, left_value = self._grow(depth - 1, index)
        right, right_weight, right_value = self._grow(depth - 1, index + size)
        weight = left_weight + right_weight
        value = (left_value * left_weight + right_value * right_weight) / weight
        feature = split["float_feature_index"]
        node |= {
            "split_feature": feature,
            "split_gain": 0,
            "threshold": repr(threshold(split["border"])),
            "decision_type": _MISSING_IS_NAN + (0 if self.nan_goes_right[feature] else _DEFAULT_LEFT),
            "left_child": left,
            "right_child": right,
            "internal_value": repr(value),
            "internal_weight": repr(weight),
            "internal_count": round(weight),
        }
        return number, weight, value


_NODE = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)
