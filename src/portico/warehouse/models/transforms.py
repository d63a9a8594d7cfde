"""TRANSFORM(…) of CREATE MODEL: what it makes of the rows of training, kept so that it makes the same of any row.

Statistics of functions with OVER () are computed once, over the rows of training, and become constants; each column is
kept as SQL of DuckDB's over a table `_ml_input`.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from portico.errors import InvalidArgument
from portico.ml.bqml import answers, columns
from portico.warehouse import bignumeric, tokens
from portico.warehouse.aggregates import AGGREGATES
from portico.warehouse.catalog import Cursor
from portico.warehouse.models import preprocessing
from portico.warehouse.models.syntax import written
from portico.warehouse.types import quoted

FILE = "transform.json"
INPUT = "_ml_input"


@dataclass(slots=True)
class Item:
    """One column that TRANSFORM makes: `text` as it was written, `sql` DuckDB's, `reads` the columns that it needs."""

    name: str
    text: str
    sql: str
    reads: list[str]


Over = Callable[[str, pa.Table, exp.Expr], exp.Expr]


class Transform:
    """What TRANSFORM makes of rows with the columns `inputs` (name and Arrow type); `labels` may be missing."""

    def __init__(
        self,
        items: list[Item],
        inputs: list[dict[str, str]],
        labels: list[str],
        info: list[dict[str, Any]] | None = None,
    ) -> None:
        self.items, self.inputs, self.labels = items, inputs, labels
        self.info = info or []  # what ML.FEATURE_INFO says of the columns that it reads

    def json(self) -> dict[str, Any]:
        items = [asdict(one) for one in self.items]
        return {"items": items, "inputs": self.inputs, "labels": self.labels, "info": self.info}

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Transform:
        return cls([Item(**one) for one in kept["items"]], kept["inputs"], kept["labels"], kept.get("info"))

    def features(self) -> list[Item]:
        labels = {name.lower() for name in self.labels}
        return [one for one in self.items if one.name.lower() not in labels]

    def needed(self) -> list[str]:
        """The columns that its features are made of."""
        read = {name.lower() for one in self.features() for name in one.reads}
        return [one["name"] for one in self.inputs if one["name"].lower() in read]

    def apply(self, cursor: Cursor, table: pa.Table, optional: Set[str] = frozenset()) -> pa.Table:
        """
        Args:
            optional: columns (lower case) that are left out where what they are made of is missing: labels.

        Raises:
            InvalidArgument: a column that it reads is missing, or is of another type.
        """
        have = {name.lower() for name in table.column_names}
        chosen = []
        for one in self.items:
            missing = [name for name in one.reads if name.lower() not in have]
            if missing and one.name.lower() in optional:
                continue
            if missing:
                raise InvalidArgument(
                    f"Column {missing[0]} that TRANSFORM reads is not among the columns of the input "
                    f"({', '.join(table.column_names)})",
                    reason="invalidQuery",
                )
            chosen.append(f"{one.sql} AS {quoted(one.name)}")
        cursor.register(INPUT, table)
        try:
            return cursor.sql(f"SELECT {', '.join(chosen)} FROM {INPUT}").to_arrow_table()
        except duckdb.Error as error:
            from portico.warehouse.refusals import refused

            raise refused(error) from None
        finally:
            cursor.unregister(INPUT)


def fit(
    cursor: Cursor, text: str, rows: pa.Table, over: Over, labels: list[str]
) -> tuple[Transform, pa.Table]:
    """
    Args:
        text: what stands within TRANSFORM(…).
        rows: what the query of CREATE MODEL yields.
        labels: columns that it makes and that rows to predict need not have.
        over: a query or an expression of GoogleSQL over a table of this name as DuckDB's.

    Returns:
        The transform, and what it makes of the rows.

    Raises:
        InvalidArgument: it reads columns that are not there, or is no list of expressions.
    """

    def translated(tree: exp.Expr) -> exp.Expr:
        return over(INPUT, rows, tree)

    items = []
    seen: set[str] = set()
    for name, expression in _listed(text, rows.column_names):
        if name.lower() in seen:
            raise InvalidArgument(
                f"Duplicate column aliases are disallowed in TRANSFORM clause: {name}", reason="invalidQuery"
            )
        seen.add(name.lower())
        shown = written(expression.sql("bigquery"))
        fitted = _fitted(cursor, expression, rows, translated)
        reads = sorted({one.parts[0].name for one in fitted.find_all(exp.Column)})
        items.append(Item(name, shown, translated(fitted).sql("duckdb"), reads))
    made = Transform(items, [{"name": one.name, "type": str(one.type)} for one in rows.schema], labels)
    made.info = answers.told(columns.inputs_of(bignumeric.plain(rows.select(made.needed()))))
    return made, made.apply(cursor, rows)


def again(cursor: Cursor, before: Transform, text: str, rows: pa.Table) -> pa.Table:
    """
    Args:
        before: that of the model that WARM_START goes on with, with the statistics of its training.
        text: what stands within TRANSFORM(…); without it, it is `before`'s.

    Returns:
        What it makes of the rows of a training that goes on.

    Raises:
        InvalidArgument: it says another thing than `before`, or reads columns that are not there.
    """
    if text:
        now = [(name, written(one.sql("bigquery"))) for name, one in _listed(text, rows.column_names)]
        if now != [(one.name, one.text) for one in before.items]:
            raise InvalidArgument(
                f"WARM_START: TRANSFORM must remain ({', '.join(_shown(one) for one in before.items)})",
                reason="invalidQuery",
            )
    return before.apply(cursor, rows)


def _shown(item: Item) -> str:
    return item.text if item.text.strip("`") == item.name else f"{item.text} AS {item.name}"


def _listed(text: str, columns: list[str]) -> list[tuple[str, exp.Expr]]:
    """The columns that TRANSFORM makes, by name, with stars written out."""
    query = tokens.query(f"SELECT {text} FROM {INPUT}")
    found: list[tuple[str, exp.Expr]] = []
    for one in query.expressions:
        if isinstance(one, exp.Star) or (isinstance(one, exp.Column) and isinstance(one.this, exp.Star)):
            star = one if isinstance(one, exp.Star) else one.this
            left_out = {
                each.name.lower() for each in star.args.get("except_") or star.args.get("except") or ()
            }
            other = {each.alias.lower(): each.this for each in star.args.get("replace") or ()}
            known = {name.lower() for name in columns}
            if star.args.get("rename") or (left_out | set(other)) - known:
                raise InvalidArgument(
                    "TRANSFORM takes * with EXCEPT and REPLACE of columns of the query", reason="invalidQuery"
                )
            for name in columns:
                if name.lower() not in left_out:
                    own = exp.Column(this=exp.to_identifier(name, quoted=True))
                    found.append((name, other.get(name.lower(), own)))
        elif isinstance(one, exp.Alias):
            found.append((one.alias, one.this))
        elif isinstance(one, exp.Column):
            found.append((one.name, one))
        else:
            raise InvalidArgument(
                "Anonymous columns are disallowed in TRANSFORM clause. Please provide a column name: "
                f"{one.sql('bigquery')}",
                reason="invalidQuery",
            )
    return found


def _fitted(
    cursor: Cursor, expression: exp.Expr, rows: pa.Table, translated: Callable[[exp.Expr], exp.Expr]
) -> exp.Expr:
    """The expression with every function over all rows made one of a single row."""
    holder = exp.Paren(this=expression.copy())
    if holder.find(exp.Query):
        raise InvalidArgument("TRANSFORM takes no subqueries", reason="invalidQuery")
    for window in list(holder.find_all(exp.Window))[::-1]:  # inner ones first
        analytic = preprocessing.analytic_of(window)
        if analytic is None:
            raise InvalidArgument(
                f"TRANSFORM takes functions over all rows only from BigQuery ML's own: {window.sql('bigquery')}",
                reason="invalidQuery",
            )
        statistics: list[exp.Expr] = []
        preprocessing.checked(window, analytic, _collecting(statistics))
        values = _computed(cursor, statistics, rows, translated)
        constants = preprocessing.checked(window, analytic, _giving(values))
        window.replace(exp.Paren(this=constants))
    if volatile := next((one for one in holder.walk() if _is_volatile(one)), None):
        raise InvalidArgument(
            f"TRANSFORM takes no function that gives something else each time: {volatile.sql('bigquery')}",
            reason="invalidQuery",
        )
    if aggregate := holder.find(exp.AggFunc):
        raise _aggregate(aggregate)
    for called in list(holder.find_all(exp.Anonymous))[::-1]:
        if preprocessing.is_scalar(called):
            called.replace(exp.Paren(this=preprocessing.scalar(called)))
        elif str(called.this).lower() in AGGREGATES:
            raise _aggregate(called)
    made: exp.Expr = holder.this
    return made.pop()


def _aggregate(called: exp.Expr) -> InvalidArgument:
    return InvalidArgument(
        f"Aggregation functions are not supported in TRANSFORM clause: {called.sql('bigquery')}",
        reason="invalidQuery",
    )


def _is_volatile(one: exp.Expr) -> bool:
    if isinstance(one, exp.Rand | exp.Uuid | exp.SessionUser):
        return True
    return isinstance(one, exp.Anonymous) and one.name.upper() in ("RAND", "GENERATE_UUID", "SESSION_USER")


def _collecting(statistics: list[exp.Expr]) -> preprocessing.Keep:
    def keep(one: exp.Expr) -> exp.Expr:
        statistics.append(one)
        return exp.Null()

    return keep


def _giving(values: list[Any]) -> preprocessing.Keep:
    given = iter(values)
    return lambda _: preprocessing.literal(next(given))


def _computed(
    cursor: Cursor, statistics: list[exp.Expr], rows: pa.Table, translated: Callable[[exp.Expr], exp.Expr]
) -> list[Any]:
    select = exp.Select(
        expressions=[exp.alias_(one, f"s{place}", quoted=True) for place, one in enumerate(statistics)],
        from_=exp.From(this=exp.Table(this=exp.to_identifier(INPUT, quoted=True))),
    )
    cursor.register(INPUT, rows)
    try:
        [values] = cursor.sql(translated(select).sql("duckdb")).fetchall()
    except duckdb.Error as error:
        from portico.warehouse.refusals import refused

        raise refused(error) from None
    finally:
        cursor.unregister(INPUT)
    return [float(one) if type(one).__name__ == "Decimal" else one for one in values]
