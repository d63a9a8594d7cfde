"""Columns' default values: what DEFAULT in a statement, or `defaultValueExpression` in a schema of the API, says.

https://cloud.google.com/bigquery/docs/default-values
"""

from __future__ import annotations

from sqlglot import exp

from portico.errors import InvalidArgument
from portico.warehouse import assignments, catalog, tokens
from portico.warehouse.queries import Query
from portico.warehouse.storage import USER
from portico.warehouse.types import Field

_FUNCTIONS = frozenset([
    "CURRENT_DATE", "CURRENT_DATETIME", "CURRENT_TIME", "CURRENT_TIMESTAMP", "GENERATE_UUID", "RAND", "SESSION_USER",
    "ST_GEOGPOINT",
])  # fmt: skip
_FORMS = frozenset(["STRUCT", "RANGE"])  # what puts values together


class Defaults(Query):
    """The defaults of one schema."""

    def settle_defaults(self, fields: list[Field]) -> None:
        """Works out the defaults of a schema that came from the API; a default of NULL is none.

        Raises:
            InvalidArgument: a default is none that its column may have.
        """
        for one in fields:
            _check_inner(one)
            text = one.pop("defaultValueExpression", None)
            one.pop("_default", None)
            if text:
                self._set_default_of(one, tokens.expression(str(text)), str(text))

    def _set_default_of(self, field: Field, value: exp.Expr, text: str = "") -> None:
        """Gives a column the default `value`, shown as `text`.

        Raises:
            InvalidArgument: it is no constant nor one of the functions that may stand there, or of another type.
        """
        _check(value)
        if isinstance(value, exp.Null):
            if str(field.get("mode", "")).upper() in ("REQUIRED", "REPEATED"):
                raise _invalid(
                    f"The default value of the column {field['name']} can't be NULL: of its mode it is"
                )
            return
        asks = exp.Paren(this=value.copy())
        for one in list(asks.find_all(exp.SessionUser, exp.Anonymous)):
            if isinstance(one, exp.SessionUser) or one.name.upper() == "SESSION_USER":
                one.replace(exp.Anonymous(this="getvariable", expressions=[exp.Literal.string(USER)]))
        made = self._translator().expression(asks.this)
        said = "Column default expression has type {type} which cannot be assigned to column {name}"
        [fit] = assignments.fitted([(made, field, assignments.is_written(value))], "", self._kinds, said)
        sql = fit.sql("duckdb")
        catalog.do(self._cursor, f"SELECT {sql}")  # what is too long for the column says so
        field["defaultValueExpression"] = text or value.sql("bigquery")
        field["_default"] = sql

    def _kinds(self, sql: str) -> list[str]:
        return [str(one[1]) for one in self._cursor.sql(sql).description]


def _check_inner(field: Field) -> None:
    for one in field.get("fields") or ():
        if one.get("defaultValueExpression"):
            raise _invalid(
                f"The field {field['name']}.{one['name']} can't have a default value: a default is that of a whole "
                "column",
                "invalid",
            )
        _check_inner(one)


def _check(value: exp.Expr) -> None:
    for one in value.walk():
        if isinstance(one, exp.Query):
            raise _invalid("A column default expression must not include a subquery")
        if isinstance(one, exp.Column):
            raise _invalid("Default value expressions cannot reference columns")
        if isinstance(one, exp.Anonymous) and one.name.upper() not in _FUNCTIONS | _FORMS:
            raise _invalid(
                f"{one.name.upper()} can't be part of a default value; the functions that may are "
                f"{', '.join(sorted(_FUNCTIONS))}"
            )


def _invalid(said: str, reason: str = "invalidQuery") -> InvalidArgument:
    return InvalidArgument(said, reason=reason)


def defaulted(fields: list[Field]) -> list[Field]:
    return [one for one in fields if one.get("_default")]
