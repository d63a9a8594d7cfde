"""predictRequestResponseLoggingConfig of an endpoint: the share of requests that is logged, and the table in BigQuery
that shows them."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument
from portico.prediction.prediction_log import stream_of
from portico.services.call import Call
from portico.services.standard import bq
from portico.services.standard.bq import Name

_CONFIG = "predictRequestResponseLoggingConfig"
_URI = f"{_CONFIG}.bigqueryDestination.outputUri"
_TABLE = "request_response_logging"


def check(call: Call, name: str, body: dict[str, Any], before: dict[str, Any] | None = None) -> None:
    """
    Raises:
        InvalidArgument: the table that the Endpoint `body` of this name asks for is taken; or as `complete`.
    """
    table = _wanted(name, body, before)
    if table is not None:
        bq.check_log(call.rooms.home, table, stream_of(name))


def complete(name: str, body: dict[str, Any], before: dict[str, Any] | None) -> None:
    """Says the whole name of the table in `body`: by default `request_response_logging` in a dataset of the endpoint's
    own.

    Raises:
        InvalidArgument: the sampling rate is not a share, or the destination is no table.
    """
    table = _wanted(name, body, before)
    if table is not None:
        body[_CONFIG]["bigqueryDestination"]["outputUri"] = bq.SCHEME + table.path


def want(connection: Connection, name: str, body: dict[str, Any], before: dict[str, Any] | None) -> bool:
    """Has the table made, by `bq.make_logs` or when the warehouse starts; whether there is a new one."""
    table = _wanted(name, body, before)
    if table is not None:
        bq.want_log(connection, table, stream_of(name))
    return table is not None


def _wanted(name: str, body: dict[str, Any], before: dict[str, Any] | None) -> Name | None:
    """The table of an Endpoint whose logging is enabled, or was changed."""
    config = body.get(_CONFIG) or {}
    rate = config.get("samplingRate", 0)
    if not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise InvalidArgument(
            f"samplingRate is {rate}; it must be between 0 and 1.",
            field=f"{_CONFIG}.samplingRate",
        )
    destination = config.get("bigqueryDestination")
    said = Name(name.split("/")[1])
    if uri := (destination or {}).get("outputUri"):
        said = bq.parse(uri, _URI, (1, 2, 3))
    if not config.get("enabled") or destination is None or config == ((before or {}).get(_CONFIG) or {}):
        return None
    endpoint_id = name.rpartition("/")[2]
    own = re.sub(r"\W", "_", f"logging_{body.get('displayName', '')}_{endpoint_id}", flags=re.ASCII)
    return Name(said.project, said.dataset or own, said.table or _TABLE)
