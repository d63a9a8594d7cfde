"""Reads the columns out of a pickled pandas data frame without unpickling it.

A pickle is a program; running a stranger's is how machines are taken over. Here its instructions are only
read: what would import or call something becomes an inert note of what would have been called, and the
arrays are taken out of the notes. Only the instructions that pandas 2 writes for a plain frame are known.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_MARK = object()
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES"),
    *("BINBYTES", "BYTEARRAY8", "LONG1"),
}


@dataclass(slots=True)
class _Call:
    """What a pickle would have called, `state` what it would have set on the result."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: list[Any] = field(default_factory=list)


def read_columns(pickled: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The frame's columns by name, each of shape (rows,), of floats, integers or Python objects.

    Raises:
        ValueError: it is not the pickle of a plain data frame of numbers and strings.
    """
    try:
        manager = _notes(pickled).state[0]["_mgr"]
        blocks, axes = manager.arguments
        columns: dict[str, np.ndarray[Any, Any]] = {}
        names = _array(_index(axes[0]))
        for block in blocks:
            values, places, _ = block.arguments
            array = _array(values)
            sliced = places.name == "builtins.slice"
            where = np.arange(len(names))[slice(*places.arguments)] if sliced else _array(places)
            for row, place in enumerate(where):
                columns[str(names[place])] = array[row]
        return {str(name): columns[str(name)] for name in names}
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"not a pickled data frame as pandas 2 writes it: {error!r}") from error


def _index(call: _Call) -> _Call:
    values = call.arguments[1]["data"]  # pandas' _new_Index(Index, {"data": array, "name": None})
    assert isinstance(values, _Call)
    return values


def _array(call: _Call) -> np.ndarray[Any, Any]:
    if call.name == "numpy.core.numeric._frombuffer":
        buffer, dtype, shape, order = call.arguments
        return np.frombuffer(buffer, _dtype(dtype)).reshape(shape, order=order)
    if call.name == "numpy.core.multiarray._reconstruct":
        _, shape, dtype, fortran, data = call.state[0]
        if dtype.arguments[0].startswith("O"):
            flat = np.empty(len(data), object)
            flat[:] = data
        else:
            flat = np.frombuffer(data, _dtype(dtype))
        return flat.reshape(shape, order="F" if fortran else "C")
    raise ValueError(f"an array is made by {call.name}")


def _dtype(call: _Call) -> np.dtype[Any]:
    code = call.arguments[0]
    if code[0] not in "fiu":
        raise ValueError(f"an array holds {code}")
    dtype: np.dtype[Any] = np.dtype(str(call.state[0][1]) + code)
    return dtype


def _notes(pickled: bytes) -> Any:
    """What the pickle would have made, as notes."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        at = max(position for position, entry in enumerate(stack) if entry is _MARK)
        taken = stack[at + 1 :]
        del stack[at:]
        return taken

    for opcode, argument, _ in pickletools.genops(pickled):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name in _VALUES:
            stack.append(argument)
        elif name in _LITERALS:
            stack.append(_LITERALS[name])
        elif name in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"):
            stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name == "APPENDS":
            values = since_mark()
            stack[-1].extend(values)
        elif name == "SETITEMS":
            pairs = since_mark()
            stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            stack[-1][key] = value
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(_Call(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, called = stack.pop(), stack.pop()
            stack.append(_Call(called.name, arguments))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state.append(state)
        else:
            raise ValueError(f"the pickle has the instruction {name}")
    raise ValueError("the pickle has no end")
