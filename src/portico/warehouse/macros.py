"""GoogleSQL's functions as DuckDB has them: the macros of `functions.sql`, and the functions of Python beside them."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable
from graphlib import TopologicalSorter
from importlib.resources import files
from typing import Any

import duckdb
from sqlglot import exp

from portico.warehouse import bignumeric
from portico.warehouse.cast_formats import CAST_FUNCTIONS
from portico.warehouse.geography import functions as geography
from portico.warehouse.geography.clusters import dbscan
from portico.warehouse.hll import HLL_FUNCTIONS
from portico.warehouse.intervals import INTERVAL_FUNCTIONS
from portico.warehouse.iterations import Iterations
from portico.warehouse.javascript import javascript
from portico.warehouse.json_functions import JSON_FUNCTIONS
from portico.warehouse.keysets import KEYSET_FUNCTIONS, RANDOM
from portico.warehouse.kll import KLL_FUNCTIONS
from portico.warehouse.net_functions import NET_FUNCTIONS
from portico.warehouse.searching import SEARCH_FUNCTIONS
from portico.warehouse.shown import SHOWN_FUNCTIONS
from portico.warehouse.text_functions import NULLS_GO_IN, TEXT_FUNCTIONS
from portico.warehouse.time_functions import TIME_FUNCTIONS
from portico.warehouse.time_parsing import PARSING_FUNCTIONS

_SOURCE = files("portico.warehouse").joinpath("functions.sql").read_text() + bignumeric.MACROS
MACROS = frozenset(re.findall(r"^CREATE MACRO gs_(\w+)", _SOURCE, re.MULTILINE))
Made = tuple[exp.Expr, Callable[[exp.Expr], exp.Expr] | None]
Form = Callable[[list[exp.Expr]], Made]
"""What makes DuckDB's call of GoogleSQL's arguments, and what goes around it and its OVER clause."""

_ARROW: Any = "arrow"  # rows come in batches


def install(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the functions of GoogleSQL known to a database."""
    made: dict[str, tuple[Callable[..., Any], list[str], str]] = {
        **TEXT_FUNCTIONS, **TIME_FUNCTIONS, **PARSING_FUNCTIONS, **HLL_FUNCTIONS, **JSON_FUNCTIONS, **SHOWN_FUNCTIONS,
        **CAST_FUNCTIONS, **NET_FUNCTIONS, **INTERVAL_FUNCTIONS, **bignumeric.BIG_FUNCTIONS, **KLL_FUNCTIONS,
        **SEARCH_FUNCTIONS, **KEYSET_FUNCTIONS,
        **{name: one[:3] for name, one in geography.FUNCTIONS.items()},
        "st_clusterdbscan": (dbscan, ["GEOMETRY[]", "DOUBLE", "BIGINT"], "BIGINT[]"),
    }  # fmt: skip
    for name, (function, takes, gives) in made.items():
        wrapped = function if name in NULLS_GO_IN else _null_of_null(function)
        connection.create_function(  # type: ignore[call-overload]
            f"gs_py_{name}", wrapped, takes, gives, null_handling="special", side_effects=name in RANDOM
        )
    connection.create_function(
        "gs_py_javascript", javascript, ["VARCHAR"] * 2, "VARCHAR", type=_ARROW, side_effects=True
    )
    connection.create_function(
        "gs_py_iteration",
        Iterations().count,
        ["VARCHAR", "BIGINT"],
        "BOOLEAN",
        type=_ARROW,
        side_effects=True,
    )
    _make_macros(connection)


def _null_of_null(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is not asked where an argument is NULL, and may itself answer NULL."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        return None if None in arguments else function(*arguments)

    return wrapped


def _make_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """DuckDB binds a macro when it is made: each comes behind those that it uses, and where it calls itself for other
    types, its overloads behind those that do not, all at once or else one by one."""
    known = overloads()
    uses = {
        name: {used for one in mine for used in re.findall(r"\bgs_(\w+)\(", one)}
        for name, mine in known.items()
    }
    for name in TopologicalSorter(
        {name: (used & known.keys()) - {name} for name, used in uses.items()}
    ).static_order():
        made = [one for one in known[name] if f"gs_{name}(" not in one]
        waiting = [one for one in known[name] if one not in made]
        if made:
            connection.execute(f"CREATE MACRO gs_{name}{', '.join(made)}")
        if made and waiting:
            with contextlib.suppress(duckdb.Error):
                connection.execute(f"CREATE OR REPLACE MACRO gs_{name}{', '.join([*made, *waiting])}")
                waiting = []
        while waiting:
            left = []
            for one in waiting:
                try:
                    connection.execute(f"CREATE OR REPLACE MACRO gs_{name}{', '.join([*made, one])}")
                    made = [*made, one]
                except duckdb.Error as error:
                    left.append(one)
                    said = str(error)
            if len(left) == len(waiting):
                raise RuntimeError(f"gs_{name}: {said}")
            waiting = left


@functools.cache
def overloads() -> dict[str, list[str]]:
    """The overloads of each macro, each as `(parameters) AS body`."""
    found: dict[str, list[str]] = {}
    source = re.sub(r"^--.*\n", "", _SOURCE, flags=re.MULTILINE)
    for name, rest in re.findall(r"CREATE MACRO gs_(\w+)(.*?);\n", source, re.DOTALL):
        depth, start, quoted = 0, 0, False
        for place, character in enumerate(rest + ","):
            quoted ^= character == "'"
            depth += 0 if quoted else (character in "([{") - (character in ")]}")
            if character == "," and depth == 0 and not quoted:
                found.setdefault(name, []).append(rest[start:place].strip())
                start = place + 1
    return found


def call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))
