"""GoogleSQL's functions of strings, bytes, JSON and numbers that DuckDB can't express: one row at a time in Python.

`functions.sql` calls them `gs_py_…`; what a macro can say stands there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any

import farmhash

_ROUNDING = {
    "HALF_AWAY": ROUND_HALF_UP,
    "ROUND_HALF_AWAY_FROM_ZERO": ROUND_HALF_UP,
    "ROUND_HALF_EVEN": ROUND_HALF_EVEN,
    "DOWN": ROUND_DOWN,
}
_SPACE = "".join(chr(c) for c in range(0x3001) if chr(c).isspace() and c not in range(0x1C, 0x20))


def error(message: str) -> str:
    """Fails the statement. DuckDB's own `error` can't stand inside TRY."""
    raise ValueError(message)


def round_decimal(x: str, n: int, mode: str) -> str:
    return str(Decimal(x).quantize(Decimal(1).scaleb(-min(n, 38)), _ROUNDING[mode]))


def float_text(x: float) -> str:
    """As BigQuery writes a FLOAT64: 17 digits at most, `1` and not `1.0`, exponents as `1e+20`."""
    if x == int(x) and abs(x) < 1e15:
        return f"{int(x)}" if x or str(x)[0] != "-" else "-0"
    return repr(x)


def hexadecimal(x: str) -> int:
    return int(x, 16)


def interval_text(months: int, days: int, micros: int) -> str:
    """Years-months days hours:minutes:seconds, each part with its sign: `1-2 3 4:5:6.7`."""
    sign = "-" if months < 0 else ""
    time_sign = "-" if micros < 0 else ""
    seconds, fraction = divmod(abs(micros), 1_000_000)
    shown = f".{fraction:06d}" if fraction % 1000 else f".{fraction // 1000:03d}" if fraction else ""
    return (
        f"{sign}{abs(months) // 12}-{abs(months) % 12} {days} "
        f"{time_sign}{seconds // 3600}:{seconds // 60 % 60}:{seconds % 60}{shown}"
    )


def justify(months: int, days: int, micros: int, what: str) -> list[int]:
    """JUSTIFY_HOURS, JUSTIFY_DAYS or both: whole days of 24 hours and months of 30 days go up a part, and no part has
    another sign than the one above it."""
    day = 86_400_000_000
    if what != "DAYS":
        days, micros = _carried(days, micros, day)
    if what != "HOURS":
        months, days = _carried(months, days, 30)
    if what == "INTERVAL":
        if (months > 0 or months == 0 < days) and micros < 0:
            days, micros = days - 1, micros + day
        elif (months < 0 or (months == 0 and days < 0)) and micros > 0:
            days, micros = days + 1, micros - day
        months, days = _carried(months, days, 30)
    return [months, days, micros]


def _carried(high: int, low: int, per: int) -> tuple[int, int]:
    whole = abs(low) // per * (1 if low > 0 else -1)
    high, low = high + whole, low - whole * per
    if high > 0 > low:
        return high - 1, low + per
    if high < 0 < low:
        return high + 1, low - per
    return high, low


def upper(x: str) -> str:
    """By Unicode's rules, where one letter may become two."""
    return x.upper()


def lower(x: str) -> str:
    return x.lower()


def trim(x: str, characters: str | None, side: str) -> str:
    chosen = _SPACE if characters is None else characters
    return {"BOTH": x.strip, "LEFT": x.lstrip, "RIGHT": x.rstrip}[side](chosen)


def bytes_trim(x: bytes, characters: bytes, side: str) -> bytes:
    return {"BOTH": x.strip, "LEFT": x.lstrip, "RIGHT": x.rstrip}[side](characters)


def bytes_substr(x: bytes, position: int, length: int) -> bytes:
    if length < 0:
        raise ValueError("Third argument in SUBSTR() cannot be negative")
    start = max(len(x) + position, 0) if position < 0 else max(position, 1) - 1
    return x[start : start + length]


def bytes_reverse(x: bytes) -> bytes:
    return x[::-1]


def instr(x: str, y: str, position: int, occurrence: int) -> int:
    """Where `y` stands in `x` for the n-th time, from 1; from the right where `position` is negative; else 0."""
    if position == 0 or occurrence < 1:
        raise ValueError("INSTR's position must not be 0, and its occurrence must be positive")
    found = position - 2 if position > 0 else len(x) + position + 1
    for _ in range(occurrence):
        found = (
            x.find(y, found + 1) if position > 0 else x.rfind(y, 0, found + len(y) - 1 + (found == len(x)))
        )
        if found < 0:
            return 0
    return found + 1


def initcap(x: str, delimiters: str | None) -> str:
    chosen = delimiters if delimiters is not None else ' \t\n\r\f\v[](){}/|<>!?@"^#$&~_,.:;*%+-'
    shown, start = [], True
    for character in x:
        shown.append(character.upper() if start else character.lower())
        start = character in chosen
    return "".join(shown)


def translate(x: str, source: str, target: str) -> str:
    if len(set(source)) < len(source):
        raise ValueError("Duplicate character in TRANSLATE's source characters")
    return x.translate({ord(c): target[i] if i < len(target) else None for i, c in enumerate(source)})


def normalize(x: str, form: str) -> str:
    name, _, fold = form.partition("_")
    if name not in ("NFC", "NFD", "NFKC", "NFKD"):
        raise ValueError(f"{name} is not a valid normalization mode")
    text = unicodedata.normalize(name, x)  # type: ignore[arg-type]
    return unicodedata.normalize(name, text.casefold()) if fold else text  # type: ignore[arg-type]


def soundex(x: str) -> str:
    codes = {c: d for d, letters in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1) for c in letters}
    letters = [c for c in x if c.isascii() and c.isalpha()]
    if not letters:
        return ""
    shown, last = letters[0].upper(), codes.get(letters[0].lower())
    for letter in letters[1:]:
        code = codes.get(letter.lower())
        if code and code != last:
            shown += str(code)
        if letter.lower() not in "hw":
            last = code
    return (shown + "000")[:4]


def safe_text(x: bytes) -> str:
    return x.decode("utf-8", errors="replace")


def byte_points(x: bytes) -> list[int]:
    return list(x)


def points_string(points: list[int | None]) -> str | None:
    return None if None in points else "".join(chr(p) for p in points if p is not None)


def points_bytes(points: list[int | None]) -> bytes | None:
    return None if None in points else bytes(p for p in points if p is not None)


def sha512(x: bytes) -> bytes:
    return hashlib.sha512(x).digest()


def to_base32(x: bytes) -> str:
    return base64.b32encode(x).decode()


def from_base32(x: str) -> bytes:
    return base64.b32decode(x)


def farm_fingerprint(x: bytes) -> int:
    found: int = farmhash.fingerprint64(x)
    return found - (1 << 64) if found >= 1 << 63 else found


# --- regular expressions: RE2's syntax is Python's but for a few words -----------------------------------


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    try:
        found = re.compile(re.sub(r"\(\?P?<", "(?P<", text).replace(r"\z", r"\Z"))
    except re.error as error:
        raise ValueError(f"Cannot parse regular expression: {error}") from None
    if found.groups > 1:
        raise ValueError(
            "Regular expressions passed into extraction functions must not have more than 1 capturing group"
        )
    return found


def regexp_extract(x: str, pattern: str, position: int, occurrence: int) -> str | None:
    compiled = _pattern(pattern)
    if position < 1 or occurrence < 1:
        raise ValueError("Position and occurrence must be positive")
    for number, found in enumerate(compiled.finditer(x, position - 1), 1):
        if number == occurrence:
            return found.group(compiled.groups)
    return None


def regexp_all(x: str, pattern: str) -> list[str]:
    compiled = _pattern(pattern)
    return [found.group(compiled.groups) or "" for found in compiled.finditer(x)]


def regexp_instr(x: str, pattern: str, position: int, occurrence: int, end: int) -> int:
    compiled = _pattern(pattern)
    if position < 1 or occurrence < 1:
        raise ValueError("Position and occurrence must be positive")
    for number, found in enumerate(compiled.finditer(x, position - 1), 1):
        if number == occurrence:
            return (found.end(compiled.groups) if end else found.start(compiled.groups)) + 1
    return 0


# --- JSON ------------------------------------------------------------------------------------------------


def path(text: str) -> str:
    """A JSONPath as DuckDB reads it: quoted keys, `$['a b']` too."""
    shown = "$"
    for key, quoted, index in re.findall(r"""\.([^.\[\]"]+)|\.?\[?["']([^"']*)["']\]?|\[(\d+)\]""", text[1:]):
        shown += f"[{index}]" if index else f'."{key or quoted}"'
    return shown


def checked_json(text: str, mode: str) -> str:
    """The text of a JSON value without needless space. With `exact`, a number that a double can't keep is refused."""
    if mode not in ("exact", "round"):
        raise ValueError(f"wide_number_mode must be either 'exact' or 'round', not '{mode}'")

    def number(shown: str) -> float:
        value = float(shown)
        if mode == "exact" and Decimal(shown) != Decimal(repr(value)):
            raise ValueError(
                f"syntax error while parsing value - invalid: Input number: {shown} cannot round-trip through string "
                "representation"
            )
        return value

    try:
        return json.dumps(json.loads(text, parse_float=number), separators=(",", ":"), ensure_ascii=False)
    except json.JSONDecodeError as error:
        raise ValueError(f"syntax error while parsing value - {error}") from None


def compact(text: str, pretty: bool) -> str:
    return json.dumps(
        json.loads(text),
        ensure_ascii=False,
        indent=2 if pretty else None,
        separators=(",", ": ") if pretty else (",", ":"),
    )


def strip_nulls(text: str) -> str:
    def stripped(value: object) -> object:
        if isinstance(value, dict):
            kept = {key: stripped(one) for key, one in value.items() if one is not None}
            return {key: one for key, one in kept.items() if one != {} or value[key] == {}}
        if isinstance(value, list):
            return [stripped(one) for one in value if one is not None]
        return value

    return json.dumps(stripped(json.loads(text)), separators=(",", ":"), ensure_ascii=False)


def _keys(text: str) -> list[str | int]:
    found = re.findall(r"""\.([^.\[\]"]+)|\.?\[?["']([^"']*)["']\]?|\[(\d+)\]""", text[1:])
    return [int(index) if index else key or quoted for key, quoted, index in found]


def json_remove(text: str, where: str) -> str:
    """Without what stands at a path; the same where nothing does."""
    value = json.loads(text)
    keys = _keys(where)
    holder = _at(value, keys[:-1])
    if keys and ((isinstance(holder, dict) and keys[-1] in holder) or _has(holder, keys[-1])):
        del holder[keys[-1]]
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def json_set(text: str, where: str, given: str) -> str:
    """With `given` (JSON) at a path; objects and places of arrays on the way are made where they are missing."""
    value, keys, new = json.loads(text), _keys(where), json.loads(given)
    if not keys:
        return given
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
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def json_insert(text: str, where: str, given: str) -> str:
    """With `given` (JSON) put into an array at a place, those behind it one on; an array goes in element by element."""
    value, keys, new = json.loads(text), _keys(where), json.loads(given)
    holder = _at(value, keys[:-1])
    if keys and isinstance(keys[-1], int) and isinstance(holder, list):
        holder.extend([None] * (keys[-1] - len(holder)))
        holder[keys[-1] : keys[-1]] = new if isinstance(new, list) else [new]
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def json_append(text: str, where: str, given: str) -> str:
    value, new = json.loads(text), json.loads(given)
    holder = _at(value, _keys(where))
    if isinstance(holder, list):
        holder.extend(new if isinstance(new, list) else [new])
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _has(holder: Any, key: str | int) -> bool:
    return isinstance(holder, list) and isinstance(key, int) and key < len(holder)


def _at(value: Any, keys: list[str | int]) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key)
        elif _has(value, key):
            value = value[key]
        else:
            return None
    return value


# --- FORMAT ----------------------------------------------------------------------------------------------

_SPECIFIER = re.compile(
    r"%(?P<flags>[-+ #0']*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d+))?(?P<kind>[a-zA-Z%])"
)


def formatted(pattern: str, arguments: list[str | None]) -> str | None:
    """FORMAT: `arguments` are texts behind a letter for their type (`i`, `f`, `s`, `o`), NULL where they are."""
    left = iter(arguments)

    def shown(found: re.Match[str]) -> str:
        kind, flags = found["kind"], found["flags"]
        if kind == "%":
            return "%"
        try:
            width = found["width"] and (next(left) or "i0")[1:] if found["width"] == "*" else found["width"]
            precision = (next(left) or "i0")[1:] if found["precision"] == "*" else found["precision"]
            argument = next(left)
        except StopIteration:
            raise ValueError("Too few arguments to FORMAT") from None
        if argument is None:
            if kind in "tT":
                return "NULL"
            raise LookupError
        return _one(kind, flags, width, precision, argument)

    try:
        text = _SPECIFIER.sub(shown, pattern)
    except LookupError:
        return None
    if next(left, left) is not left:
        raise ValueError("Too many arguments to FORMAT")
    return text


def _one(kind: str, flags: str, width: str | None, precision: str | None, argument: str) -> str:
    typed, text = argument[0], argument[1:]
    grouped = "'" in flags
    flags = flags.replace("'", "")
    if kind in "di" and typed == "i":
        shown = f"%{flags}{width or ''}d" % int(text)
        return f"{int(text):,}".rjust(int(width or 0)) if grouped else shown
    if kind in "xXo" and typed == "i":
        return f"%{flags}{width or ''}{kind}" % int(text)
    if kind in "fFeEgG" and typed in "fi":
        if grouped:
            return f"{Decimal(text):,.{precision or 6}f}".rjust(int(width or 0))
        where = f".{precision}" if precision else ""
        return f"%{flags}{width or ''}{where}{kind}" % float(text)
    if kind == "s" and typed == "s":
        return f"%{flags}{width or ''}{'.' + precision if precision else ''}s" % text
    if kind in "tT":
        literal = json.dumps(text, ensure_ascii=False) if kind == "T" and typed == "s" else text
        if typed == "f" and re.fullmatch(r"-?\d+", literal):
            literal += ".0"
        return f"%{flags}{width or ''}s" % literal
    if kind in "pP":
        return compact(text, kind == "P")
    raise ValueError(f"Invalid type for argument of FORMAT: %{kind}")


TEXT_FUNCTIONS: dict[str, tuple[Callable[..., object], list[str], str]] = {
    "error": (error, ["VARCHAR"], '"NULL"'),
    "round": (round_decimal, ["VARCHAR", "BIGINT", "VARCHAR"], "VARCHAR"),
    "float": (float_text, ["DOUBLE"], "VARCHAR"),
    "hex": (hexadecimal, ["VARCHAR"], "BIGINT"),
    "interval": (interval_text, ["BIGINT", "BIGINT", "BIGINT"], "VARCHAR"),
    "justify": (justify, ["BIGINT", "BIGINT", "BIGINT", "VARCHAR"], "BIGINT[]"),
    "upper": (upper, ["VARCHAR"], "VARCHAR"),
    "lower": (lower, ["VARCHAR"], "VARCHAR"),
    "trim": (trim, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    "bytes_trim": (bytes_trim, ["BLOB", "BLOB", "VARCHAR"], "BLOB"),
    "bytes_substr": (bytes_substr, ["BLOB", "BIGINT", "BIGINT"], "BLOB"),
    "bytes_reverse": (bytes_reverse, ["BLOB"], "BLOB"),
    "instr": (instr, ["VARCHAR", "VARCHAR", "BIGINT", "BIGINT"], "BIGINT"),
    "initcap": (initcap, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "translate": (translate, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    "normalize": (normalize, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "soundex": (soundex, ["VARCHAR"], "VARCHAR"),
    "safe_text": (safe_text, ["BLOB"], "VARCHAR"),
    "byte_points": (byte_points, ["BLOB"], "BIGINT[]"),
    "points_string": (points_string, ["BIGINT[]"], "VARCHAR"),
    "points_bytes": (points_bytes, ["BIGINT[]"], "BLOB"),
    "farm": (farm_fingerprint, ["BLOB"], "BIGINT"),
    "sha512": (sha512, ["BLOB"], "BLOB"),
    "regexp_extract": (regexp_extract, ["VARCHAR", "VARCHAR", "BIGINT", "BIGINT"], "VARCHAR"),
    "regexp_all": (regexp_all, ["VARCHAR", "VARCHAR"], "VARCHAR[]"),
    "regexp_instr": (regexp_instr, ["VARCHAR", "VARCHAR", "BIGINT", "BIGINT", "BIGINT"], "BIGINT"),
    "path": (path, ["VARCHAR"], "VARCHAR"),
    "json": (checked_json, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "compact": (compact, ["VARCHAR", "BOOLEAN"], "VARCHAR"),
    "strip": (strip_nulls, ["VARCHAR"], "VARCHAR"),
    "json_remove": (json_remove, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "json_set": (json_set, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    "json_insert": (json_insert, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    "json_append": (json_append, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    "base32": (to_base32, ["BLOB"], "VARCHAR"),
    "from_base32": (from_base32, ["VARCHAR"], "BLOB"),
    "format": (formatted, ["VARCHAR", "VARCHAR[]"], "VARCHAR"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""

NULLS_GO_IN = frozenset({"trim", "initcap", "format"})
