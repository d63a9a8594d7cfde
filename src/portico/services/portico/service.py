"""How deployed models serve: requests, errors, latency percentiles and saturation, in intervals of domain time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.engine import Connection

from portico.clock import parse_rfc3339
from portico.errors import InvalidArgument
from portico.services.call import Call, implements
from portico.services.standard.serving import ENDPOINTS
from portico.store import service
from portico.store.service import Counts

METRICS: Final = ("p50Latency", "p95Latency", "p99Latency", "errorRate", "saturation")


@dataclass(frozen=True, slots=True)
class ServiceNumbers:
    """What a deployed model's service can be judged by. None where there is nothing to tell it from.

    `error_rate` is the share of `requests` that failed by our fault; percentiles are seconds, of the `timed` requests
    that were answered or given up; `saturation` is the share of time in which what serves was busy.
    """

    requests: int
    timed: int
    error_rate: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    saturation: float | None

    def metric(self, name: str) -> float | None:
        """The number that `name`, one of METRICS, stands for."""
        numbers = (self.p50, self.p95, self.p99, self.error_rate, self.saturation)
        return dict(zip(METRICS, numbers, strict=True))[name]


def service_numbers(
    connection: Connection, endpoint: str, deployed_model_id: str, start: float, end: float
) -> ServiceNumbers:
    """How a deployed model served in [start, end), in seconds of domain time.

    Right to the minute, and for what is older than two days to the hour: what was counted in a minute that the
    interval touches is in it. Fronts' counts arrive within two seconds, and before the domain clock is advanced.
    """
    found = service.listed(connection, endpoint, deployed_model=deployed_model_id, start=start, end=end)
    return numbers(found.get((endpoint, deployed_model_id), Counts()))


def numbers(counts: Counts) -> ServiceNumbers:
    return ServiceNumbers(
        requests=counts.requests,
        timed=sum(counts.buckets.values()),
        error_rate=counts.failed / counts.requests if counts.requests else None,
        p50=counts.quantile(0.5),
        p95=counts.quantile(0.95),
        p99=counts.quantile(0.99),
        saturation=counts.saturation,
    )


@implements("portico", "projects.locations.endpoints.serviceStats")
def stats(call: Call) -> dict[str, Any]:
    endpoint = str(call.params["endpoint"])
    start, end = (
        parse_rfc3339(call.params[name]) if call.params.get(name) else None
        for name in ("startTime", "endTime")
    )
    if start is not None and end is not None and end <= start:
        raise InvalidArgument("endTime must lie after startTime.", field="endTime")
    with call.rooms.database.read() as connection:
        ENDPOINTS.require(connection, endpoint)
        found = service.listed(connection, endpoint, start=start, end=end)
    return {"models": [_shown(deployed_model, counts) for (_, deployed_model), counts in found.items()]}


def _shown(deployed_model: str, counts: Counts) -> dict[str, Any]:
    judged = numbers(counts)
    shown = {
        "deployedModelId": deployed_model,
        "requests": str(counts.requests),
        "rows": str(counts.rows),
        "errors": {str(code): str(count) for code, count in sorted(counts.errors.items())},
        **{name: judged.metric(name) for name in METRICS},
    }
    if counts.saturation is not None:
        shown |= {"peakSaturation": counts.peak, "peakQueue": counts.queue}
    return {name: value for name, value in shown.items() if value is not None}
