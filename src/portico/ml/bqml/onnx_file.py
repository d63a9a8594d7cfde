"""Writes ONNX models: the few messages of its protocol buffers that a graph of operators needs.
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]
FLOAT, INT64, STRING, DOUBLE = 1, 7, 8, 11
_TYPES = {"f": DOUBLE, "i": INT64}
_IR, _OPSET, _ML_OPSET = 8, 17, 3


def _number(value: int) -> bytes:
    made = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _whole(tag: int, value: int) -> bytes:
    return _number(tag << 3) + _number(value)


def _bytes(tag: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _number(tag << 3 | 2) + _number(len(data)) + data


def _tensor(name: str, values: Numbers | list[str]) -> bytes:
    if isinstance(values, list):
        made = _whole(1, len(values)) + _whole(2, STRING)
        return made + b"".join(_bytes(6, one) for one in values) + _bytes(8, name)
    kind = FLOAT if values.dtype == np.float32 else _TYPES[values.dtype.kind]
    data = values if kind == FLOAT else values.astype(np.float64 if kind == DOUBLE else np.int64)
    dims = b"".join(_whole(1, size) for size in data.shape)
    return dims + _whole(2, kind) + _bytes(8, name) + _bytes(9, np.ascontiguousarray(data).tobytes())


def _attribute(name: str, value: Any) -> bytes:
    made = _bytes(1, name)
    if isinstance(value, int):
        return made + _whole(3, value) + _whole(20, 2)
    if isinstance(value, list) and value and isinstance(value[0], str):
        return made + b"".join(_bytes(9, one) for one in value) + _whole(20, 8)
    return made + b"".join(_whole(8, one) for one in value) + _whole(20, 7)


def _value(name: str, kind: int, width: int | None) -> bytes:
    """The type of an input or output: (rows, width), or (rows,) without a width."""
    dims = _bytes(1, _bytes(2, "rows")) + (b"" if width is None else _bytes(1, _whole(1, width)))
    return _bytes(1, name) + _bytes(2, _bytes(1, _whole(1, kind) + _bytes(2, dims)))


@dataclass(slots=True)
class Graph:
    """A graph that grows by its operators."""

    _nodes: list[bytes] = field(default_factory=list)
    _constants: list[bytes] = field(default_factory=list)
    _inputs: list[bytes] = field(default_factory=list)
    _outputs: list[bytes] = field(default_factory=list)

    def input(self, name: str, kind: int) -> str:
        self._inputs.append(_value(name, kind, 1))
        return name

    def output(self, name: str, source: str, kind: int = DOUBLE, width: int | None = None) -> None:
        self._nodes.append(_bytes(1, source) + _bytes(2, name) + _bytes(4, "Identity"))
        self._outputs.append(_value(name, kind, width))

    def constant(self, values: Numbers | list[str] | float) -> str:
        name = f"c{len(self._constants)}"
        told = values if isinstance(values, list) else np.asarray(values)
        self._constants.append(_tensor(name, told))
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds an operator; the name of what it puts out."""
        name = f"n{len(self._nodes)}"
        made = b"".join(_bytes(1, one) for one in inputs) + _bytes(2, name) + _bytes(4, operator)
        made += b"".join(_bytes(5, _attribute(key, value)) for key, value in attributes.items())
        self._nodes.append(made + _bytes(7, domain))
        return name

    def file(self) -> bytes:
        graph = b"".join(_bytes(1, one) for one in self._nodes) + _bytes(2, "model")
        graph += b"".join(_bytes(5, one) for one in self._constants)
        graph += b"".join(_bytes(11, one) for one in self._inputs)
        graph += b"".join(_bytes(12, one) for one in self._outputs)
        opsets = (("", _OPSET), ("ai.onnx.ml", _ML_OPSET))
        made = _whole(1, _IR) + _bytes(2, "portico") + _bytes(7, graph)
        return made + b"".join(_bytes(8, _bytes(1, domain) + _whole(2, one)) for domain, one in opsets)
