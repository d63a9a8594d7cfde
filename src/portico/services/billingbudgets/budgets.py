"""Budgets: what may be spent in a period, and the thresholds that are told. See `alerts.budgets` for how they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from portico.errors import InvalidArgument, NotFound, Unimplemented
from portico.services.alerts import budgets
from portico.services.call import Call
from portico.services.standard.collection import Collection, register
from portico.services.standard.prices import Prices
from portico.store import resources
from portico.store.resources import Resource

_ACCOUNT = re.compile(r"billingAccounts/[A-Za-z0-9-]+")
_PROJECT = re.compile(r"projects/[^/]+")
_LONGEST = 60  # characters of a name


class Budgets(Collection):
    def require_parent(self, connection: Connection, parent: str) -> None:
        if not _ACCOUNT.fullmatch(parent):
            raise InvalidArgument(f"{parent!r} is not billingAccounts/ACCOUNT.", field="parent")

    def check(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        body = resource.body
        if len(body.get("displayName", "")) > _LONGEST:
            raise InvalidArgument(f"displayName is longer than {_LONGEST} characters.", field="displayName")
        if body.get("spendCap"):
            raise Unimplemented("spendCap is not built: a budget tells, and stops nothing.")
        body["budgetFilter"] = {
            "creditTypesTreatment": "INCLUDE_ALL_CREDITS",
            **({} if (body.get("budgetFilter") or {}).get("customPeriod") else {"calendarPeriod": "MONTH"}),
            **(body.get("budgetFilter") or {}),
        }
        _check_filter(body["budgetFilter"])
        _check_amount(body, Prices.of(call.rooms.home).currency)
        _check_rules(body)
        _check_notifications(connection, body.get("notificationsRule") or {})

    def written(
        self, call: Call, connection: Connection, resource: Resource, before: dict[str, Any] | None
    ) -> None:
        budgets.look(call.rooms.home, connection, call.rooms.ids, call.rooms.clock.now())

    def deleting(self, call: Call, connection: Connection, resource: Resource) -> None:
        budgets.forget(connection, resource)

    def render(self, resource: Resource) -> dict[str, Any]:
        return {"name": resource.name, **resource.body, "etag": self.etag(resource)}


BUDGETS = Budgets("billingAccounts.budgets", "Budget", api="billingbudgets")
register(BUDGETS, "create", "get", "list", "patch", "delete")


def _check_filter(filter: Mapping[str, Any]) -> None:
    for name in ("resourceAncestors", "subaccounts"):
        if filter.get(name):
            raise Unimplemented(f"budgetFilter.{name} is not built; name projects.")
    for name in filter.get("projects") or []:
        if not _PROJECT.fullmatch(name):
            raise InvalidArgument(f"{name!r} is not projects/PROJECT.", field="budgetFilter.projects")
    for name in filter.get("services") or []:
        if name not in budgets.SERVICES:
            raise InvalidArgument(
                f"Nothing is metered of {name!r}; there are {', '.join(budgets.SERVICES)} (BigQuery, Cloud Storage, "
                "Vertex AI).",
                field="budgetFilter.services",
            )
    labels = filter.get("labels") or {}
    if len(labels) > 1 or any(len(values) != 1 for values in labels.values()):
        raise InvalidArgument("labels has one key with one value.", field="budgetFilter.labels")
    if filter.get("customPeriod"):
        if filter.get("calendarPeriod"):
            raise InvalidArgument(
                "A budget has a calendarPeriod or a customPeriod.", field="budgetFilter.customPeriod"
            )
        try:
            start, end = budgets.period(filter, budgets.EPOCH)
        except (KeyError, ValueError):
            raise InvalidArgument(
                "customPeriod needs a startDate, and dates are year, month and day.",
                field="budgetFilter.customPeriod",
            ) from None
        if end is not None and end <= start:
            raise InvalidArgument(
                "customPeriod ends before it starts.", field="budgetFilter.customPeriod.endDate"
            )


def _check_amount(body: dict[str, Any], currency: str) -> None:
    amount = body.get("amount") or {}
    if ("specifiedAmount" in amount) == ("lastPeriodAmount" in amount):
        raise InvalidArgument("amount has a specifiedAmount or a lastPeriodAmount.", field="amount")
    if "lastPeriodAmount" in amount:
        if "customPeriod" in body["budgetFilter"]:
            raise InvalidArgument("lastPeriodAmount needs a calendarPeriod.", field="amount.lastPeriodAmount")
        return
    given = amount["specifiedAmount"]
    if given.get("currencyCode", currency) != currency:
        raise InvalidArgument(
            f"The prices here are in {currency}, not in {given['currencyCode']}; a prices.yaml in the home changes "
            "that.",
            field="amount.specifiedAmount.currencyCode",
        )
    if int(given.get("units", 0)) < 0 or given.get("nanos", 0) < 0:
        raise InvalidArgument("The amount is negative.", field="amount.specifiedAmount")
    body["amount"] = {"specifiedAmount": {**given, "currencyCode": currency}}


def _check_rules(body: dict[str, Any]) -> None:
    for number, rule in enumerate(body.get("thresholdRules") or []):
        field = f"thresholdRules[{number}]"
        if float(rule.get("thresholdPercent", 0)) < 0:
            raise InvalidArgument("A threshold is negative.", field=f"{field}.thresholdPercent")
        if rule.get("spendBasis", "BASIS_UNSPECIFIED") == "BASIS_UNSPECIFIED":
            rule["spendBasis"] = "CURRENT_SPEND"
        if rule["spendBasis"] == "FORECASTED_SPEND" and "customPeriod" in body["budgetFilter"]:
            raise InvalidArgument("A forecast needs a calendarPeriod.", field=f"{field}.spendBasis")


def _check_notifications(connection: Connection, rule: Mapping[str, Any]) -> None:
    if topic := rule.get("pubsubTopic"):
        found = resources.get(connection, topic)
        if found is None or found.kind != "pubsub:projects.topics":
            raise NotFound(f"The topic {topic!r} does not exist: one is projects/PROJECT/topics/TOPIC.")
        if rule.get("schemaVersion", "1.0") != "1.0":
            raise InvalidArgument("schemaVersion must be 1.0.", field="notificationsRule.schemaVersion")
    for name in rule.get("monitoringNotificationChannels") or []:
        found = resources.get(connection, name)
        if found is None or found.kind != budgets.CHANNELS:
            raise NotFound(f"The notification channel {name!r} does not exist.")
