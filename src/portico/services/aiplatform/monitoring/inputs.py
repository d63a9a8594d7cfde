"""Which data a model monitor or its job names: the checks before they are read, and the windows of time.

A `ModelMonitoringInput` is files in Cloud Storage, a managed dataset, a batch prediction job's output, or what
endpoints have logged; a window is told from a cut-off, when the job was due or made, or is an interval.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.clock import interval_of
from portico.errors import InvalidArgument, NotFound, Unimplemented
from portico.services.standard import bq
from portico.services.standard.names import check_same_location
from portico.services.standard.serving import ENDPOINTS

_INPUTS = ("columnizedDataset", "batchPredictionOutput", "vertexEndpointLogs")
_SOURCES = ("vertexDataset", "gcsSource", "bigquerySource")
_FORMATS = {"CSV": "csv", "JSONL": "jsonl"}
_LENGTH = re.compile(r"(\d{1,4})([wWdDhH])")
_SECONDS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0}


def check_input(connection: Connection, told: Mapping[str, Any], parent: str, field: str) -> None:
    """
    Raises:
        InvalidArgument: naming the field. Unimplemented: data where Portico can't read them yet.
    """
    given = [key for key in _INPUTS if key in told]
    if len(given) != 1:
        raise InvalidArgument(
            f"Exactly one of {', '.join(_INPUTS)} must be given; {' and '.join(given) or 'none'} is.",
            field=field,
        )
    kind, data = given[0], told[given[0]]
    if kind == "columnizedDataset":
        _check_dataset(data, parent, f"{field}.columnizedDataset")
        if span(told) and not data.get("timestampField"):
            raise InvalidArgument(
                "A window needs the column with the rows' times: timestampField.",
                field=f"{field}.columnizedDataset.timestampField",
            )
    elif kind == "batchPredictionOutput":
        where = f"{field}.batchPredictionOutput.batchPredictionJob"
        check_same_location(parent, data.get("batchPredictionJob", ""), where)
        if span(told):
            raise InvalidArgument(
                "The output of a batch prediction job has no times; leave timeOffset and timeInterval out.",
                field=field,
            )
    else:
        _check_endpoints(
            connection, data.get("endpoints") or [], parent, f"{field}.vertexEndpointLogs.endpoints"
        )
    _check_span(told, field)


def _check_dataset(data: Mapping[str, Any], parent: str, field: str) -> None:
    given = [key for key in _SOURCES if data.get(key)]
    if len(given) != 1:
        raise InvalidArgument(
            f"Exactly one of {', '.join(_SOURCES)} must be given; {' and '.join(given) or 'none'} is.",
            field=field,
        )
    if given == ["bigquerySource"]:
        told = data["bigquerySource"]
        if bool(told.get("query")) == bool(told.get("tableUri")):
            raise InvalidArgument("Give either tableUri or query.", field=f"{field}.bigquerySource")
        if told.get("query"):
            return
        bq.parse(data["bigquerySource"].get("tableUri", ""), f"{field}.bigquerySource.tableUri")
        return
    if given == ["vertexDataset"]:
        check_same_location(parent, data["vertexDataset"], f"{field}.vertexDataset")
        return
    source = data["gcsSource"]
    if not str(source.get("gcsUri", "")).startswith("gs://"):
        raise InvalidArgument("gcsUri must be a gs:// name.", field=f"{field}.gcsSource.gcsUri")
    if source.get("format") == "TF_RECORD":
        raise Unimplemented("Monitoring of TFRecord files is not built in Portico yet; use CSV or JSONL.")


def format_of(source: Mapping[str, Any]) -> str:
    """The format that a gcsSource declares; empty where it leaves it to the files' names."""
    return _FORMATS.get(source.get("format", ""), "")


def _check_endpoints(connection: Connection, names: list[str], parent: str, field: str) -> None:
    if not names:
        raise InvalidArgument("endpoints is empty: name those whose predictions are watched.", field=field)
    for name in names:
        check_same_location(parent, name, field)
        try:
            endpoint = ENDPOINTS.require(connection, name)
        except NotFound as error:
            raise InvalidArgument(error.message, field=field) from None
        logging = (endpoint.body.get("predictRequestResponseLoggingConfig") or {}).get("enabled")
        if not logging and not endpoint.body.get("modelDeploymentMonitoringJob"):
            raise InvalidArgument(
                f"{name} does not log its predictions; set its predictRequestResponseLoggingConfig.",
                field=field,
            )


# --- windows ---


def span(told: Mapping[str, Any]) -> bool:
    """Whether only a window of the data is meant."""
    return bool(told.get("timeOffset") or told.get("timeInterval"))


def window_of(told: Mapping[str, Any], cutoff: float) -> tuple[float | None, float | None]:
    """The window [start, end) of domain time in seconds, open where None; `cutoff` is when the job was due or made."""
    interval, offset = told.get("timeInterval") or {}, told.get("timeOffset") or {}
    if offset:
        until = round(cutoff - _seconds(offset.get("offset", "")), 6)
        return (round(until - _seconds(offset["window"]), 6) if offset.get("window") else None), until
    return interval_of(interval)


def _seconds(text: str) -> float:
    found = _LENGTH.fullmatch(text)
    return int(found[1]) * _SECONDS[found[2].lower()] if found else 0.0


def _check_span(told: Mapping[str, Any], field: str) -> None:
    if told.get("timeOffset") and told.get("timeInterval"):
        raise InvalidArgument("Give either timeOffset or timeInterval.", field=f"{field}.timeInterval")
    for key, text in (told.get("timeOffset") or {}).items():
        if text and (not _LENGTH.fullmatch(text) or (key == "window" and not _seconds(text))):
            raise InvalidArgument(
                f"{key} is {text!r}; it is a whole number of weeks, days or hours: 2w, 1d, 6h.",
                field=f"{field}.timeOffset.{key}",
            )
    start, end = window_of(told, 0.0)
    if told.get("timeInterval") and start is not None and end is not None and end < start:
        raise InvalidArgument("The interval ends before it begins.", field=f"{field}.timeInterval")
