"""What @@variables stand for."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from portico.errors import InvalidArgument, PorticoError, Unimplemented
from portico.warehouse import tokens
from portico.warehouse.asked import Asked
from portico.warehouse.blocks import Node


def _text(value: str | None) -> exp.Expr:
    return exp.Null() if value is None else exp.Literal.string(value)


def _integer(value: int | None) -> exp.Expr:
    return exp.Null() if value is None else exp.Literal.number(value)


def of_statement(asked: Asked) -> dict[str, exp.Expr]:
    """What @@variables stand for outside of a script's own matters."""
    *project, dataset = asked.dataset.split(".") if asked.dataset else [""]
    named = asked.dataset_project or (project or [asked.project])[0]
    texts = {
        "project_id": asked.project, "dataset_project_id": named,
        "dataset_id": dataset or None, "time_zone": "UTC", "location": asked.location,
        "session_id": None, "query_label": None,
    }  # fmt: skip
    return {name: _text(value) for name, value in texts.items()} | _NO_ERROR


_OF_ERRORS = ("error.message", "error.statement_text", "error.formatted_stack_trace")
_NO_ERROR: dict[str, exp.Expr] = {
    **{name: _text(None) for name in _OF_ERRORS},
    "error.stack_trace": tokens.expression(
        "CAST(NULL AS ARRAY<STRUCT<line INT64, column INT64, filename STRING, location STRING>>)"
    ),
}


def of_script(
    asked: Asked, session: str, failed: tuple[PorticoError, Node] | None, affected: int | None, children: int
) -> dict[str, exp.Expr]:
    """What @@variables stand for in a script: `failed` is what its handler is at work on, `affected` the rows that its
    last statement changed, `children` how many it has run."""
    said: dict[str, exp.Expr] = {}
    if failed is not None:
        error, node = failed
        texts = (error.message, node.text, f"At [{node.place}]")
        said = dict(zip(_OF_ERRORS, map(_text, texts), strict=True))
        line, column = str(node.place).split(":")
        frame = f"{line} AS line, {column} AS column, CAST(NULL AS STRING) AS filename, CAST(NULL AS STRING)"
        said["error.stack_trace"] = tokens.expression(f"[STRUCT({frame} AS location)]")
    return {
        **of_statement(asked),
        "session_id": _text(session or None),
        **said,
        "row_count": _integer(affected),
        "script.num_child_jobs": _integer(children),
    }


def change(asked: Asked, name: str, given: Any) -> None:
    """SET @@name.

    Raises:
        InvalidArgument: it can't be set. Unimplemented: not to that.
    """
    if name == "dataset_id":
        *project, _ = asked.dataset.split(".")
        asked.dataset = f"{(project or [asked.of_datasets])[0]}.{given}"
    elif name == "dataset_project_id":
        asked.dataset_project = str(given or "")
        if asked.dataset:
            asked.dataset = f"{asked.of_datasets}.{asked.dataset.split('.')[-1]}"
    elif name == "time_zone" and str(given).upper() != "UTC":
        raise Unimplemented("SET @@time_zone takes only UTC in Portico; give functions a zone instead.")
    elif name not in ("time_zone", "query_label"):
        raise InvalidArgument(f"Cannot set the system variable @@{name}", reason="invalidQuery")
