"""Alerts: what is wrong now, what was, and silence."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from portico.clock import parse_rfc3339
from portico.console import charts, words
from portico.console.looking import Looking, address, page
from portico.errors import InvalidArgument

_PLACE = "/projects/{project}/locations/{location}"
_EACH = 50  # alerts of a steward
_SILENCES = {"1h": 3600, "1d": 86400, "7d": 7 * 86400, "0": 0}


@page(f"{_PLACE}/alerts")
def alerts(looking: Looking) -> Response:
    api = looking.api
    stewards = api.listed(f"{api.parent}/stewards", "stewards")
    found = api.over(lambda s: api.listed(f"{s['name']}/alerts", "alerts", pageSize=_EACH), stewards)
    every = [one | {"steward": s} for s, some in zip(stewards, found, strict=True) for one in some]
    every.sort(key=lambda one: (one["state"] != "OPEN", -parse_rfc3339(one["openTime"])))
    budgets = (api.maybe(f"projects/{looking.project}:queryUsage") or {}).get("budgets") or []
    passed = [alert for budget in budgets for alert in budget["alerts"]]
    return looking.show(
        "alerts.html", "Alerts", alerts=every, stewards=stewards, monitors=_monitors(looking), passed=passed
    )


def _monitors(looking: Looking) -> list[dict[str, Any]]:
    """Model monitors with their newest alerts."""
    api = looking.api
    some = api.listed(f"/v1beta1/{api.parent}/modelMonitors", "modelMonitors")
    found = api.over(
        lambda m: api.call("POST", f"/v1beta1/{m['name']}:searchModelMonitoringAlerts", {"pageSize": 20}),
        some,
    )
    return [
        {
            "monitor": m,
            "alerts": f.get("modelMonitoringAlerts") or [],
            "total": int(f.get("totalNumberAlerts", 0)),
        }
        for m, f in zip(some, found, strict=True)
    ]


@page(f"{_PLACE}/stewards/{{id}}/alerts/{{alert}}")
def alert(looking: Looking) -> Response:
    name = _name(looking)
    shown = looking.api.call("GET", name)
    moved = {one["feature"]: float(one.get("distance", 0)) for one in shown.get("contributors") or []}
    chart = charts.bars("What moved most", moved, "", "distance") if moved else None
    return looking.show(
        "alert.html",
        f"Alert: {words.metric(shown['metric'])}",
        alert=shown,
        name=name,
        chart=chart,
        section="alerts",
        steward=name.partition("/alerts/")[0],
    )


@page(f"{_PLACE}/stewards/{{id}}/alerts/{{alert}}/silence", "POST")
def silence(looking: Looking) -> Response:
    wanted = _SILENCES.get(looking.form.get("for", ""))
    if wanted is None:
        raise InvalidArgument(f"A silence lasts one of {', '.join(_SILENCES)}.")
    looking.api.call("POST", f"{_name(looking)}:silence", {"duration": f"{wanted}s"})
    return looking.go(address(_name(looking)))


def _name(looking: Looking) -> str:
    return f"{looking.name('stewards')}/alerts/{looking.part('alert')}"
