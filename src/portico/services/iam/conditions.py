"""Conditions of bindings, in CEL. https://cloud.google.com/iam/docs/conditions-attribute-reference"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.engine import Connection

from portico.services.iam import tags
from portico.services.iam.targets import Target
from portico.services.standard import cel


def holds(connection: Connection, expression: str, target: Target, now: float) -> bool:
    """Whether it is true of a request for `target` at `now` (seconds since the epoch). One that can't be evaluated, or
    asks for what is not known here, is not: it grants nothing."""
    values: dict[str, Any] = {
        "request": {"time": datetime.fromtimestamp(now, UTC)},
        "resource": {
            "name": target.relative,
            "type": target.type,
            "service": f"{target.service}.googleapis.com",
        },
    }
    if cel.loops(expression):  # as an older Portico took them
        return False
    try:
        return cel.compiled(expression).execute(values | tags.functions(connection, target)) is True
    except (ValueError, TypeError, RuntimeError, OverflowError, LookupError):
        return False
