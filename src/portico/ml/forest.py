"""A sum of decision trees in LightGBM's text format, predicted by its C library.

Whatever grew the trees, a model holds one forest: boosters are scaled, shifted and joined into one text, and one
call sums them all. The library is called through ctypes without importing the Python package, which would bring
pandas and scikit-learn into a serving process.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from portico.ml.arrays import Floats
from portico.ml.oblivious import forest_header

_DOUBLE, _RAW, _CONTRIBUTIONS = 1, 1, 3
_SCALED = re.compile(r"^(leaf_value|internal_value|leaf_const|leaf_coeff)=(.*)$", re.MULTILINE)


@cache
def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("lightgbm is not installed")
    library = ctypes.CDLL(str(Path(spec.submodule_search_locations[0]) / "lib" / "lib_lightgbm.so"))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"LightGBM: {_library().LGBM_GetLastError().decode()}")


class Forest:
    """Trees over `width` features with `outputs` margins per row. Safe for threads."""

    def __init__(self, text: str, width: int, threads: int = 0) -> None:
        self.text = text
        self.width = width
        self._handle = ctypes.c_void_p()
        self._parameters = f"num_threads={threads} verbosity=-1".encode()
        iterations = ctypes.c_int()
        _check(
            _library().LGBM_BoosterLoadModelFromString(
                text.encode(), ctypes.byref(iterations), ctypes.byref(self._handle)
            )
        )
        outputs = ctypes.c_int()
        _check(_library().LGBM_BoosterGetNumClasses(self._handle, ctypes.byref(outputs)))
        self.outputs = outputs.value
        self._local = threading.local()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            _library().LGBM_BoosterFree(self._handle)

    def margins(self, matrix: Floats) -> Floats:
        """(rows, width) to (rows, outputs)."""
        return self._predict(matrix, _RAW, self.outputs).reshape(len(matrix), self.outputs)

    def contributions(self, matrix: Floats) -> Floats:
        """TreeSHAP (Lundberg et al. 2020, path dependent): (rows, outputs, width + 1), the last the expected margin."""
        size = self.outputs * (self.width + 1)
        return self._predict(matrix, _CONTRIBUTIONS, size).reshape(len(matrix), self.outputs, self.width + 1)

    def _predict(self, matrix: Floats, kind: int, per_row: int) -> Floats:
        matrix = np.ascontiguousarray(matrix, np.float64)
        result = np.empty(len(matrix) * per_row)
        if len(matrix) == 0:
            return result
        length = ctypes.c_int64()
        _check(
            _library().LGBM_BoosterPredictForMat(
                self._handle,
                ctypes.c_void_p(matrix.ctypes.data),
                ctypes.c_int(_DOUBLE),
                ctypes.c_int32(matrix.shape[0]),
                ctypes.c_int32(matrix.shape[1]),
                ctypes.c_int(1),
                ctypes.c_int(kind),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                self._parameters,
                ctypes.byref(length),
                ctypes.c_void_p(result.ctypes.data),
            )
        )
        return result

    def row(self) -> Row:
        """This thread's handle for single rows."""
        row: Row | None = getattr(self._local, "row", None)
        if row is None:
            row = self._local.row = Row(self, self._handle)
        return row


class Row:
    """Single-row prediction without setting up: write `features`, call `predict()`, read `margins`.

    One for each thread; the answer is bit for bit that of `Forest.margins`.
    """

    __slots__ = ("_arguments", "_call", "_config", "_forest", "_length", "features", "margins")

    def __init__(self, forest: Forest, handle: ctypes.c_void_p) -> None:
        self._forest = forest  # the booster must outlive the configuration
        self.features = np.empty(forest.width)
        self.margins = np.empty(forest.outputs)
        self._config = ctypes.c_void_p()
        _check(
            _library().LGBM_BoosterPredictForMatSingleRowFastInit(
                handle,
                ctypes.c_int(_RAW),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                ctypes.c_int(_DOUBLE),
                ctypes.c_int32(forest.width),
                b"num_threads=1 verbosity=-1",
                ctypes.byref(self._config),
            )
        )
        self._length = ctypes.c_int64()
        self._arguments = (
            self._config,
            ctypes.c_void_p(self.features.ctypes.data),
            ctypes.byref(self._length),
            ctypes.c_void_p(self.margins.ctypes.data),
        )
        self._call = _library().LGBM_BoosterPredictForMatSingleRowFast

    def predict(self) -> None:
        if self._call(*self._arguments):
            _check(-1)

    def __del__(self) -> None:
        if getattr(self, "_config", None):
            _library().LGBM_FastConfigFree(self._config)


def join(boosters: Sequence[Sequence[tuple[str, float]]], width: int) -> str:
    """One forest over `width` features; each of `boosters` is a group of (model text, weight), summed.

    One group: its members have any number of outputs, and so has the forest. Several groups: their members have one
    output each, and output i of the forest is the sum of group i.
    """
    if len(boosters) == 1:
        [group] = boosters
        outputs = _outputs(group[0][0])
        trees = [_scale(tree, weight) for text, weight in group for tree in split_trees(text)]
    else:
        outputs = len(boosters)
        sums = [[_scale(tree, w) for text, w in group for tree in split_trees(text)] for group in boosters]
        longest = max(map(len, sums))
        padded = [trees + [_NOTHING] * (longest - len(trees)) for trees in sums]
        trees = [tree for iteration in zip(*padded, strict=True) for tree in iteration]
    numbered = [f"Tree={number}\n{tree}\n\n" for number, tree in enumerate(trees)]
    return (
        forest_header(width, outputs, [len(tree) for tree in numbered]) + "".join(numbered) + "end of trees\n"
    )


_NOTHING = "num_leaves=1\nnum_cat=0\nleaf_value=0\nis_linear=0\nshrinkage=1"


def _outputs(text: str) -> int:
    found = re.search(r"^num_tree_per_iteration=(\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 1


def split_trees(text: str) -> list[str]:
    """The bodies of a model text's trees, without their numbers."""
    body = text[text.index("\nTree=0\n") + 1 : text.index("end of trees")]
    return [
        part.split("\n", 1)[1].strip("\n") for part in re.split(r"^Tree=", body, flags=re.MULTILINE) if part
    ]


def _scale(tree: str, weight: float) -> str:
    def times(found: re.Match[str]) -> str:
        return f"{found[1]}=" + " ".join(repr(float(number) * weight) for number in found[2].split())

    return tree if weight == 1.0 else _SCALED.sub(times, tree)
