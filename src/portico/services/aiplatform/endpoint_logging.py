"""predictRequestResponseLoggingConfig of an endpoint: the share of requests that is logged, and the table in BigQuery
that shows them."""

from __future__ import annotations

import re
from typing import Any

from portico.errors import InvalidArgument
from portico.prediction.prediction_log import stream_of
from portico.services.call import Call
from portico.services.standard import bq
from portico.services.standard.bq import Name

_CONFIG = "predictRequestResponseLoggingConfig"
_URI = f"{_CONFIG}.bigqueryDestination.outputUri"
_TABLE = "request_response_logging"


def check(body: dict[str, Any]) -> None:
    """
    Raises:
        InvalidArgument: the sampling rate is not a share, or the destination is no table.
    """
    config = body.get(_CONFIG) or {}
    rate = config.get("samplingRate", 0)
    if not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise InvalidArgument(
            f"samplingRate is {rate}; it must be between 0 and 1.",
            field=f"{_CONFIG}.samplingRate",
        )
    if uri := (config.get("bigqueryDestination") or {}).get("outputUri"):
        bq.parse(uri, _URI, (1, 2, 3))


def show(call: Call, name: str, body: dict[str, Any], before: dict[str, Any] | None = None) -> None:
    """Makes the table that the Endpoint `body` of this name asks for when its logging is enabled, and says its whole
    name there: by default `request_response_logging` in a dataset of the endpoint's own.

    Raises:
        InvalidArgument: there is another table of this name.
    """
    config = body.get(_CONFIG) or {}
    destination = config.get("bigqueryDestination")
    if not config.get("enabled") or destination is None or config == ((before or {}).get(_CONFIG) or {}):
        return
    _, project, _, _, _, endpoint_id = name.split("/")
    said = Name(project)
    if uri := destination.get("outputUri"):
        said = bq.parse(uri, _URI, (1, 2, 3))
    own = re.sub(r"\W", "_", f"logging_{body.get('displayName', '')}_{endpoint_id}", flags=re.ASCII)
    table = Name(said.project, said.dataset or own, said.table or _TABLE)
    bq.create_log(call.rooms.home, table, stream_of(name))
    destination["outputUri"] = bq.SCHEME + table.path


def keep(body: dict[str, Any], shown: dict[str, Any]) -> None:
    """Puts the destination that `show` completed into a body that was read again."""
    config = body.get(_CONFIG)
    if config and config.get("bigqueryDestination") is not None:
        config["bigqueryDestination"] = shown[_CONFIG]["bigqueryDestination"]
