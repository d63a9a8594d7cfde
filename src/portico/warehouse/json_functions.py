"""GoogleSQL's functions of JSON documents that DuckDB can't express: texts of JSON in, texts of JSON out.

https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

_STEP = re.compile(r"""\.([^.\[\]"'*@]+)|\.?\[?["']([^"']*)["']\]?|\[(\d+)\]|\[([^\]\[*'"]+)\]""")


def _dumped(value: object) -> str:
    return json.dumps(
        value, separators=(",", ":"), ensure_ascii=False, sort_keys=True
    )  # as BigQuery keeps JSON


def _first_of_a_name(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which a name that is there twice keeps its first value, as BigQuery does."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        made.setdefault(name, value)
    return made


@lru_cache(maxsize=512)
def keys_of(path: str) -> tuple[str | int, ...]:
    """The names and places of a JSONPath.

    Raises:
        ValueError: it is none, or holds an operator that GoogleSQL has not.
    """
    if not path.startswith("$"):
        raise ValueError("JSONPath must start with '$'")
    found: list[str | int] = []
    place = 1
    while place < len(path):
        step = _STEP.match(path, place)
        if step is None:
            operator = re.match(r"\.\.|[*@]|\.\*|\[\*", path[place:])
            if operator:
                raise ValueError(f"Unsupported operator in JSONPath: {operator[0].strip('.[') or '..'}")
            raise ValueError(f"Invalid token in JSONPath at: {path[place:]}")
        found.append(int(step[3]) if step[3] else step[1] or step[4] or step[2])
        place = step.end()
    return tuple(found)


def path(text: str) -> str:
    """A JSONPath as DuckDB reads it: quoted keys, `$['a b']` too."""
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f'."{key}"' for key in keys_of(text))


def checked(text: str, mode: str) -> str:
    """The text of a JSON value without needless space. With `exact`, a number that a double can't keep is refused."""
    if mode not in ("exact", "round"):
        raise ValueError(f"wide_number_mode must be either 'exact' or 'round', not '{mode}'")

    def number(shown: str) -> float:
        value = float(shown)
        if mode == "exact" and Decimal(shown) != Decimal(repr(value)):
            raise ValueError(
                f"Invalid input to PARSE_JSON: Input number: {shown} cannot round-trip through string "
                "representation"
            )
        return value

    def whole(shown: str) -> float:
        value = int(shown)
        return value if -(1 << 63) <= value < 1 << 64 else number(shown)

    try:
        return _dumped(
            json.loads(text, parse_float=number, parse_int=whole, object_pairs_hook=_first_of_a_name)
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"Invalid input to PARSE_JSON: syntax error while parsing value - {error}") from None


def compact(text: str, pretty: bool) -> str:
    return json.dumps(
        json.loads(text),
        ensure_ascii=False,
        indent=2 if pretty else None,
        separators=(",", ": ") if pretty else (",", ":"),
    )


def strip_nulls(text: str, where: str, arrays: bool, empty: bool) -> str:
    """JSON_STRIP_NULLS: without nulls below a path, also in `arrays`, and with `empty` without what is empty then."""

    def bare(value: object) -> bool:
        return value is None or (empty and value in ({}, [] if arrays else {}))

    def stripped(value: object) -> object:
        if isinstance(value, dict):
            kept = {key: stripped(one) for key, one in value.items()}
            return {key: one for key, one in kept.items() if not bare(one)}
        if isinstance(value, list):
            inner = [stripped(one) for one in value]
            return [one for one in inner if not bare(one)] if arrays else inner
        return value

    document, keys = json.loads(text), list(keys_of(where))
    if not keys:
        made = stripped(document)
        return _dumped(None if empty and made in ({}, []) else made)
    holder = _at(document, keys[:-1])
    if _holds(holder, keys[-1]):
        made = stripped(holder[keys[-1]])
        holder[keys[-1]] = None if empty and made in ({}, []) else made
    return _dumped(document)


def remove(text: str, where: str) -> str:
    """Without what stands at a path; the same where nothing does."""
    value, keys = json.loads(text), list(keys_of(where))
    if not keys:
        raise ValueError("The JSONPath cannot be '$'")
    holder = _at(value, keys[:-1])
    if _holds(holder, keys[-1]):
        del holder[keys[-1]]
    return _dumped(value)


def put(text: str, where: str, given: str, make: bool) -> str:
    """JSON_SET: with `given` at a path; with `make`, objects and places of arrays on the way are made where missing."""
    value, keys, new = json.loads(text), list(keys_of(where)), json.loads(given)
    if not keys:
        return given
    if not make and not _holds(_at(value, keys[:-1]), keys[-1]):
        return text
    if value is None:
        value = {} if isinstance(keys[0], str) else []
    for place, key in enumerate(keys):
        holder = _at(value, keys[:place])
        if holder is None and place:
            above = _at(value, keys[: place - 1])
            above[keys[place - 1]] = holder = {} if isinstance(key, str) else []
        if isinstance(holder, list) and isinstance(key, int):
            holder.extend([None] * (key + 1 - len(holder)))
        elif isinstance(holder, dict) and isinstance(key, str):
            holder.setdefault(key, None)
        else:
            return text  # the path does not fit: nothing is changed
    _at(value, keys[:-1])[keys[-1]] = new
    return _dumped(value)


def insert(text: str, where: str, given: str, each: bool) -> str:
    """JSON_ARRAY_INSERT: `given` put into an array at a place, those behind it one on; with `each`, by element."""
    value, keys, new = json.loads(text), list(keys_of(where)), json.loads(given)
    holder = _list_at(value, keys[:-1])
    if keys and isinstance(keys[-1], int) and holder is not None:
        holder.extend([None] * (keys[-1] - len(holder)))
        holder[keys[-1] : keys[-1]] = new if each else [new]
    return _dumped(value)


def append(text: str, where: str, given: str, each: bool) -> str:
    value, new = json.loads(text), json.loads(given)
    holder = _list_at(value, list(keys_of(where)))
    if holder is not None:
        holder.extend(new if each else [new])
    return _dumped(value)


def _list_at(value: Any, keys: list[str | int]) -> list[Any] | None:
    """The array at a path; a null there becomes one."""
    found = _at(value, keys)
    if found is None and keys and _holds(_at(value, keys[:-1]), keys[-1]):
        found = _at(value, keys[:-1])[keys[-1]] = []
    return found if isinstance(found, list) else None


def names(text: str, depth: int, mode: str) -> list[str]:
    """JSON_KEYS: the paths of an object's names down to a depth, sorted; arrays are looked into by `mode`."""
    found: set[str] = set()

    def walk(value: object, before: str, left: int, arrays: int) -> None:
        if isinstance(value, dict) and left:
            for key, inner in value.items():
                shown = key if re.fullmatch(r"[^.\"\[\] ]+", key) else f'"{key}"'
                found.add(before + shown)
                walk(inner, f"{before}{shown}.", left - 1, {"strict": 0, "lax": 1}.get(mode, 1 << 30))
        elif isinstance(value, list) and arrays:
            for inner in value:
                walk(inner, before, left, arrays - 1)

    if mode not in ("strict", "lax", "lax recursive"):
        raise ValueError(f"Invalid mode of JSON_KEYS: {mode}")
    if depth < 1:
        raise ValueError("max_depth must be positive")
    walk(json.loads(text), "", depth, {"strict": 0, "lax": 1}.get(mode, 1 << 30))
    return sorted(found)


def flatten(text: str) -> list[str]:
    """JSON_FLATTEN: the elements of arrays of arrays, one after the other."""

    def walk(value: object) -> list[object]:
        return [inner for one in value for inner in walk(one)] if isinstance(value, list) else [value]

    return [_dumped(one) for one in walk(json.loads(text))]


def lax(text: str, where: str) -> str:
    """What a `lax` path finds: an array of it all, arrays being opened where a name is asked of one, and what is no
    array being one of itself where a place is."""
    mode, _, inner = where.partition("$")
    words = mode.split()
    if words not in (["lax"], ["lax", "recursive"], ["recursive", "lax"]):
        raise ValueError("JSONPath must start with '$'")

    def opened(value: object, deep: bool) -> list[object]:
        if not isinstance(value, list):
            return [value]
        return [one for each in value for one in (opened(each, True) if deep else [each])]

    found = [json.loads(text)]
    for key in keys_of("$" + inner):
        if isinstance(key, int):
            listed = [one if isinstance(one, list) else [one] for one in found]
            found = [one[key] for one in listed if key < len(one)]
        else:
            each = [one for value in found for one in opened(value, "recursive" in words)]
            found = [one[key] for one in each if isinstance(one, dict) and key in one]
    return _dumped(found)


def contains(text: str, part: str) -> bool:
    """JSON_CONTAINS: whether a document holds another: objects some of the names, arrays some of the elements. An array
    holds a value that is no array or object only where it is the document itself."""

    def has(whole: Any, sought: Any) -> bool:
        if isinstance(whole, dict) and isinstance(sought, dict):
            return all(key in whole and has(whole[key], one) for key, one in sought.items())
        if isinstance(whole, list) and isinstance(sought, list):
            return all(any(has(one, each) for one in whole) for each in sought)
        return isinstance(whole, bool) == isinstance(sought, bool) and bool(whole == sought)

    document, within = json.loads(text), json.loads(part)
    if isinstance(document, list) and not isinstance(within, dict | list):
        return any(has(one, within) for one in document if not isinstance(one, list))
    return has(document, within)


def _holds(holder: Any, key: str | int) -> bool:
    if isinstance(holder, dict):
        return key in holder
    return isinstance(holder, list) and isinstance(key, int) and key < len(holder)


def _at(value: Any, keys: list[str | int]) -> Any:
    for key in keys:
        if not _holds(value, key):
            return None
        value = value[key]
    return value


JSON_FUNCTIONS: dict[str, tuple[Callable[..., object], list[str], str]] = {
    "path": (path, ["VARCHAR"], "VARCHAR"),
    "json": (checked, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "strip": (strip_nulls, ["VARCHAR", "VARCHAR", "BOOLEAN", "BOOLEAN"], "VARCHAR"),
    "json_remove": (remove, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "json_set": (put, ["VARCHAR", "VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR"),
    "json_insert": (insert, ["VARCHAR", "VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR"),
    "json_append": (append, ["VARCHAR", "VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR"),
    "json_keys": (names, ["VARCHAR", "BIGINT", "VARCHAR"], "VARCHAR[]"),
    "json_flatten": (flatten, ["VARCHAR"], "VARCHAR[]"),
    "json_lax": (lax, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "json_contains": (contains, ["VARCHAR", "VARCHAR"], "BOOLEAN"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""
