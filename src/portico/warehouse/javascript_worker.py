"""The process in which functions in JavaScript run: behind walls, with bounds of memory and time.

A line of JSON in (`definition`, `rows`), a line out (`values`, or `error`). Each definition has an isolate of its own.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

from py_mini_racer import JSEvalException, JSOOMException, JSTimeoutException, MiniRacer

from portico.sandbox import isolation

_ISOLATES = 4
_BEFORE = 3  # lines that V8 counts before a function's own
_EXPORTED = ("initialState", "aggregate", "merge", "finalize", "serialize", "deserialize")
_ROWS = Path(__file__).with_suffix(".js").read_text()


class _Functions:
    def __init__(self, memory: int, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
        self._before = _used()
        self._made: OrderedDict[str, MiniRacer] = OrderedDict()

    def answer(self, definition: dict[str, Any], rows: list[list[Any]]) -> dict[str, Any]:
        key = json.dumps(definition)
        try:
            isolate = self._isolate(key, definition)
            told = isolate.eval(
                f"__run({json.dumps(rows)})", timeout_sec=self._seconds, max_memory=self._memory
            )
            return {"values": json.loads(str(told))}
        except JSTimeoutException:
            said = f"UDF timed out: {definition['name']} took more than {self._seconds:g} s"
            if _used() > self._before + self._memory:  # V8 counts its heap alone, and only where it collects
                said = self._too_much(definition)
        except JSOOMException:
            said = self._too_much(definition)
        except JSEvalException as error:
            said = _told(str(error), definition)
            if not said.startswith("RangeError"):
                return {"error": said}
        return {"error": said, "spent": True}  # what it took may not come back: the process is to end

    def _too_much(self, definition: dict[str, Any]) -> str:
        return f"UDF out of memory: {definition['name']} took more than {self._memory >> 20} MiB"

    def _isolate(self, key: str, definition: dict[str, Any]) -> MiniRacer:
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        made = MiniRacer()
        names = ", ".join(name for name, _ in definition["arguments"])
        kinds = json.dumps([kind for _, kind in definition["arguments"]])
        aggregates = bool(definition.get("aggregates"))
        source = json.dumps(
            _module(definition["code"])
            if aggregates
            else f"return function {_safe(definition['name'])}({names}) {{\n{definition['code']}\n}}"
        )
        returns = json.dumps(definition["returns"])
        made.eval(
            f"const __run = {_ROWS.strip()}({json.dumps(aggregates)})(new Function({source})(), {kinds}, {returns});",
            timeout_sec=self._seconds,
            max_memory=self._memory,
        )
        self._made[key] = made
        if len(self._made) > _ISOLATES:
            self._made.popitem(last=False)[1].close()
        return made


def _module(code: str) -> str:
    """The body of a function that runs a module and returns what an aggregate function exports."""
    plain = re.sub(
        r"^(\s*)export\s+(?=(?:async\s+)?function|class|const|let|var)", r"\1", code, flags=re.MULTILINE
    )
    shown = ", ".join(f"{name}: typeof {name} === 'undefined' ? undefined : {name}" for name in _EXPORTED)
    return f"{plain}\nreturn {{ {shown} }}"


def _used() -> int:
    """Bytes that this process may write to."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


def _safe(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _told(text: str, definition: dict[str, Any]) -> str:
    """`Error: words at name(INT64) line 1, columns 1`, as BigQuery tells it, of V8's own words."""
    name = _safe(definition["name"])
    what = re.sub(r"^\S*:\d+: (Uncaught )?", "", text.strip().split("\n")[0])
    place = re.search(rf"at {re.escape(name)} \(.*<anonymous>:(\d+):(\d+)\)", text)
    line, column = (max(1, int(place[1]) - _BEFORE), place[2]) if place else (1, "1")
    kinds = ", ".join(str(kind["typeKind"]) for _, kind in definition["arguments"])
    return f"{what} at {definition['name']}({kinds}) line {line}, columns {column}"


def main(memory: int, seconds: float) -> None:
    isolation.wall_in([])
    MiniRacer().eval("1")  # V8 reserves far more than it uses, once: the bound is on what comes on top
    functions = _Functions(memory, seconds)
    bound = _used() + _ISOLATES * memory
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        answer = functions.answer(asked["definition"], asked["rows"])
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
