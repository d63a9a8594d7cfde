"""LightGBM's prediction calls without its Python package: no pandas, no scikit-learn, half the time for a row.

`import lightgbm` takes a process to 172 MB; its shared library alone takes a few. Answers are bit-equal with
`lightgbm.Booster.predict`, because the same C code computes them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

_NORMAL: Final = 0
_RAW: Final = 1
_CONTRIBUTIONS: Final = 3
_FLOAT64: Final = 1


class BoosterError(ValueError):
    """LightGBM refused a model or a call; the message is its own."""


class FastBooster:
    """A loaded LightGBM model. Thread-safe: each thread gets a handle of its own for single rows.

    `model` is the path of a model file, its text, or a `lightgbm.Booster`. `threads` is how many threads
    `predict_matrix` may use; single rows always use the caller's alone. With `raw_score` the outputs are margins.

    `objective`, `feature_names`, `categorical_features` (positions) and `pandas_categorical` (the categories of
    the data frame's categorical columns, in their order) are what the model file says.

    Raises:
        BoosterError: not a LightGBM model.
    """

    def __init__(self, model: Path | str | Any, *, threads: int = 1, raw_score: bool = False) -> None:
        self._handle = ctypes.c_void_p()
        self._library = _library()
        self._rows: list[Row] = []
        self._local = threading.local()
        self._parameters = f"num_threads={threads} verbosity=-1".encode()
        self._kind = _RAW if raw_score else _NORMAL
        text = _model_text(model)
        iterations = ctypes.c_int()
        self._call(
            "LGBM_BoosterLoadModelFromString",
            text.encode(errors="surrogateescape"),
            ctypes.byref(iterations),
            ctypes.byref(self._handle),
        )
        self.objective = _line(text, "\nobjective=")
        self.feature_names = _line(text, "\nfeature_names=").split(" ")
        self.categorical_features = _indices(_line(text, "\n[categorical_feature: ").rstrip("]"))
        self.pandas_categorical: list[list[Any]] = (
            json.loads(_line(text, "\npandas_categorical:") or "null") or []
        )
        self.num_iterations = iterations.value
        self.num_features = self._count("LGBM_BoosterGetNumFeature")
        self.num_classes = self._count("LGBM_BoosterGetNumClasses")

    @property
    def row(self) -> Row:
        """This thread's handle for single rows."""
        try:
            return self._local.row  # type: ignore[no-any-return]
        except AttributeError:
            row = self._local.row = Row(self)
            self._rows.append(row)
            return row

    def predict_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """Outputs for rows × `num_features` values, in `Booster.predict`'s shape: rows, or rows × classes."""
        return self._matrix(matrix, self._kind)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """TreeSHAP values (Lundberg et al. 2020): rows × classes × (features + 1).

        Each row's values add up to its margin; the last is the expected margin.
        """
        out = self._matrix(matrix, _CONTRIBUTIONS)
        return out.reshape(len(matrix), self.num_classes, self.num_features + 1)

    def _matrix(self, matrix: np.ndarray, kind: int) -> np.ndarray:
        import numpy as np

        data = np.ascontiguousarray(matrix, dtype=np.float64)
        rows, columns = data.shape
        if columns != self.num_features:
            raise BoosterError(f"the model has {self.num_features} features, the data {columns}")
        if rows == 0:
            return np.empty((0,) if self.num_classes == 1 else (0, self.num_classes))
        length = ctypes.c_int64()
        self._call("LGBM_BoosterCalcNumPredict", self._handle, rows, kind, 0, -1, ctypes.byref(length))
        out = np.empty(length.value)
        self._call(
            "LGBM_BoosterPredictForMat",
            self._handle,
            data.ctypes.data_as(ctypes.c_void_p),
            _FLOAT64,
            rows,
            columns,
            1,
            kind,
            0,
            -1,
            self._parameters,
            ctypes.byref(length),
            out.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        )
        return out if length.value == rows else out.reshape(rows, -1)

    def _count(self, function: str) -> int:
        count = ctypes.c_int()
        self._call(function, self._handle, ctypes.byref(count))
        return count.value

    def _call(self, function: str, *arguments: Any) -> None:
        if getattr(self._library, function)(*arguments) != 0:
            raise BoosterError(self._library.LGBM_GetLastError().decode(errors="replace"))

    def __del__(self) -> None:
        for row in getattr(self, "_rows", ()):
            row.free()
        if getattr(self, "_handle", None):
            self._library.LGBM_BoosterFree(self._handle)


class Row:
    """One thread's way to predict single rows: fill `buffer` (float64), `run()`, read `outputs`."""

    __slots__ = ("_function", "_length", "_pointers", "_single", "buffer", "config", "outputs", "view")

    def __init__(self, booster: FastBooster) -> None:
        self.config = ctypes.c_void_p()
        booster._call(
            "LGBM_BoosterPredictForMatSingleRowFastInit",
            booster._handle,
            booster._kind,
            0,
            -1,
            _FLOAT64,
            booster.num_features,
            b"num_threads=1 verbosity=-1",
            ctypes.byref(self.config),
        )
        self.buffer = (ctypes.c_double * booster.num_features)()
        self.view = memoryview(self.buffer).cast("B").cast("d")
        self.outputs = (ctypes.c_double * max(booster.num_classes, 1))()
        self._length = ctypes.c_int64()
        self._function = _row_function()
        # Addresses, converted once: ctypes would convert the arrays at every call.
        self._pointers = (
            self.config.value,
            ctypes.addressof(self.buffer),
            ctypes.addressof(self._length),
            ctypes.addressof(self.outputs),
        )

    def run(self) -> None:
        if self._function(*self._pointers) != 0:
            raise BoosterError(_library().LGBM_GetLastError().decode(errors="replace"))

    def free(self) -> None:
        if self.config:
            _library().LGBM_FastConfigFree(self.config)
            self.config = ctypes.c_void_p()


def _model_text(model: Path | str | Any) -> str:
    if isinstance(model, Path):
        return model.read_text(encoding="utf-8", errors="surrogateescape")
    return model if isinstance(model, str) else str(model.model_to_string())


def _line(text: str, start: str) -> str:
    """What follows the last `start` in its line; "" without one."""
    at = text.rfind(start)
    return "" if at < 0 else text[at + len(start) :].partition("\n")[0]


def _indices(text: str) -> list[int]:
    return [int(item) for item in text.split(",") if item.isdigit()]


def _library_path() -> Path:
    spec = importlib.util.find_spec("lightgbm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("lib/lib_lightgbm.so", "lib/lib_lightgbm.dylib", "bin/lib_lightgbm.dll"):
            if (path := Path(folder, name)).exists():
                return path
    raise ImportError("LightGBM's shared library is missing; reinstall the package lightgbm")


_callbacks: list[Any] = []  # LightGBM keeps the pointer; this keeps the function alive


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_library_path()))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_quiet)
    library.LGBM_RegisterLogCallback(quiet)
    _callbacks.append(quiet)
    return library


@cache
def _row_function() -> Any:
    # PyDLL keeps the interpreter's lock during these microseconds: giving it up would let another thread
    # take it, and getting it back can cost a whole switch interval.
    function = ctypes.PyDLL(str(_library_path())).LGBM_BoosterPredictForMatSingleRowFast
    function.argtypes = [ctypes.c_void_p] * 4
    return function


def _quiet(_message: bytes) -> None:
    """LightGBM writes to stdout otherwise; errors come back by LGBM_GetLastError."""
