"""Cost: what was used, and what it would have cost on Google Cloud."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from portico.console import charts
from portico.console.looking import Looking, page

_PLACE = "/projects/{project}/locations/{location}"
_GROUPS: Final = {
    "resource": "resource",
    "model": "model",
    "sku": "what was used",
    "day": "day",
    "month": "month",
}


@page(f"{_PLACE}/cost")
def cost(looking: Looking) -> Response:
    label = looking.query.get("label", "").strip()
    by = f"label:{label}" if label else looking.query.get("by", "resource")
    asked = {
        "groupBy": by,
        "startDate": looking.query.get("start", ""),
        "endDate": looking.query.get("end", ""),
    }
    told = looking.api.call(
        "GET",
        f"projects/{looking.project}:queryUsage",
        **{key: value for key, value in asked.items() if value},
    )
    rows = told.get("rows") or []
    costs = {row.get("group") or "(none)": float(row.get("cost", 0)) for row in rows}
    words = f"By {_GROUPS.get(by, label)}, in {told['currency']}"
    chart = charts.bars(words, costs, "", told["currency"]) if any(costs.values()) else None
    return looking.show(
        "cost.html", "Cost", told=told, rows=rows, by=by, label=label, groups=_GROUPS, chart=chart,
        budgets=told.get("budgets") or [],
    )  # fmt: skip
