"""`portico cost`: what was used, and what it would have cost on Google Cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portico.client.api import Client

_HOUR, _TIB, _GIB_MONTH = 3600.0, 2.0**40, 2.0**30 * 3600 * 730.4
_UNITS = {"core-seconds": ("core hours", _HOUR), "GiB-seconds": ("GiB hours", _HOUR),
          "bytes": ("TiB", _TIB), "byte-seconds": ("GiB months", _GIB_MONTH)}  # fmt: skip


def found(client: Client, project: str, start: str, end: str, by: str) -> dict[str, Any]:
    query = {"startDate": start, "endDate": end, "groupBy": by}
    given = {key: value for key, value in query.items() if value}
    return client.call("GET", f"projects/{project}:queryUsage", **given)


def in_lines(told: dict[str, Any]) -> Iterator[str]:
    currency = told["currency"]
    days = f"{told['startDate']} to {told['endDate']}"
    yield f"{days}, as Google Cloud's list prices of {told['pricesAsOf']} would have it (an estimate):"
    for row in told["rows"]:
        used = ", ".join(_amount(sku, amount) for sku, amount in sorted(row["amounts"].items()))
        yield f"{row['cost']:>12.4f} {currency}  {row['group'] or '(none)'}: {used}"
    yield f"{told['cost']:>12.4f} {currency}  in all"
    for one in told.get("budgets", []):
        share = f" ({one['spent'] / one['amount']:.0%})" if one["amount"] else ""
        forecast = f", {one['forecast']:.4f} at this rate" if "forecast" in one else ""
        yield (
            f"Budget {one['displayName'] or one['name']}: {one['spent']:.4f} of {one['amount']:.4f} {one['currency']}"
            f"{share} since {one['startDate']}{forecast}"
        )


def _amount(sku: str, amount: float) -> str:
    unit, _, of = sku.partition(" ")
    name, size = _UNITS[unit]
    return f"{amount / size:.4g} {name} {of}"
