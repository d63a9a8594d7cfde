"""Budgets: how what was used stands beside them, and who is told when a threshold is passed.

A threshold is told once in each period of its budget: an alert of its own, which is delivered as those of stewards are,
to the notification channels of Cloud Monitoring that the budget names. What was used is priced as an estimate
(`standard.prices`). https://cloud.google.com/billing/docs/how-to/budgets
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from sqlalchemy.engine import Connection

from portico.clock import rfc3339
from portico.errors import PorticoError
from portico.ids import Ids, project_number
from portico.services.alerts.delivery import DELIVERIES, note
from portico.services.standard.prices import Prices
from portico.store import resources, usage
from portico.store.pubsub import topics
from portico.store.pubsub.topics import Message
from portico.store.resources import Private, Resource

log = logging.getLogger(__name__)

KIND: Final = "billingbudgets:billingAccounts.budgets"
ALERTS: Final = "portico:budgetAlerts"
CHANNELS: Final = "monitoring:projects.notificationChannels"
# What our metering calls what these services of Google's catalogue bill.
SERVICES: Final = {
    "services/24E6-581D-38E5": (usage.QUERIES,),  # BigQuery
    "services/95FF-2EF5-5EA1": (usage.STORED,),  # Cloud Storage
    "services/C7E2-9256-1C43": (
        usage.CORES,
        usage.MEMORY,
        usage.SERVING_CORES,
        usage.SERVING_MEMORY,
    ),  # Vertex AI
}
EPOCH: Final = date(1970, 1, 1)
SINKS: Final[dict[str, tuple[Literal["emails", "webhooks"], str]]] = {
    "email": ("emails", "email_address"),
    "webhook_tokenauth": ("webhooks", "url"),
}
_TOLD_AGAIN: Final = (
    1800.0  # seconds after which a topic is told how a budget stands though nothing was passed
)
_LEAST = 86400.0  # seconds of a period, before which nothing is forecast from less


class BudgetPrivate(Private):
    """When its topic was told last, and which thresholds were passed then."""

    told: float = 0.0
    passed: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands: money that was `spent` since `start` (a day), of `amount`; `forecast` for the end of the
    period, None where it has none."""

    budget: Resource
    start: date
    spent: float
    amount: float
    forecast: float | None
    currency: str
    alerts: list[Resource]

    def covers(self, project: str) -> bool:
        return _covers(self.budget.body, project)

    def shown(self) -> dict[str, Any]:
        """As `projects.queryUsage` tells it."""
        shown = {
            "name": self.budget.name, "displayName": self.budget.body.get("displayName", ""),
            "startDate": self.start.isoformat(), "spent": round(self.spent, 6), "amount": round(self.amount, 6),
            "currency": self.currency, "alerts": [{"name": one.name, **one.body} for one in self.alerts],
        }  # fmt: skip
        return shown | ({} if self.forecast is None else {"forecast": round(self.forecast, 6)})


def standings(
    connection: Connection, prices: Prices, now: float, project: str | None = None
) -> list[Standing]:
    """Of all budgets at `now` (seconds since the epoch); or of those of one project alone."""
    found = list(resources.listed(connection, KIND))
    if project is not None:
        number = project_number(project)
        found = [one for one in found if _projects(one.body) == {number}]
    return [_standing(connection, prices, one, now) for one in found]


def look(home: Path, connection: Connection, ids: Ids, now: float) -> None:
    """Opens an alert for each threshold that was passed and not told in this period, and closes those of periods that
    are over, in the caller's transaction."""
    if not any(True for _ in resources.listed(connection, KIND, limit=1)):
        return
    for one in standings(connection, Prices.of(home), now):
        _publish(connection, one, now)
        told = {
            (a.body["startDate"], a.body["spendBasis"], a.body["thresholdPercent"]): a for a in one.alerts
        }
        for alert in one.alerts:
            if alert.body["state"] == "OPEN" and alert.body["startDate"] != one.start.isoformat():
                alert.body |= {"state": "CLOSED", "closeTime": rfc3339(now)}
                resources.update(connection, alert, now)
        for rule in one.budget.body.get("thresholdRules") or []:
            basis, percent = rule.get("spendBasis", "CURRENT_SPEND"), float(rule.get("thresholdPercent", 0))
            reached = one.forecast if basis == "FORECASTED_SPEND" else one.spent
            key = (one.start.isoformat(), basis, percent)
            if reached and reached >= percent * one.amount and key not in told:
                _tell(connection, ids, one, basis, percent, reached, now)


def forget(connection: Connection, budget: Resource) -> None:
    """Removes a budget's alerts, and what must still be told of them."""
    for alert in list(resources.listed(connection, ALERTS, budget.name)):
        for delivery in list(resources.listed(connection, DELIVERIES, alert.name)):
            resources.delete(connection, delivery.name)
        resources.delete(connection, alert.name)


def _tell(
    connection: Connection, ids: Ids, one: Standing, basis: str, percent: float, reached: float, now: float
) -> None:
    budget = one.budget
    name = f"{budget.name}/alerts/{ids.number()}"
    called = budget.body.get("displayName") or budget.name.rpartition("/")[2]
    words = "will be" if basis == "FORECASTED_SPEND" else "is"
    text = (
        f"What was used since {one.start} {words} {reached:.2f} {one.currency}, {percent:.0%} of the budget "
        f"{called!r} ({one.amount:.2f} {one.currency}) or more. It is an estimate by list prices.\n"
        f"The budget: {budget.name}"
    )
    body = {
        "state": "OPEN", "budget": budget.name, "budgetDisplayName": called, "startDate": one.start.isoformat(),
        "spendBasis": basis, "thresholdPercent": percent, "costAmount": round(reached, 6),
        "budgetAmount": round(one.amount, 6), "currencyCode": one.currency, "openTime": rfc3339(now),
    }  # fmt: skip
    made = resources.insert(connection, name=name, kind=ALERTS, parent=budget.name, body=body, now=now)
    assert made is not None
    log.warning("%s", text.partition("\n")[0])
    subject = f"[Portico] the budget {called}: {percent:.0%} {'forecast' if words != 'is' else 'reached'}"
    for kind, sink in _sinks(connection, budget.body):
        delivery = f"{name}/deliveries/{ids.number()}"
        note(connection, delivery, kind, sink, "budget", subject, text, now, {"name": name, **body})


def _publish(connection: Connection, one: Standing, now: float) -> None:
    """Tells the budget's topic how it stands, now and then and whenever it passes a threshold.

    https://cloud.google.com/billing/docs/how-to/budgets-programmatic-notifications
    """
    topic = (one.budget.body.get("notificationsRule") or {}).get("pubsubTopic")
    if not topic:
        return
    passed: dict[str, float] = {}
    for rule in one.budget.body.get("thresholdRules") or []:
        basis, percent = rule.get("spendBasis", "CURRENT_SPEND"), float(rule.get("thresholdPercent", 0))
        reached = one.forecast if basis == "FORECASTED_SPEND" else one.spent
        if reached and reached >= percent * one.amount:
            key = "forecastThresholdExceeded" if basis == "FORECASTED_SPEND" else "alertThresholdExceeded"
            passed[key] = max(percent, passed.get(key, 0.0))
    private = BudgetPrivate.of(one.budget)
    if passed == private.passed and now - private.told < _TOLD_AGAIN:
        return
    account, id = one.budget.name.split("/")[1::2]
    told = {
        "budgetDisplayName": one.budget.body.get("displayName", ""),
        **passed,
        "costAmount": round(one.spent, 6),
        "costIntervalStart": f"{one.start.isoformat()}T00:00:00Z",
        "budgetAmount": round(one.amount, 6),
        "budgetAmountType": "SPECIFIED_AMOUNT"
        if "specifiedAmount" in one.budget.body["amount"]
        else "LAST_PERIODS_COST",
        "currencyCode": one.currency,
    }
    attributes = {"billingAccountId": account, "budgetId": id, "schemaVersion": "1.0"}
    try:
        topics.publish(connection, topic, [Message(orjson.dumps(told), attributes)], now)
    except PorticoError as error:
        log.warning("%s tells nobody: %s", one.budget.name, error.message)
    private.told, private.passed = now, passed
    resources.note(connection, one.budget)


def _sinks(
    connection: Connection, body: Mapping[str, Any]
) -> Iterator[tuple[Literal["emails", "webhooks"], str]]:
    for name in (body.get("notificationsRule") or {}).get("monitoringNotificationChannels") or []:
        channel = resources.get(connection, name)
        if channel is not None and channel.kind == CHANNELS and channel.body.get("enabled", True):
            kind, label = SINKS[channel.body["type"]]
            yield kind, channel.body["labels"][label]


def _standing(connection: Connection, prices: Prices, budget: Resource, now: float) -> Standing:
    body = budget.body
    today = datetime.fromtimestamp(now, UTC).date()
    start, end = period(body.get("budgetFilter") or {}, today)
    spent = _cost(
        connection, prices, body, start, today if end is None else min(today, end - timedelta(days=1))
    )
    given = (body.get("amount") or {}).get("specifiedAmount")
    if given is not None:
        amount = int(given.get("units", 0)) + given.get("nanos", 0) / 1e9
    else:
        before, _ = period(body.get("budgetFilter") or {}, start - timedelta(days=1))
        amount = _cost(connection, prices, body, before, start - timedelta(days=1))
    forecast = None
    if end is not None and "customPeriod" not in (body.get("budgetFilter") or {}):
        passed = max(now - datetime(start.year, start.month, start.day, tzinfo=UTC).timestamp(), _LEAST)
        forecast = spent * max(1.0, (end - start).days * 86400 / passed)
    alerts = list(resources.listed(connection, ALERTS, budget.name))
    return Standing(budget, start, spent, amount, forecast, prices.currency, alerts)


def period(filter: Mapping[str, Any], day: date) -> tuple[date, date | None]:
    """The first day of the period of a budget's filter in which `day` is, and the day after its last one, if any."""
    if custom := filter.get("customPeriod"):
        end = custom.get("endDate")
        return _date(custom["startDate"]), _date(end) + timedelta(days=1) if end else None
    months = {"QUARTER": 3, "YEAR": 12}.get(filter.get("calendarPeriod", "MONTH"), 1)
    first = (day.month - 1) // months * months
    start = date(day.year, first + 1, 1)
    after = first + months
    return start, date(day.year + after // 12, after % 12 + 1, 1)


def _date(told: Mapping[str, Any]) -> date:
    return date(int(told.get("year", 0)), int(told.get("month", 0)), int(told.get("day", 0)))


def _cost(connection: Connection, prices: Prices, body: Mapping[str, Any], start: date, end: date) -> float:
    filter = body.get("budgetFilter") or {}
    services = filter.get("services") or []
    skus = {sku for one in services for sku in SERVICES[one]} if services else set(usage.SKUS)
    wanted = [(key, str(value)) for key, values in (filter.get("labels") or {}).items() for value in values]
    return sum(
        prices.cost(used.sku, used.amount)
        for used in usage.read(connection, None, start.isoformat(), end.isoformat())
        if used.sku in skus
        and _covers(body, used.project)
        and all(used.labels.get(key) == value for key, value in wanted)
    )


def _projects(body: Mapping[str, Any]) -> set[str]:
    """The numbers of the projects that a budget is of; none where it is of all."""
    named = (body.get("budgetFilter") or {}).get("projects") or []
    return {project_number(name.removeprefix("projects/")) for name in named}


def _covers(body: Mapping[str, Any], project: str) -> bool:
    projects = _projects(body)
    return not projects or project_number(project) in projects
