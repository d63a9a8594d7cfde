"""EXTERNAL_QUERY in FROM: what another database answers is a table to the query that it stands in.

https://cloud.google.com/bigquery/docs/reference/standard-sql/federated_query_functions
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse.catalog import Cursor

_numbers = itertools.count()
_NAME = "EXTERNAL_QUERY"


def resolve(
    tree: exp.Expr, cursor: Cursor, computed: dict[str, pa.Table], ask: Callable[[str, str, str], str]
) -> None:
    """Puts the name of a registered table for every EXTERNAL_QUERY in `tree`; `computed` has them. `ask` is given a
    connection, a query and options, and answers with the path of a file of Arrow's.

    Raises:
        InvalidArgument: it is called with something else than texts.
    """
    for called in list(tree.find_all(exp.Anonymous)):
        if called.name.upper() != _NAME:
            continue
        node = called.parent
        if not isinstance(node, exp.Table):
            raise InvalidArgument(f"{_NAME} is a table function: it stands in FROM", reason="invalidQuery")
        texts = [one.name for one in called.expressions if isinstance(one, exp.Literal) and one.is_string]
        if len(texts) != len(called.expressions) or not 2 <= len(texts) <= 3:
            raise InvalidArgument(
                f"{_NAME} takes a connection, a query and options, each a string literal",
                reason="invalidQuery",
            )
        with pa.memory_map(ask(texts[0], texts[1], texts[2] if len(texts) > 2 else "")) as source:
            table = pa.ipc.open_file(source).read_all()
        name = f"_external_query_{next(_numbers)}"
        computed[name] = table
        cursor.register(name, table)
        node.set("this", exp.to_identifier(name, quoted=True))
        if node.args.get("alias") is None:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
