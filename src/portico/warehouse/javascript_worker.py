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
_ROWS = Path(__file__).with_suffix(".js").read_text()


class _Functions:
    def __init__(self, memory: int, seconds: float) -> None:
        self._memory, self._seconds = memory, seconds
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
        except JSOOMException:
            said = f"UDF out of memory: {definition['name']} took more than {self._memory >> 20} MiB"
        except JSEvalException as error:
            said = _told(str(error), definition)
            if not said.startswith("RangeError"):
                return {"error": said}
        return {"error": said, "spent": True}  # what it took may not come back: the process is to end

    def _isolate(self, key: str, definition: dict[str, Any]) -> MiniRacer:
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        made = MiniRacer()
        names = ", ".join(name for name, _ in definition["arguments"])
        kinds = json.dumps([kind for _, kind in definition["arguments"]])
        source = json.dumps(
            f"return function {_safe(definition['name'])}({names}) {{\n{definition['code']}\n}}"
        )
        returns = json.dumps(definition["returns"])
        made.eval(
            f"const __run = {_ROWS.strip()}(new Function({source})(), {kinds}, {returns});",
            timeout_sec=self._seconds,
            max_memory=self._memory,
        )
        self._made[key] = made
        if len(self._made) > _ISOLATES:
            self._made.popitem(last=False)[1].close()
        return made


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
    functions = _Functions(memory, seconds)
    MiniRacer().eval("1")  # V8 reserves far more than it uses, once: the bound is on what comes on top
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[5]) * resource.getpagesize()
    bound = used + _ISOLATES * memory
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        answer = functions.answer(asked["definition"], asked["rows"])
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
