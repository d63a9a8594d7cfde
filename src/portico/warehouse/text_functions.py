"""GoogleSQL's functions of strings, bytes, JSON and numbers that DuckDB can't express: one row at a time in Python.

`functions.sql` calls them `gs_py_…`; what a macro can say stands there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import sys
import unicodedata
from collections.abc import Callable
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    InvalidOperation,
    Overflow,
    localcontext,
)
from functools import lru_cache
from operator import and_, or_, xor

import farmhash

from portico.warehouse.json_functions import compact
from portico.warehouse.shown import typed_text

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


_OF_TWO = ("log", "pow")


def decimal_function(name: str, x: str, y: str) -> str:
    """EXP, LN, LOG (to base `y`), LOG10, SQRT and POW of NUMERICs, to their nine places."""
    with localcontext(Context(prec=60)):
        left, right = Decimal(x), Decimal(y)
        told = f"{name.upper()}({', '.join(f'{one.normalize():f}' for one in (left, right)[: 1 + (name in _OF_TWO)])})"
        try:
            if name in ("ln", "log", "log10") and (left <= 0 or right <= 0 or (name == "log" and right == 1)):
                raise InvalidOperation
            ways: dict[str, Callable[[], Decimal]] = {
                "exp": left.exp, "ln": left.ln, "log": lambda: left.ln() / right.ln(), "log10": left.log10,
                "sqrt": left.sqrt, "pow": lambda: left**right,
            }  # fmt: skip
            found = ways[name]()
            if abs(found) >= Decimal("1e29"):
                raise ValueError(f"numeric overflow: {told}")
            return format(found.quantize(Decimal("1e-9"), ROUND_HALF_UP), "f")
        except ArithmeticError as error:
            said = "numeric overflow" if isinstance(error, Overflow) else "Floating point error in function"
            raise ValueError(f"{said}: {told}") from None


def number_text(x: str, kind: str) -> str:
    """PARSE_NUMERIC's forms: a sign before or behind, spaces about it, commas between digits."""
    found = re.fullmatch(
        r"\s*([+-]?)\s*((?:\d[\d,]*\.?[\d]*|[,]*\.\d+|,[\d,]+\.?\d*)(?:[eE][+-]?\d+)?)\s*([+-]?)\s*", x
    )
    if not found or (found[1] and found[3]):
        raise ValueError(f'Invalid input to PARSE_{kind}: "{x}"')
    return (found[1] or found[3]) + found[2].replace(",", "")


def hexadecimal(x: str) -> int:
    found = int(x, 16)
    if not -(1 << 63) <= found < 1 << 63:
        raise ValueError(f"Bad int64 value: {x}")
    return found


def random_number(_of: str | None) -> float:
    """A random number from 0 to 1 for a row: the argument only makes DuckDB ask once a row."""
    return random.random()


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


def bytes_case(x: bytes, which: str) -> bytes:
    """ASCII's letters in another case."""
    return x.upper() if which == "UPPER" else x.lower()


def bytes_pad(x: bytes, length: int, pattern: bytes, side: str) -> bytes:
    if length < 0:
        raise ValueError(f"Second argument in {side[0]}PAD() cannot be negative")
    if not pattern:
        raise ValueError("Third argument (pad pattern) for LPAD/RPAD cannot be empty")
    if length <= len(x):
        return x[:length]
    missing = length - len(x)
    padding = (pattern * (missing // len(pattern) + 1))[:missing]
    return padding + x if side == "LEFT" else x + padding


def bytes_replace(x: bytes, old: bytes, new: bytes) -> bytes:
    return x.replace(old, new) if old else x


def bytes_split(x: bytes, delimiter: bytes) -> list[bytes]:
    return x.split(delimiter) if delimiter else [x[i : i + 1] for i in range(len(x))] or [b""]


def bytes_join(parts: list[bytes | None], delimiter: bytes) -> bytes:
    return delimiter.join(one for one in parts if one is not None)


def bytes_translate(x: bytes, source: bytes, target: bytes) -> bytes:
    return translate(latin(x), latin(source), latin(target)).encode("latin-1")


def bytes_instr(x: bytes, y: bytes, position: int, occurrence: int) -> int:
    return instr(latin(x), latin(y), position, occurrence)


def bytes_bits(x: bytes, y: bytes, operator: str) -> bytes:
    """`&`, `|`, `^` of two BYTES of one length, or `~` of the first."""
    if operator == "~":
        return bytes(one ^ 0xFF for one in x)
    if len(x) != len(y):
        raise ValueError(
            f"Bitwise binary operator for BYTES requires equal length of the inputs. Got {len(x)} bytes on the left "
            f"hand side and {len(y)} bytes on the right hand side."
        )
    made = {"&": and_, "|": or_, "^": xor}[operator]
    return bytes(made(a, b) for a, b in zip(x, y, strict=True))


def bytes_shift(x: bytes, left: int) -> bytes:
    """All the bits moved to the left, or to the right where `left` is negative; zeros follow."""
    number = int.from_bytes(x, "big")
    moved = number << left if left >= 0 else number >> min(-left, 8 * len(x))
    return (moved & ((1 << 8 * len(x)) - 1)).to_bytes(len(x), "big")


def latin(x: bytes) -> str:
    """A text of a character for each byte, so that what works on texts works on BYTES."""
    return x.decode("latin-1")


def from_latin(x: str) -> bytes:
    return x.encode("latin-1")


def bytes_reverse(x: bytes) -> bytes:
    return x[::-1]


def instr(x: str, y: str, position: int, occurrence: int) -> int:
    """Where `y` stands in `x` for the n-th time, from 1; from the right where `position` is negative; else 0."""
    if position == 0:
        raise ValueError("Position must be non-zero")
    if occurrence < 1:
        raise ValueError("Occurrence must be positive")
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
        twice = next(one for place, one in enumerate(source) if one in source[:place])
        raise ValueError(f'Duplicate character "{twice}" in TRANSLATE source characters')
    return x.translate({ord(c): target[i] if i < len(target) else None for i, c in enumerate(source)})


def normalize(x: str, form: str) -> str:
    name, _, fold = form.partition("_")
    if name not in ("NFC", "NFD", "NFKC", "NFKD"):
        raise ValueError(f"Argument is not a valid NORMALIZE mode: {name}")
    text = unicodedata.normalize(name, x)  # type: ignore[arg-type]
    return unicodedata.normalize(name, text.casefold()) if fold else text  # type: ignore[arg-type]


def soundex(x: str) -> str:
    codes = {c: d for d, letters in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1) for c in letters}
    letters = [c for c in x if c.isascii() and c.isalpha()]
    if not letters:
        return ""
    shown, last = letters[0], codes.get(letters[0].lower())
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
    if wrong := [one for one in points if one is not None and not 0 <= one <= sys.maxunicode]:
        raise ValueError(f"Invalid codepoint {wrong[0]}")
    return None if None in points else "".join(chr(p) for p in points if p is not None)


def points_bytes(points: list[int | None]) -> bytes | None:
    if wrong := [one for one in points if one is not None and not 0 <= one < 256]:
        raise ValueError(f"Invalid ASCII value {wrong[0]}")
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
    for value, what in ((position, "Position"), (occurrence, "Occurrence")):
        if value < 1:
            raise ValueError(f"{what} must be positive")
    for number, found in enumerate(compiled.finditer(x, position - 1), 1):
        if number == occurrence:
            return found.group(compiled.groups)
    return None


def regexp_all(x: str, pattern: str) -> list[str]:
    """After a match that reaches the end there is no other, an empty one neither."""
    compiled = _pattern(pattern)
    made: list[str] = []
    for found in compiled.finditer(x):
        made.append(found.group(compiled.groups) or "")
        if found.end() + (not found.group()) >= len(x):
            break
    return made


def regexp_instr(x: str, pattern: str, position: int, occurrence: int, end: int) -> int:
    compiled = _pattern(pattern)
    for value, what in ((position, "Position"), (occurrence, "Occurrence")):
        if value < 1:
            raise ValueError(f"{what} must be positive")
    matches = compiled.finditer(x, position - 1) if pattern else iter(())
    for number, found in enumerate(matches, 1):
        if number == occurrence:
            return (found.end(compiled.groups) if end else found.start(compiled.groups)) + 1
    return 0


# --- FORMAT ----------------------------------------------------------------------------------------------

_SPECIFIER = re.compile(
    r"%(?P<flags>[-+ #0']*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d+))?(?P<kind>[a-zA-Z%])"
)


def formatted(pattern: str | None, arguments: list[str | None]) -> str | None:
    """FORMAT: `arguments` are texts behind a letter for their type (`i`, `f`, `s`, `o`), NULL where they are."""
    if pattern is None:
        return None
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
            wanted = 1 + sum(
                (one["kind"] != "%") + (one["width"] == "*") + (one["precision"] == "*")
                for one in _SPECIFIER.finditer(pattern)
            )
            said = f'Too few arguments to FORMAT for pattern "{pattern}"; Expected {wanted}; Got {1 + len(arguments)}'
            raise ValueError(said) from None
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
    if kind in "di" and typed in "inN":
        shown = f"%{flags}{width or ''}d" % int(Decimal(text))
        return f"{int(text):,}".rjust(int(width or 0)) if grouped else shown
    if kind in "xXo" and typed == "i":
        shown = f"%{flags}{width or ''}{kind}" % int(text)
        return shown.replace("0o", "0") if kind == "o" else shown
    if kind in "fFeEgG" and typed in "finN":
        if grouped:
            return f"{Decimal(text):,.{precision or 6}f}".rjust(int(width or 0))
        if typed in "nN" and kind in "fF" and not flags:
            rounded = Decimal(text).quantize(Decimal(1).scaleb(-int(precision or 6)), ROUND_HALF_UP)
            return format(rounded, "f").rjust(int(width or 0))
        where = f".{precision}" if precision else ""
        return f"%{flags}{width or ''}{where}{kind}" % float(text)
    if kind == "s" and typed == "s":
        return f"%{flags}{width or ''}{'.' + precision if precision else ''}s" % text
    if kind in "tT":
        cut = f".{precision}" if precision else ""
        return f"%{flags}{width or ''}{cut}s" % _typed(typed, text, exact=kind == "T")
    if kind in "pP" and typed in "os":
        return compact(text.partition("\x1f")[2] if typed == "o" else text, kind == "P")
    raise ValueError(f"Invalid type for argument of FORMAT: %{kind}")


def _typed(typed: str, text: str, exact: bool) -> str:
    if typed == "o":
        kind, _, value = text.partition("\x1f")
        return typed_text(value, kind, exact)
    if typed == "s":
        return json.dumps(text, ensure_ascii=False) if exact else text
    if typed in "nN":
        return f'{"BIG" * (typed == "N")}NUMERIC "{text}"' if exact else text
    return (
        typed_text(text if "n" not in text else json.dumps(text), "DOUBLE", exact) if typed == "f" else text
    )


TEXT_FUNCTIONS: dict[str, tuple[Callable[..., object], list[str], str]] = {
    "error": (error, ["VARCHAR"], '"NULL"'),
    "round": (round_decimal, ["VARCHAR", "BIGINT", "VARCHAR"], "VARCHAR"),
    "hex": (hexadecimal, ["VARCHAR"], "BIGINT"),
    "random": (random_number, ["VARCHAR"], "DOUBLE"),
    "upper": (upper, ["VARCHAR"], "VARCHAR"),
    "lower": (lower, ["VARCHAR"], "VARCHAR"),
    "trim": (trim, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    "bytes_trim": (bytes_trim, ["BLOB", "BLOB", "VARCHAR"], "BLOB"),
    "bytes_substr": (bytes_substr, ["BLOB", "BIGINT", "BIGINT"], "BLOB"),
    "decimal": (decimal_function, ["VARCHAR", "VARCHAR", "VARCHAR"], "VARCHAR"),
    "number": (number_text, ["VARCHAR", "VARCHAR"], "VARCHAR"),
    "bytes_case": (bytes_case, ["BLOB", "VARCHAR"], "BLOB"),
    "bytes_pad": (bytes_pad, ["BLOB", "BIGINT", "BLOB", "VARCHAR"], "BLOB"),
    "bytes_replace": (bytes_replace, ["BLOB", "BLOB", "BLOB"], "BLOB"),
    "bytes_split": (bytes_split, ["BLOB", "BLOB"], "BLOB[]"),
    "bytes_join": (bytes_join, ["BLOB[]", "BLOB"], "BLOB"),
    "bytes_translate": (bytes_translate, ["BLOB", "BLOB", "BLOB"], "BLOB"),
    "bytes_instr": (bytes_instr, ["BLOB", "BLOB", "BIGINT", "BIGINT"], "BIGINT"),
    "bytes_bits": (bytes_bits, ["BLOB", "BLOB", "VARCHAR"], "BLOB"),
    "bytes_shift": (bytes_shift, ["BLOB", "BIGINT"], "BLOB"),
    "latin": (latin, ["BLOB"], "VARCHAR"),
    "from_latin": (from_latin, ["VARCHAR"], "BLOB"),
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
    "base32": (to_base32, ["BLOB"], "VARCHAR"),
    "from_base32": (from_base32, ["VARCHAR"], "BLOB"),
    "format": (formatted, ["VARCHAR", "VARCHAR[]"], "VARCHAR"),
}
"""By name: what does it, and DuckDB's types of what goes in and comes out."""

NULLS_GO_IN = frozenset(
    {"trim", "initcap", "format", "json_string", "to_json", "random", "search", "json_object"}
)
