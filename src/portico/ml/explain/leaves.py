"""A forest by its leaves: what it answers along a walk from one row to another, for all steps at once.

Walking from a background row to an instance, one feature after the other, a leaf is reached in one interval of steps:
from when the last feature that the instance needs for it has been set, until the first is set that the background
needed. So a walk over any number of features costs one look at the leaves' paths, and not a prediction a step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from portico.ml.arrays import Floats
from portico.ml.errors import DataError
from portico.ml.learn.forest import split_trees

_ZERO = 1e-35  # LightGBM's kZeroThreshold
_Ints = NDArray[np.int64]
_Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Leaves:
    """Nodes have a `column` of the matrix, a `threshold` and LightGBM's `decision` type; the last is a dummy.

    A leaf's path is its nodes `path` (leaves, depth) with whether it lies to their `left`; shorter paths end in the
    dummy. Its `value` goes to the margin `output` of `outputs`.
    """

    column: _Ints
    threshold: Floats
    decision: _Ints
    categories: list[tuple[int, _Bools]]
    path: _Ints
    left: _Bools
    value: Floats
    output: _Ints
    outputs: int

    def goes_left(self, row: Floats) -> _Bools:
        """For each node (nodes,) whether `row` (width,) goes left: LightGBM's `Tree::Decision`."""
        cells = row[self.column]
        absent = np.isnan(cells)
        missing = (self.decision >> 2) & 3  # 0: none, 1: zero, 2: NaN
        cells = np.where(absent & (missing != 2), 0.0, cells)
        with np.errstate(invalid="ignore"):
            left = cells <= self.threshold
            default = ((missing == 1) & (np.abs(cells) <= _ZERO)) | ((missing == 2) & absent)
        left = np.where(default, (self.decision & 2) != 0, left)
        for node, members in self.categories:
            cell = row[self.column[node]]
            left[node] = bool(cell == cell and 0 <= cell < len(members) and members[int(cell)])
        left[-1] = True
        return np.asarray(left, bool)

    def walks(self, start: _Bools, end: _Bools, steps: list[_Ints], count: int) -> list[Floats]:
        """The margins (count + 1, outputs) along walks from one row to another, told by what `goes_left` says of both.

        Each of `steps` (columns,) says after how many steps, from 1 to `count`, a column is that of `end`.
        """
        in_start = start[self.path] == self.left
        in_end = end[self.path] == self.left
        reached = (in_start | in_end).all(axis=1)
        columns = self.column[self.path[reached]]
        from_end = in_end[reached] & ~in_start[reached]
        from_start = in_start[reached] & ~in_end[reached]
        value, output = self.value[reached], self.output[reached]
        made = []
        for step in steps:
            at = step[columns]
            first = np.where(from_end, at, 0).max(axis=1, initial=0)
            last = np.where(from_start, at, count + 1).min(axis=1, initial=count + 1)
            kept = first < last
            size = (count + 2) * self.outputs
            changes = np.bincount(first[kept] * self.outputs + output[kept], value[kept], size) - np.bincount(
                last[kept] * self.outputs + output[kept], value[kept], size
            )
            made.append(changes.reshape(count + 2, self.outputs).cumsum(axis=0)[: count + 1])
        return made


def read_leaves(text: str) -> Leaves:
    """The leaves of a forest in LightGBM's text format.

    Raises:
        DataError: leaves hold linear models, which no training of ours makes.
    """
    if re.search(r"^is_linear=1$", text, re.MULTILINE):
        raise DataError("a forest whose leaves hold linear models can't be explained with so many features")
    found = re.search(r"^num_tree_per_iteration=(\d+)$", text, re.MULTILINE)
    outputs = int(found[1]) if found else 1
    columns: list[int] = []
    thresholds: list[float] = []
    decisions: list[int] = []
    categories: list[tuple[int, _Bools]] = []
    paths: list[list[tuple[int, bool]]] = []
    values: list[float] = []
    places: list[int] = []
    for number, tree in enumerate(split_trees(text)):
        told = dict(line.split("=", 1) for line in tree.split("\n") if "=" in line)
        leaf_values = [float(word) for word in told["leaf_value"].split()]
        values += leaf_values
        places += [number % outputs] * len(leaf_values)
        if int(told["num_leaves"]) < 2:
            paths.append([])
            continue
        base = len(columns)
        columns += map(int, told["split_feature"].split())
        thresholds += map(float, told["threshold"].split())
        decisions += map(int, told["decision_type"].split())
        for node in range(base, len(columns)):
            if decisions[node] & 1:
                categories.append((node, _members(told, int(thresholds[node]))))
        paths += _paths(told, base, len(leaf_values))
    depth = max(map(len, paths), default=0)
    dummy = len(columns)
    path = np.full((len(paths), depth), dummy)
    left = np.ones((len(paths), depth), bool)
    for row, nodes in enumerate(paths):
        for place, (node, is_left) in enumerate(nodes):
            path[row, place], left[row, place] = node, is_left
    return Leaves(
        np.array([*columns, 0]), np.array([*thresholds, 0.0]), np.array([*decisions, 0]), categories, path, left,
        np.array(values), np.array(places), outputs,
    )  # fmt: skip


def _paths(told: dict[str, str], base: int, count: int) -> list[list[tuple[int, bool]]]:
    """For each leaf its nodes, numbered from `base`, and whether it lies to their left."""
    children = [[int(word) for word in told[f"{side}_child"].split()] for side in ("left", "right")]
    made: list[list[tuple[int, bool]]] = [[] for _ in range(count)]
    waiting: list[tuple[int, list[tuple[int, bool]]]] = [(0, [])]
    while waiting:
        node, path = waiting.pop()
        for side, is_left in zip(children, (True, False), strict=True):
            below = [*path, (base + node, is_left)]
            if side[node] < 0:
                made[~side[node]] = below
            else:
                waiting.append((side[node], below))
    return made


def _members(told: dict[str, Any], place: int) -> _Bools:
    """Which categories go left at a categorical node."""
    bounds = [int(word) for word in told["cat_boundaries"].split()]
    words = [int(word) for word in told["cat_threshold"].split()][bounds[place] : bounds[place + 1]]
    return np.array([bool(word >> bit & 1) for word in words for bit in range(32)])
