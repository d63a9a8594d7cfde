"""The process in which functions in JavaScript run: behind walls, with bounds of memory and time.

A line of JSON in (`definition`, `rows`), a line out (`values`, or `error`). Each definition has an isolate of its own.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections import OrderedDict
from typing import Any

from py_mini_racer import JSEvalException, JSOOMException, JSTimeoutException, MiniRacer

from portico.sandbox import isolation

_ISOLATES = 4
_BEFORE = 3  # lines that V8 counts before a function's own
_PRELUDE = """
(function () {
  const S = String, N = Number, A = Array, D = Date, JS = JSON.stringify, isA = Array.isArray, isI = Number.isInteger;
  function given(v, t) {
    if (v === null || v === undefined) return null;
    switch (t.typeKind) {
      case 'ARRAY': return v.map(x => given(x, t.arrayElementType));
      case 'STRUCT': { const o = {}; for (const f of t.structType.fields) o[f.name] = given(v[f.name], f.type); return o; }
      case 'FLOAT64': return N(v);
      case 'DATE': case 'TIMESTAMP': return new D(v);
      default: return v;
    }
  }
  function fail(v, t) { throw new TypeError('Failed to coerce output value ' + (typeof v === 'object' ? JS(v) : S(v)) + ' to type ' + t.typeKind); }
  function taken(v, t) {
    if (v === null || v === undefined) return null;
    switch (t.typeKind) {
      case 'ARRAY': if (!isA(v)) fail(v, t); return v.map(x => taken(x, t.arrayElementType));
      case 'STRUCT': { if (typeof v !== 'object') fail(v, t); const o = {}; for (const f of t.structType.fields) o[f.name] = taken(v[f.name], f.type); return o; }
      case 'INT64': if (typeof v === 'bigint') return S(v); { const n = typeof v === 'string' ? v.trim() : v;
        if (typeof n === 'string' && /^[+-]?\\d+$/.test(n)) return n; if (typeof n === 'object' || !isI(N(n))) fail(v, t); return BigInt(N(n)).toString(); }
      case 'FLOAT64': { if (typeof v === 'object') fail(v, t); const n = N(v); if (n !== n && S(v).trim().toLowerCase() !== 'nan') fail(v, t); return isFinite(n) ? n : S(n); }
      case 'NUMERIC': case 'BIGNUMERIC': return S(v);
      case 'BOOL': if (typeof v === 'boolean') return v; if (v === 'true' || v === 1) return true; if (v === 'false' || v === 0) return false; return fail(v, t);
      case 'DATE': return v instanceof D ? v.toISOString().slice(0, 10) : S(v);
      case 'TIMESTAMP': return v instanceof D ? v.toISOString() : S(v);
      case 'DATETIME': return v instanceof D ? v.toISOString().slice(0, -1) : S(v);
      case 'JSON': return v;
      default: return S(v);
    }
  }
  return function (f, kinds, result) {
    return function (rows) { return JS(rows.map(row => taken(f.apply(null, row.map((v, i) => given(v, kinds[i]))), result))); };
  };
})()
"""


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
        self._made.pop(key, None)
        return {"error": said}

    def _isolate(self, key: str, definition: dict[str, Any]) -> MiniRacer:
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        made = MiniRacer()
        names = ", ".join(name for name, _ in definition["arguments"])
        kinds = json.dumps([kind for _, kind in definition["arguments"]])
        source = json.dumps(f"return function {_safe(definition['name'])}({names}) {{\n{definition['code']}\n}}")
        made.eval(
            f"const __run = {_PRELUDE.strip()}(new Function({source})(), {kinds}, {json.dumps(definition['returns'])});",
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
