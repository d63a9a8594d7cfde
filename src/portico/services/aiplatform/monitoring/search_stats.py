"""What model monitoring jobs have found, as clients search it: statistics as time series, and alerts."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from portico.clock import interval_of, rfc3339
from portico.errors import InvalidArgument
from portico.services.aiplatform.monitoring.model_monitors import MONITORS
from portico.services.aiplatform.monitoring.monitor_spec import OBJECTIVES
from portico.services.call import Call, implements
from portico.services.standard import pages
from portico.store import monitoring_points
from portico.store.monitoring_points import Point, Query

_POINTS = 1000  # of a page at most, whatever its size


@implements("aiplatform", MONITORS.method("searchModelMonitoringStats"))
def search_stats(call: Call) -> dict[str, Any]:
    """A page has up to pageSize series; one of very many points goes on on the next page."""
    told = (call.body.get("statsFilter") or {}).get("tabularStatsFilter") or {}
    query = _query(call, call.body.get("timeInterval") or {}, {
        "name": told.get("statsName", ""), "objective": told.get("objectiveType", ""),
        "job": told.get("modelMonitoringJob", ""), "schedule": told.get("modelMonitoringSchedule", ""),
        "algorithm": told.get("algorithm", ""),
    }, "statsFilter.tabularStatsFilter.objectiveType")  # fmt: skip
    size = pages.page_size(call.body.get("pageSize"), default=100, maximum=1000)
    at = _place(call, query)
    with call.rooms.database.read() as connection:
        MONITORS.require(connection, query.monitor)
        found = monitoring_points.series(connection, query, at, _POINTS + 1)
    every = [
        list(points) for _, points in groupby(found[:_POINTS], lambda point: (point.objective, point.name))
    ]
    shown = every[:size]
    answer: dict[str, Any] = {"monitoringStats": [{"tabularStats": _series(points)} for points in shown]}
    read = sum(len(points) for points in shown)
    if read < len(found):
        answer["nextPageToken"] = _token(at + read, query)
    return answer


@implements("aiplatform", MONITORS.method("searchModelMonitoringAlerts"))
def search_alerts(call: Call) -> dict[str, Any]:
    body = call.body
    query = _query(call, body.get("alertTimeInterval") or {}, {
        "name": body.get("statsName", ""), "objective": body.get("objectiveType", ""),
        "job": body.get("modelMonitoringJob", ""), "anomalies": True,
    }, "objectiveType")  # fmt: skip
    size = pages.page_size(body.get("pageSize"), default=100, maximum=1000)
    at = _place(call, query)
    with call.rooms.database.read() as connection:
        MONITORS.require(connection, query.monitor)
        found = monitoring_points.newest(connection, query, at, size + 1)
        total = monitoring_points.count(connection, query)
    answer: dict[str, Any] = {
        "modelMonitoringAlerts": [_alert(point) for point in found[:size]],
        "totalNumberAlerts": str(total),
    }
    if len(found) > size:
        answer["nextPageToken"] = _token(at + size, query)
    return answer


def _query(call: Call, interval: dict[str, Any], filters: dict[str, Any], field: str) -> Query:
    """
    Raises:
        InvalidArgument: there is no such objective.
    """
    if filters["objective"] and filters["objective"] not in OBJECTIVES:
        raise InvalidArgument(
            f"{filters['objective']!r} is no objective; it is one of {', '.join(OBJECTIVES)}.", field=field
        )
    start, end = interval_of(interval)
    return Query(str(call.params["modelMonitor"]), start=start, end=end, **filters)


def _place(call: Call, query: Query) -> int:
    return int(pages.read_token(call.body.get("pageToken", ""), repr(query)) or 0)


def _token(place: int, query: Query) -> str:
    return pages.write_token(place, repr(query))


def _series(points: list[Point]) -> dict[str, Any]:
    return {
        "statsName": points[0].name,
        "objectiveType": points[0].objective,
        "dataPoints": [
            {
                "currentStats": point.body["current"],
                "baselineStats": point.body["baseline"],
                "thresholdValue": point.body["threshold"],
                "hasAnomaly": point.anomaly,
                "modelMonitoringJob": point.job,
                "createTime": rfc3339(point.time),
                "algorithm": point.algorithm,
                **({"schedule": point.schedule} if point.schedule else {}),
            }
            for point in points
        ],
    }


def _alert(point: Point) -> dict[str, Any]:
    return {
        "statsName": point.name,
        "objectiveType": point.objective,
        "alertTime": rfc3339(point.time),
        "anomaly": {
            "modelMonitoringJob": point.job,
            "algorithm": point.algorithm,
            "tabularAnomaly": {
                "summary": point.body["summary"],
                "triggerTime": rfc3339(point.time),
                "condition": {"threshold": point.body["threshold"]},
                **({"anomalyUri": point.body["uri"]} if point.body.get("uri") else {}),
            },
        },
    }
