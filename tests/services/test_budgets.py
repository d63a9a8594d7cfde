"""Budgets, by Google's own client for them: how what was used stands beside them, and who is told, once a period."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httplib2
import orjson
import pytest
import requests
from google.api_core import exceptions
from google.cloud.billing import budgets_v1
from google.cloud.billing.budgets_v1 import BudgetServiceClient
from google.protobuf import field_mask_pb2
from google.type import date_pb2, money_pb2
from googleapiclient import discovery
from tests.waiting import until

from portico.ids import RandomIds, project_number
from portico.services.alerts import budgets
from portico.services.standard.prices import Prices
from portico.store import resources, usage
from portico.store.database import Database
from portico.store.pubsub import deliveries, topics

ACCOUNT = "billingAccounts/012345-567890-ABCDEF"
PROJECT = "budgeted"


@pytest.fixture(scope="module")
def client(portico: Any) -> BudgetServiceClient:
    options = {"api_endpoint": f"{portico.url}/apis/billingbudgets"}
    return BudgetServiceClient(transport="rest", client_options=options)


@pytest.fixture(scope="module")
def used(portico: Any) -> None:
    """A TiB was queried in the project, and 1,000 of another team's."""
    database = Database(portico.home)
    with database.write() as connection:
        now = datetime.now(UTC).timestamp()
        for team, size in (("blue", 1.0), ("red", 1000.0)):
            usage.add(connection, now, PROJECT, usage.QUERIES, f"j-{team}", size * 2**40, {"team": team})
    database.close()


class Sink:
    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(orjson.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/told"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.server.shutdown()


def budget(units: int, *percents: float, **more: Any) -> budgets_v1.Budget:
    filter = {
        "projects": [f"projects/{PROJECT}"],
        "labels": {"team": ["blue"]},
        **more.pop("budget_filter", {}),
    }
    return budgets_v1.Budget(
        display_name="queries",
        budget_filter=filter,
        amount={"specified_amount": money_pb2.Money(units=units)},
        threshold_rules=[{"threshold_percent": one} for one in percents],
        **more,
    )


def standing(portico: Any, name: str) -> dict[str, Any]:
    told = requests.get(f"{portico.url}/apis/portico/v1/projects/{PROJECT}:queryUsage", timeout=240).json()
    [found] = [one for one in told["budgets"] if one["name"] == name]
    return dict(found)


def test_a_threshold_is_told_once(portico: Any, client: Any, used: None, sink: Sink) -> None:
    options = {"api_endpoint": f"{portico.url}/apis/monitoring/"}
    monitoring = discovery.build("monitoring", "v3", http=httplib2.Http(), client_options=options)
    channels = monitoring.projects().notificationChannels()
    body = {"type": "webhook_tokenauth", "displayName": "hook", "labels": {"url": sink.url}}
    channel = channels.create(name=f"projects/{PROJECT}", body=body).execute()
    assert channel["name"] in [
        one["name"] for one in channels.list(name=f"projects/{PROJECT}").execute()["notificationChannels"]
    ]
    rule = {"monitoring_notification_channels": [channel["name"]]}
    made = client.create_budget(parent=ACCOUNT, budget=budget(10, 0.5, 0.9, notifications_rule=rule))
    assert made.name.startswith(f"{ACCOUNT}/budgets/")
    assert made.amount.specified_amount.currency_code == "USD"
    assert made.budget_filter.calendar_period == budgets_v1.CalendarPeriod.MONTH
    until(lambda: sink.told, "the webhook is told")
    told = sink.told[0]
    assert told["event"] == "budget" and told["subject"] == "[Portico] the budget queries: 50% reached"
    assert told["alert"]["costAmount"] == pytest.approx(6.25) and told["alert"]["thresholdPercent"] == 0.5
    stands = standing(portico, made.name)
    assert (stands["spent"], stands["amount"]) == (pytest.approx(6.25), 10)
    assert [one["thresholdPercent"] for one in stands["alerts"]] == [0.5]
    until(lambda: standing(portico, made.name)["alerts"][0].get("deliveries"), "it is noted as delivered")
    made.amount.specified_amount.units = 5
    changed = client.update_budget(
        budget=made, update_mask=field_mask_pb2.FieldMask(paths=["amount.specified_amount.units"])
    )
    assert changed.amount.specified_amount.units == 5 and changed.etag != made.etag
    until(lambda: len(sink.told) == 2, "90% of 5 is told, and 50% not again")
    assert [one["alert"]["thresholdPercent"] for one in sink.told] == [0.5, 0.9]
    page = requests.get(
        f"{portico.url}/-/console/projects/{PROJECT}/locations/us-central1/alerts", timeout=240
    )
    assert "Thresholds of budgets" in page.text and "90.0%" in page.text
    assert made.name in [one.name for one in client.list_budgets(parent=ACCOUNT)]
    client.delete_budget(name=made.name)
    with pytest.raises(exceptions.NotFound):
        client.get_budget(name=made.name)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"display_name": "x" * 61}, exceptions.BadRequest, "60 characters"),
        (
            {"amount": {"specified_amount": {"units": 5, "currency_code": "EUR"}}},
            exceptions.BadRequest,
            "in USD",
        ),
        ({"amount": {}}, exceptions.BadRequest, "amount"),
        ({"threshold_rules": [{"threshold_percent": -1}]}, exceptions.BadRequest, "negative"),
        ({"budget_filter": {"services": ["services/1"]}}, exceptions.BadRequest, "Nothing is metered"),
        ({"budget_filter": {"subaccounts": [ACCOUNT]}}, exceptions.MethodNotImplemented, "subaccounts"),
        (
            {"notifications_rule": {"pubsub_topic": "projects/p/topics/t"}},
            exceptions.NotFound,
            "The topic 'projects/p/topics/t' does not exist",
        ),
        (
            {
                "notifications_rule": {
                    "monitoring_notification_channels": ["projects/p/notificationChannels/1"]
                }
            },
            exceptions.NotFound,
            "notification channel",
        ),
        (
            {"budget_filter": {"custom_period": {"start_date": date_pb2.Date(year=2026, month=2, day=31)}}},
            exceptions.BadRequest,
            "customPeriod",
        ),
    ],
)
def test_what_a_budget_cant_be_is_said(client: Any, change: dict[str, Any], error: Any, says: str) -> None:
    asked = {"amount": {"specified_amount": {"units": 5}}, **change}
    with pytest.raises(error, match=says):
        client.create_budget(parent=ACCOUNT, budget=budgets_v1.Budget(**asked))


# --- without a server ---


class Ledger:
    def __init__(self, home: Path) -> None:
        self.home, self.database = home, Database(home)
        self.database.create_tables()

    def used(self, day: str, tib: float, project: str = PROJECT, sku: str = usage.QUERIES) -> None:
        with self.database.write() as connection:
            usage.add(connection, at(day), project, sku, "j", tib * 2**40)

    def put(self, **body: Any) -> str:
        name = f"{ACCOUNT}/budgets/{RandomIds().number()}"
        with self.database.write() as connection:
            resources.insert(connection, name=name, kind=budgets.KIND, parent=ACCOUNT, body=body, now=1.0)
        return name

    def look(self, day: str) -> list[tuple[str, float, str]]:
        """The alerts that there are, with their periods and states."""
        with self.database.write() as connection:
            budgets.look(self.home, connection, RandomIds(), at(day))
            found = [one.body for one in resources.listed(connection, budgets.ALERTS)]
        return sorted((one["startDate"], one["thresholdPercent"], one["state"]) for one in found)

    def stands(self, day: str) -> budgets.Standing:
        with self.database.read() as connection:
            [one] = budgets.standings(connection, Prices.of(self.home), at(day))
        return one


def at(day: str) -> float:
    return datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.database.close()


MONEY = {"specifiedAmount": {"units": "100"}}


def test_a_new_month_begins_anew_and_closes_what_was_open(ledger: Ledger) -> None:
    ledger.put(amount=MONEY, budgetFilter={}, thresholdRules=[{"thresholdPercent": 0.5}])
    ledger.used("2026-03-30", 10)
    assert ledger.look("2026-03-31") == [("2026-03-01", 0.5, "OPEN")]
    assert ledger.look("2026-03-31") == [("2026-03-01", 0.5, "OPEN")]
    assert ledger.look("2026-04-01") == [("2026-03-01", 0.5, "CLOSED")]
    ledger.used("2026-04-02", 10)
    assert ledger.look("2026-04-02")[1] == ("2026-04-01", 0.5, "OPEN")


def test_a_forecast_goes_on_as_it_began(ledger: Ledger) -> None:
    rule = {"thresholdPercent": 1.0, "spendBasis": "FORECASTED_SPEND"}
    ledger.put(amount=MONEY, budgetFilter={}, thresholdRules=[rule])
    ledger.used("2026-06-03", 4)  # 25 dollars in the first 5.5 of 30 days
    assert ledger.look("2026-06-06") and ledger.stands("2026-06-06").forecast == pytest.approx(25 * 30 / 5.5)
    assert ledger.stands("2026-06-30").forecast == pytest.approx(25 * 30 / 29.5)


@pytest.mark.parametrize(
    ("filter", "spent"),
    [
        ({}, 6.25 * 15),
        ({"projects": [f"projects/{PROJECT}"]}, 6.25 * 11),
        ({"projects": [f"projects/{project_number(PROJECT)}"]}, 6.25 * 11),
        ({"services": ["services/95FF-2EF5-5EA1"]}, 0.0),
        ({"calendarPeriod": "QUARTER"}, 6.25 * 17),
        ({"calendarPeriod": "YEAR"}, 6.25 * 17),
        ({"customPeriod": {"startDate": {"year": 2026, "month": 6, "day": 2},
                           "endDate": {"year": 2026, "month": 6, "day": 2}}}, 6.25 * 10),
    ],
)  # fmt: skip
def test_what_a_filter_covers(ledger: Ledger, filter: dict[str, Any], spent: float) -> None:
    for day, tib, project in (("2026-05-31", 2, PROJECT), ("2026-06-01", 1, PROJECT), ("2026-06-02", 10, PROJECT),
                              ("2026-06-02", 4, "other")):  # fmt: skip
        ledger.used(day, tib, project)
    if "customPeriod" in filter:
        filter |= {"projects": [f"projects/{PROJECT}"]}
    ledger.put(amount=MONEY, budgetFilter=filter)
    assert ledger.stands("2026-06-15").spent == pytest.approx(spent)


def test_the_last_period_may_be_the_budget(ledger: Ledger) -> None:
    ledger.put(amount={"lastPeriodAmount": {}}, budgetFilter={"calendarPeriod": "MONTH"})
    ledger.used("2026-12-05", 8)
    ledger.used("2027-01-05", 2)
    stands = ledger.stands("2027-01-10")
    assert (stands.amount, stands.spent) == (pytest.approx(50), pytest.approx(12.5))


def test_a_budgets_topic_is_told_how_it_stands_and_of_each_threshold(ledger: Ledger, tmp_path: Path) -> None:
    topic, name = "projects/p/topics/spent", "projects/p/subscriptions/spent"
    with ledger.database.write() as connection:
        topics.write_topic(connection, topic, 0.0, at("2026-03-01"))
        subscription = topics.write_subscription(connection, name, topic, topics.Settings(), at("2026-03-01"))

    def told(day: str, later: float = 0.0) -> list[Any]:
        now = at(day) + later
        with ledger.database.write() as connection:
            budgets.look(tmp_path, connection, RandomIds(), now)
            found = deliveries.take(connection, subscription, 9, now)
            deliveries.acknowledge(connection, subscription, [(one.id, one.attempt) for one in found], now)
        return [(orjson.loads(one.data), dict(one.attributes)) for one in found]

    rule = {"pubsubTopic": topic, "schemaVersion": "1.0"}
    rules = [{"thresholdPercent": one} for one in (0.5, 0.9)]
    ledger.put(amount={"specifiedAmount": {"units": "10"}}, thresholdRules=rules, notificationsRule=rule)
    [(first, attributes)] = told("2026-03-02")
    assert (
        attributes["billingAccountId"] == ACCOUNT.partition("/")[2] and attributes["schemaVersion"] == "1.0"
    )
    assert first == {
        "budgetDisplayName": "", "costAmount": 0.0, "costIntervalStart": "2026-03-01T00:00:00Z",
        "budgetAmount": 10.0, "budgetAmountType": "SPECIFIED_AMOUNT", "currencyCode": "USD",
    }  # fmt: skip
    assert told("2026-03-02", 60) == []
    ledger.used("2026-03-02", 1.0)
    [(passed, _)] = told("2026-03-02", 120)
    assert passed["alertThresholdExceeded"] == 0.5 and passed["costAmount"] == pytest.approx(6.25)
    assert told("2026-03-02", 180) == [] and len(told("2026-03-02", 7200)) == 1
