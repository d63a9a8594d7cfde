"""Functions whose names have two parts, as `NET.HOST`."""

from __future__ import annotations

from sqlglot import exp

SPACES = ("HLL_COUNT", "KLL_QUANTILES", "NET", "KEYS", "AEAD", "DETERMINISTIC_ENCRYPT")


def name_spaces(statement: exp.Expr) -> None:
    """`HLL_COUNT.INIT` and its like are functions of one name, which has `__` for the dot."""
    for spaced in list(statement.find_all(exp.Dot, exp.NetFunc)):
        called = spaced.this if isinstance(spaced, exp.NetFunc) else spaced.expression
        space = "NET" if isinstance(spaced, exp.NetFunc) else spaced.this.name.upper()
        if isinstance(called, exp.Anonymous) and space in SPACES and not isinstance(spaced.this, exp.Dot):
            spaced.replace(exp.Anonymous(this=f"{space}__{called.name}", expressions=called.expressions))
