"""Functions in JavaScript: whole batches of rows go to a process of their own that V8 may take down, and come back.

What SQL's types are in JavaScript follows Google's reference: INT64 is a string, BYTES base64, TIMESTAMP a Date.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import selectors
import subprocess
import sys
import threading
from decimal import Decimal
from typing import Any

import pyarrow as pa

from portico.warehouse import bignumeric
from portico.warehouse.types import BIG_PLACE

SECONDS = 30.0  # for one batch of rows
MEMORY = 256 << 20  # bytes, of one process beyond what V8 itself takes
_PROCESSES = 2
_EXACT = 1 << 53


class _Child:
    """A process that runs JavaScript."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "portico.warehouse.javascript_worker", str(MEMORY), str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """
        Raises:
            ValueError: the process ended, or did not answer in time.
        """
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            with selectors.DefaultSelector() as waiting:
                waiting.register(self._process.stdout, selectors.EVENT_READ)
                answer = self._process.stdout.readline() if waiting.select(SECONDS + 10) else b""
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            failed = self._process.poll() == 1  # as Python ends, and V8 does not
            self.end()
            if failed:
                raise ValueError("JavaScript can't be run here: is the package mini-racer installed?")
            raise ValueError("UDF out of memory: the JavaScript function took more than it may")
        found: dict[str, Any] = json.loads(answer)
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


class _Pool:
    """A few processes, started when they are first needed."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._room = threading.BoundedSemaphore(_PROCESSES)
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._room:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            child = child or _Child()
            answer = child.ask(request)
            if answer.get("spent"):
                child.end()
                return answer
            with self._lock:
                self._idle.append(child)
            return answer

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()


_POOL = _Pool()
atexit.register(_POOL.close)


def javascript(definitions: pa.ChunkedArray, arguments: pa.ChunkedArray) -> pa.Array:
    """What the functions return: one JSON array of one value a row. `definitions` say name, arguments' names and types,
    the type returned and code; `arguments` are objects whose members stand in their order.

    Raises:
        ValueError: a function threw, returned what its type can't be, or took too long or too much.
    """
    made: list[str] = []
    texts, rows = definitions.to_pylist(), arguments.to_pylist()
    start = 0
    for place in range(1, len(texts) + 1):
        if place == len(texts) or texts[place] != texts[start]:
            made += _batch(json.loads(texts[start]), rows[start:place])
            start = place
    return pa.array(made, pa.string())


def _batch(definition: dict[str, Any], rows: list[str]) -> list[str]:
    kinds = [kind for _, kind in definition["arguments"]]
    given = [
        [_given(value, kind) for value, kind in zip(row.values(), kinds, strict=True)]
        for row in json.loads(f"[{','.join(rows)}]", parse_float=Decimal)
    ]
    answer = _POOL.ask({"definition": definition, "rows": given})
    if "error" in answer:
        raise ValueError(answer["error"])
    return [json.dumps([_taken(value, definition["returns"])]) for value in answer["values"]]


def _given(value: Any, kind: dict[str, Any]) -> Any:
    """A value of DuckDB's JSON as the worker takes it."""
    name = kind["typeKind"]
    if value is None:
        return None
    if name == "ARRAY":
        return [_given(one, kind["arrayElementType"]) for one in value]
    if name == "STRUCT":
        return {one["name"]: _given(value[one["name"]], one["type"]) for one in kind["structType"]["fields"]}
    if name == "INT64":
        return str(value)
    if name == "FLOAT64":
        return str(value) if value != value or value in (float("inf"), float("-inf")) else float(value)
    if name in ("NUMERIC", "BIGNUMERIC"):
        number = Decimal(value) if name == "NUMERIC" else bignumeric.decimal_of(_unescaped(value[BIG_PLACE]))
        whole = number == number.to_integral_value() and abs(number) <= _EXACT
        return int(number) if whole else format(number.normalize(), "f")
    if name == "BYTES":
        return base64.b64encode(_unescaped(value)).decode()
    if name == "TIMESTAMP":
        return value.replace(" ", "T").replace("+00", "Z")
    if name == "JSON":
        return json.loads(json.dumps(value, default=float))
    return value


def _taken(value: Any, kind: dict[str, Any]) -> Any:
    """A value that the worker returned as DuckDB's JSON takes it.

    Raises:
        ValueError: it is none of its type.
    """
    name = kind["typeKind"]
    if value is None:
        return None
    if name == "ARRAY":
        return [_taken(one, kind["arrayElementType"]) for one in value]
    if name == "STRUCT":
        return {
            one["name"]: _taken(value.get(one["name"]), one["type"]) for one in kind["structType"]["fields"]
        }
    try:
        if name == "INT64":
            if not -(1 << 63) <= int(value) < 1 << 63:
                raise ValueError
            return str(int(value))
        if name == "NUMERIC":
            return format(Decimal(value), "f")
        if name == "BIGNUMERIC":
            data = bignumeric.read(str(value))[BIG_PLACE]
            return {BIG_PLACE: "".join(f"\\x{byte:02X}" for byte in data)}
        if name == "BYTES":
            return "".join(f"\\x{byte:02X}" for byte in base64.b64decode(value, validate=True))
    except (ValueError, ArithmeticError):
        raise ValueError(f"Failed to coerce output value {value!r} to type {name}") from None
    return value


def _unescaped(text: str) -> bytes:
    r"""What DuckDB writes of bytes: printable ones as they are, others as \xAA."""
    made, place = bytearray(), 0
    while place < len(text):
        if text.startswith("\\x", place):
            made.append(int(text[place + 2 : place + 4], 16))
            place += 4
        else:
            made += text[place].encode()
            place += 1
    return bytes(made)
