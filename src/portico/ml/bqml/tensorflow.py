"""TensorFlow's SavedModels and TensorFlow Lite's files. This process has no TensorFlow: who loads such a model gives it
a `runner`, which opens the file where there is one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from portico.ml.bqml.imported import Imported, arrow, declared, empty, tensor
from portico.ml.errors import DataError

Numbers = np.ndarray[Any, Any]
Runner = Callable[[bytes, str, dict[str, Numbers] | None], tuple[dict[str, Any], dict[str, Numbers]]]
"""Of a file, the kind of model (TENSORFLOW) and inputs by name, each with a row a first index, or None: what the model
takes and gives, {"inputs": [{name, type, shape}], "outputs": …}, and the outputs.

Raises DataError where the model can't be opened, or refuses its inputs.
"""
_TYPES = {
    "float32": "tensor(float)", "float64": "tensor(double)", "float16": "tensor(float16)", "int64": "tensor(int64)",
    "int32": "tensor(int32)", "int16": "tensor(int16)", "int8": "tensor(int8)", "uint8": "tensor(uint8)",
    "bool": "tensor(bool)", "string": "tensor(string)",
}  # fmt: skip


class TensorFlowModel(Imported):
    """`state`'s inputs and outputs have the `shape` of a row beside: arrays of more dimensions come flat, in rows."""

    TYPES: ClassVar[dict[str, str]] = {"TENSORFLOW": "TENSORFLOW", "TENSORFLOW_LITE": "TENSORFLOW_LITE"}
    REQUIREMENTS: ClassVar[tuple[str, ...]] = ("tensorflow-cpu==2.19.*",)
    FILE: ClassVar[str] = "imported.tensorflow"

    runner: ClassVar[Runner | None] = None

    def _ran(self, feed: dict[str, Numbers] | None) -> tuple[dict[str, Any], dict[str, Numbers]]:
        if (runner := type(self).runner) is None:
            raise DataError("TensorFlow is not where this model is opened")
        return runner(self.files[self.FILE], self.model_type, feed)

    def opened(self, inputs: str, outputs: str) -> None:
        told, _ = self._ran(None)
        for said, state in ((inputs, "inputs"), (outputs, "outputs")):
            self.state[state] = [_spec(one, state[:-1]) for one in told[state]]
            for name, _ in declared(said):
                if name.lower() not in {one["name"].lower() for one in self.state[state]}:
                    raise DataError(f"The TensorFlow model has no {state[:-1]} {name}")

    def outputs(self, table: pa.Table) -> dict[str, Any]:
        if not table.num_rows:
            return {one["name"]: empty(one) for one in self.state["outputs"]}
        feed = {
            one["name"]: tensor(self.column(table, one["name"]), one, one["name"])
            for one in self.state["inputs"]
        }
        _, found = self._ran(feed)
        return {
            one["name"]: arrow(found[one["name"]], table.num_rows, one["name"])
            for one in self.state["outputs"]
        }


def _spec(one: dict[str, Any], what: str) -> dict[str, Any]:
    """A tensor as `imported.tensor` knows it; `shape` is that of a row, None where a dimension is of any size."""
    if one["type"] not in _TYPES:
        raise DataError(f"The TensorFlow model's {what} {one['name']} is {one['type']}, which no column is")
    shape = one["shape"]
    width = None if not shape else -1 if None in shape else math.prod(shape)
    return {"name": one["name"], "type": _TYPES[one["type"]], "width": width, "shape": shape}
